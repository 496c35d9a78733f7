"""What is said of skills as a community publishes them was looked at by a person, and nothing else is said.

A finding is known by the hash of its skill's text and its rule: nothing of the corpus is in the project.
"""

import hashlib
from collections import Counter

import pytest

from atom.skills.findings import Finding, Rule, Severity
from tests.skills.corpus import PLACE, Published, published
from tests.skills.scan.scanning import scanned, serious

pytestmark = pytest.mark.skipif(not published(), reason=f"no corpus of community skills at {PLACE}")
# Of these, the text does what the rule says.
TRUE = Counter({
    ("7958cd532ab3", Rule.SCAN_AGENT_FILES): 2,
    ("b47d23cd8beb", Rule.SCAN_AGENT_FILES): 1,
    ("cc2f9aa78b5f", Rule.SCAN_AGENT_FILES): 1,
    ("a4c41740c060", Rule.SCAN_CREDENTIALS): 1,
    ("5ce38d691f5b", Rule.SCAN_DOWNLOAD_RUN): 1,
    ("2e2f717900ad", Rule.SCAN_PERSISTENCE): 1,
    ("669bd75f7802", Rule.SCAN_PERSISTENCE): 2,
    ("66584eb930d9", Rule.SCAN_PREREQUISITE): 2,
    ("b98db0e9ac30", Rule.SCAN_PREREQUISITE): 2,
    ("bfb889281405", Rule.SCAN_PREREQUISITE): 2,
})  # fmt: skip
# Of these, it does not. Whoever changes a rule so that there are more looks at them first.
FALSE: Counter[tuple[str, Rule]] = Counter()
CAMPAIGN = 3  # skills of one campaign: an archive with a password, and a command on a page of somebody's


def key(one: Published) -> str:
    return hashlib.sha256(one.text.encode()).hexdigest()[:12]


@pytest.fixture(scope="module")
def found() -> list[tuple[Published, list[Finding]]]:
    """Beside the manifest, files are there by name only, and empty."""
    return [(one, serious(scanned(_files(one)))) for one in published()]


def _files(one: Published) -> dict[str, bytes]:
    names = {f"{one.folder}/{name}": b"" for name in one.files}
    return {**names, f"{one.folder}/SKILL.md": one.text.encode()}


def test_nothing_is_said_that_nobody_has_looked_at(found: list[tuple[Published, list[Finding]]]) -> None:
    said = Counter((key(one), finding.rule) for one, findings in found for finding in findings)
    assert said - (TRUE + FALSE) == Counter()


def test_what_was_found_is_still_found(found: list[tuple[Published, list[Finding]]]) -> None:
    said = Counter((key(one), finding.rule) for one, findings in found for finding in findings)
    assert TRUE - said == Counter()


def test_only_the_campaign_cannot_be_approved(found: list[tuple[Published, list[Finding]]]) -> None:
    blocked = {key(one) for one, findings in found if any(f.severity is Severity.ERROR for f in findings)}
    assert len(blocked) == CAMPAIGN
    assert {rule for name, rule in TRUE if name in blocked} == {Rule.SCAN_PREREQUISITE}
