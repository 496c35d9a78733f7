"""A light look for credentials and for traces of one machine in what is published."""

import re

from scripts.house.tree import Problem, Source

SECRETS = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a provider key": re.compile(r"\bsk-(?:ant-|proj-)?(?:[A-Za-z0-9]+-)?[A-Za-z0-9_]{32,}"),
    "a token of Atom": re.compile(r"\batom_key_[A-Za-z0-9]{12}_[A-Za-z0-9]{43}_[0-9a-f]{8}\b"),
    "a cloud key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}\b"),
    "a forge token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40,}|glpat-[\w-]{20})"),
    "a chat token": re.compile(r"\bxox[abposr]-[\w-]{20,}"),
}
FAKE = re.compile(r"test|fake|example|canary|dummy|0{8}|x{8}", re.IGNORECASE)
REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|crates\.io|rubygems\.org|(?<!emit-)index-url|"
    r"(?<!emit-)find-links|trusted-host|(?:/simple/|/pypi/)",
    re.IGNORECASE,
)
MACHINE = re.compile(r"(?<![\w./~-])/(?:work|tmp/w|Users|home/[a-z]+)/|(?<![\w./~-])/root/(?!\.ssh)")


def check(files: list[Source]) -> list[Problem]:
    problems = []
    for file in files:
        if file.inside("scripts/house/secrets.py"):  # the patterns are no findings
            continue
        for number, line in enumerate(file.lines, 1):
            problems += [file.problem(number, what) for what in _in_line(file, line)]
    return problems


def _in_line(file: Source, line: str) -> list[str]:
    found = [
        f"looks like {name}"
        for name, pattern in SECRETS.items()
        if (hit := pattern.search(line)) and not FAKE.search(hit[0])
    ]
    if REGISTRY.search(line):
        found.append("names a package registry: which one is used is each machine's own configuration")
    if not file.inside("tests/") and MACHINE.search(line):
        found.append("names a path of one machine")
    return found
