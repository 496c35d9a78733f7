"""What real communities publish: everything is read, most of it can be imported, and findings are right."""

from collections import Counter

import pytest

from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.reading import read_bytes
from atom.skills.findings import Rule
from atom.skills.validation.service import Report, Validator
from tests.skills.corpus import PLACE, Published, published
from tests.skills.packing import zipped

pytestmark = pytest.mark.skipif(not published(), reason=f"no corpus of community skills at {PLACE}")


@pytest.fixture(scope="module")
def reports() -> list[tuple[Published, Report]]:
    return [(one, _validated(one)) for one in published()]


def _validated(one: Published) -> Report:
    """Beside the manifest, files are there by name only, and empty."""
    files = {f"{one.folder}/{name}": b"" for name in one.files}
    data = zipped({**files, f"{one.folder}/SKILL.md": one.text.encode()})
    return Validator(TreeSitter()).validate(read_bytes(data, f"{one.folder}.zip"))


def test_nearly_all_can_be_imported(reports: list[tuple[Published, Report]]) -> None:
    """They have a name, a description and instructions; all are read without an exception."""
    importable = [r for _, r in reports if r.manifest.name and r.manifest.description and r.manifest.body.strip()]
    assert len(importable) >= 0.95 * len(reports)


def test_most_can_be_approved_as_they_are_read(reports: list[tuple[Published, Report]]) -> None:
    assert sum(report.approvable for _, report in reports) >= 0.9 * len(reports)


def test_what_cannot_be_approved_has_no_frontmatter(reports: list[tuple[Published, Report]]) -> None:
    rules = Counter(
        finding.rule
        for _, report in reports
        for finding in report.findings
        if finding.severity == "error" and not finding.mended
    )
    assert set(rules) == {Rule.FRONTMATTER_MISSING, Rule.DESCRIPTION_MISSING}


def test_places_are_in_the_text(reports: list[tuple[Published, Report]]) -> None:
    for one, report in reports:
        lines = one.text.split("\n")
        for finding in report.findings:
            if finding.place.file == "SKILL.md" and finding.place.line and finding.place.column:
                assert finding.place.line <= len(lines)
                assert finding.place.column <= len(lines[finding.place.line - 1]) + 1


def test_an_unknown_field_is_found_where_it_is_written(reports: list[tuple[Published, Report]]) -> None:
    for one, report in reports:
        for finding in report.findings:
            if finding.rule is Rule.FIELD_UNKNOWN:
                line = one.text.split("\n")[(finding.place.line or 0) - 1]
                assert line.startswith(finding.message.split("'")[1])


def test_files_that_are_missing_are_missing(reports: list[tuple[Published, Report]]) -> None:
    found = 0
    for one, report in reports:
        for finding in report.findings:
            if finding.rule is Rule.REFERENCE_MISSING:
                found += 1
                assert finding.message.split(" ")[0] not in one.files
    assert found <= 0.1 * len(reports), "of skills that mostly work, most references are there"
