"""The documents: links lead somewhere, names exist, nothing speaks of what a reader cannot have."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.house.tree import Problem, Source

LATER = "From a later version"  # a line with these words: names up to the next title may not exist yet
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
TITLE = re.compile(r"^(#{1,6}) (.+)$|^\*\*[^*]+\*\*:?$")
VARIABLE = re.compile(r"\bATOM_[A-Z0-9_]*[A-Z0-9]\b")
COMMAND = re.compile(r"(?:^|[`|;&(]|\bexec|\bsudo|\.venv/bin/)\s*atom ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?")
METRIC = re.compile(
    r"\b(?:atom|governance)_[a-z_]+_(?:total|seconds|bytes|connections|rate|info)(?=_bucket|_count|_sum|\b)"
)
ELSEWHERE = re.compile(
    r"\b(?:findings|reliability|contract|brief|architecture|style)\.md\b|\bissue #?\d|"
    r"(?-i:\b(?:DB|MEM|SLOW|WS|SKILL|LOG|PROF|K8S|OPS)-\d+\b)|"
    r"\b(?:AI|LLM)[- ](?:generated|written)\b|\bas an AI\b|\bvibe|\bCLAUDE\.md\b|\bcoding agent",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Known:
    """What exists. `commands` are full names ("runs list"); empty: there is no command line, so none is checked."""

    variables: set[str]
    commands: set[str]
    metrics: set[str]


def check(root: Path, files: list[Source], known: Known) -> list[Problem]:
    pages = [file for file in files if file.path.endswith(".md")]
    return [
        *(problem for file in files for problem in _elsewhere(file)),
        *(problem for page in pages for problem in _links(root, page)),
        *(problem for page in pages for problem in _names(page, known)),
    ]


def metrics(files: list[Source]) -> set[str]:
    """Names of metrics that the code spells out."""
    return {name for file in files if file.inside("src/") for name in METRIC.findall(file.text)}


def anchors(page: str) -> set[str]:
    """The anchors that a forge makes of the titles."""
    titles = [match[2] for line in _prose(page) if (match := TITLE.match(line)) and match[2]]
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}


def _elsewhere(file: Source) -> Iterator[Problem]:
    if file.inside("tests/architecture/", "scripts/house/", "LICENSE"):
        return
    for number, line in enumerate(file.lines, 1):
        if hit := ELSEWHERE.search(line):
            yield file.problem(number, f"{hit[0]!r} means nothing to a reader of this project")


def _links(root: Path, page: Source) -> Iterator[Problem]:
    for number, line in enumerate(page.lines, 1):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (root / page.path).parent / path if path else root / page.path
            if not file.exists():
                yield page.problem(number, f"the link {target} leads nowhere")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
                yield page.problem(number, f"{path or page.path} has no title #{anchor}")


def _names(page: Source, known: Known) -> Iterator[Problem]:
    later = False
    for number, line, fenced in _lines(page):
        if not fenced and TITLE.match(line):
            later = False
        later = later or LATER in line
        if later:
            continue
        for name in set(VARIABLE.findall(line)) - known.variables:
            yield page.problem(number, f"{name} is not a setting")
        for name in set(METRIC.findall(line)) - known.metrics:
            yield page.problem(number, f"there is no metric {name}")
        code = [line] if fenced else re.findall(r"`([^`]+)`", line)
        for command in _unknown(code, known.commands):
            yield page.problem(number, f"there is no command `atom {command}`")


def _unknown(code: list[str], commands: set[str]) -> Iterator[str]:
    groups = {command.split()[0] for command in commands if " " in command}
    for first, second in (match for part in code for match in COMMAND.findall(part)):
        if commands and first not in groups | commands:
            yield first
        elif first in groups and second and f"{first} {second}" not in commands:
            yield f"{first} {second}"


def _lines(page: Source) -> Iterator[tuple[int, str, bool]]:
    """Number, text, and whether it stands in a code block."""
    fenced = False
    for number, line in enumerate(page.lines, 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        yield number, line, fenced


def _prose(text: str) -> list[str]:
    return [line for _, line, fenced in _lines(Source("", text)) if not fenced]
