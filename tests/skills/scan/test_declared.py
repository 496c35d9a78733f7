# ruff: noqa: E501 - tables of cases
"""What is declared is compared with what scripts do, and the registry's risk is never below what was seen."""

from typing import Any

import pytest

from atom.governance.models import Risk
from atom.skills.bundle.reading import read_bytes
from atom.skills.findings import Rule, Severity
from atom.skills.registry.capabilities import declared, lowest, together
from atom.skills.scan.models import Kind, Scan
from tests.skills.packing import MANIFEST, zipped
from tests.skills.scan.scanning import SCANNER

SCRIPT = b"""import os, subprocess
import requests
from pathlib import Path
requests.get('https://api.example/v1', headers={'X': os.environ['API_KEY']})
subprocess.run(['ffmpeg', '-version'])
(Path.home() / 'notes' / 'a.txt').write_text('x')
"""
WHOLE = {
    "hosts": ["api.example"], "env": ["API_KEY"], "commands": ["ffmpeg"], "packages": ["requests"], "paths": ["~/notes"],
}  # fmt: skip


def scan(value: Any, script: bytes = SCRIPT, manifest: bytes = MANIFEST) -> Scan:
    bundle = read_bytes(zipped({"SKILL.md": manifest, "scripts/run.py": script}), "good.zip")
    return SCANNER.scan(bundle, {} if value is None else {"atom": value})


def undeclared(found: Scan) -> set[tuple[Severity, str]]:
    return {(one.severity, one.message.split("'")[1]) for one in found.findings if one.rule is Rule.SCAN_UNDECLARED}


def unused(found: Scan) -> set[str]:
    return {one.message.split("'")[1] for one in found.findings if one.rule is Rule.SCAN_UNUSED}


def test_what_scripts_do_is_seen() -> None:
    seen = scan(None).seen.code
    assert seen == {
        Kind.NETWORK: ("api.example",),
        Kind.COMMAND: ("ffmpeg",),
        Kind.ENV: ("API_KEY",),
        Kind.WRITE: ("~/notes/a.txt",),
        Kind.PACKAGE: ("pypi:requests",),
    }


def test_a_whole_declaration_leaves_nothing_to_say() -> None:
    found = scan(WHOLE)
    assert (undeclared(found), unused(found)) == (set(), set())


@pytest.mark.parametrize(
    ("key", "item"),
    [("hosts", "api.example"), ("env", "API_KEY"), ("commands", "ffmpeg"), ("packages", "pypi:requests"), ("paths", "~/notes/a.txt")],
)  # fmt: skip
def test_what_is_not_declared_is_a_warning_where_it_is_used(key: str, item: str) -> None:
    found = scan({name: value for name, value in WHOLE.items() if name != key})
    assert undeclared(found) == {(Severity.WARNING, item)}
    (one,) = (one for one in found.findings if one.rule is Rule.SCAN_UNDECLARED)
    assert (one.place.file, one.place.line is not None) == ("scripts/run.py", True)


def test_what_is_declared_and_not_used_is_told() -> None:
    assert unused(scan({**WHOLE, "hosts": ["api.example", "other.example"]})) == {"other.example"}


def test_who_declares_nothing_is_told_once_and_not_for_each_item() -> None:
    found = scan(None)
    assert not undeclared(found)
    assert any(one.rule is Rule.SCAN_CAPABILITIES for one in found.findings)


@pytest.mark.parametrize(
    ("value", "covered"),
    [
        ({"hosts": "api.example, b.example"}, True), ({"network": {"hosts": ["https://api.example/v1"]}}, True), ({"hosts": ["*.example"]}, True),
        ({"network": "*"}, True), ({"hosts": ["example"]}, False), ({"hosts": ["evil-api.example"]}, False), ({"hosts": []}, False),
        ({"network": False}, False), ({"hosts": {"api.example": True}}, True),
    ],
)  # fmt: skip
def test_a_declaration_is_read_in_the_forms_that_authors_use(value: Any, covered: bool) -> None:
    assert ((Severity.WARNING, "api.example") in undeclared(scan(value))) is not covered


def test_what_the_agent_is_told_is_an_info() -> None:
    manifest = MANIFEST + b"\n```bash\ncurl https://told.example\n```\n"
    assert (Severity.INFO, "told.example") in undeclared(scan(WHOLE, manifest=manifest))


def test_capabilities_are_what_is_declared_and_what_is_seen_under_one_hash() -> None:
    both = together({"atom": WHOLE}, scan(WHOLE))
    assert both.value["hosts"] == ["api.example"]
    assert both.value["seen"]["code"]["hosts"] == ["api.example"]
    other = together({"atom": WHOLE}, scan(WHOLE, SCRIPT.replace(b"ffmpeg", b"convert")))
    assert both.digest != other.digest
    assert both.digest == together({"atom": dict(reversed(WHOLE.items()))}, scan(WHOLE)).digest


def test_nobody_can_declare_what_was_seen() -> None:
    forged = {"seen": {"code": {}}, "hosts": ["a.example"]}
    value = together({"atom": forged}, scan(forged)).value
    assert value["declared"] == forged
    assert value["seen"]["code"]["commands"] == ["ffmpeg"]
    quiet = together({"atom": forged}, scan(forged, b"print(1)\n")).value
    assert quiet == {"declared": forged}


def test_what_does_nothing_has_the_capabilities_that_it_declares() -> None:
    same = together({"atom": {"hosts": ["a.example"]}}, scan({"hosts": ["a.example"]}, b"print(1)\n"))
    assert same == declared({"atom": {"hosts": ["a.example"]}})


@pytest.mark.parametrize(
    ("value", "script", "risk"),
    [
        ({"risk": "low"}, b"print(1)\n", Risk.LOW),
        ({"risk": "low", **WHOLE}, SCRIPT, Risk.MODERATE),
        ({"risk": "low"}, SCRIPT, Risk.HIGH),  # it does what it does not declare
        ({"risk": "low"}, b"import base64\nexec(base64.b64decode('cHJpbnQoMSk='))\n", Risk.CRITICAL),
        ({"risk": "high", **WHOLE}, SCRIPT, Risk.HIGH),
        (None, b"print(1)\n", Risk.CRITICAL),
    ],
)  # fmt: skip
def test_a_risk_is_never_below_what_the_code_shows(value: Any, script: bytes, risk: Risk) -> None:
    found = scan(value, script)
    made = together({} if value is None else {"atom": value}, found)
    assert made.risk is risk
    assert made.risk >= lowest(found)
