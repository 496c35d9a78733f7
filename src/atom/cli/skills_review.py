"""A version of a skill as whoever decides about it sees it."""

from collections.abc import Iterable, Iterator, Sequence

from atom.cli.output import Output, one_line, to_json, visible
from atom.client.skills import SkillFinding, SkillVersion

MOST = 40  # lines of a kind; the rest is counted
LINE = 70_000  # more than a frontmatter may have
RANKS = {"error": 0, "warning": 1}  # what else there may be comes last


def review_text(version: SkillVersion) -> str:
    """Findings, capabilities, and what is different from the version approved before."""
    return "\n".join(_lines(version))


def print_version(out: Output, version: SkillVersion) -> None:
    if out.as_json:
        out.json(version.plain())
        return
    out.line(review_text(version))
    out.table(("file", "bytes", "x"), ((one.path, one.bytes, "x" if one.executable else "") for one in version.files))


def _lines(version: SkillVersion) -> Iterator[str]:
    yield f"{version.name} version {version.version} ({version.status}), by {visible(version.imported_by)}"
    yield f"hash         {version.digest}"
    yield f"description  {one_line(version.description, 1024)}"
    yield f"files        {len(version.files)}, {version.bytes} bytes"
    counts = ", ".join(f"{version.counts.get(name, 0)} {name}s" for name in RANKS)
    yield f"findings     {counts}{'' if version.approvable else '; it cannot be approved'}"
    found = sorted(version.findings, key=lambda one: (one.mended, RANKS.get(one.severity, len(RANKS))))
    yield from _some([_finding(one) for one in found if one.severity in RANKS])
    yield f"capabilities {version.capabilities_digest}, risk {version.risk}"
    yield from _each(f"{name}: {to_json(value)}" for name, value in sorted(version.capabilities.items()))
    yield from _changes(version)


def _changes(version: SkillVersion) -> Iterator[str]:
    changes = version.changes
    if changes is None:
        yield "No other version of it was approved before."
        return
    yield f"Against version {changes.version}, approved before ({changes.digest}):"
    if changes.capabilities:
        yield "  capabilities:"
        yield from _each(changes.capabilities)
    else:
        yield "  the same capabilities"
    yield from ["  files:", *_some(changes.files)] if changes.files else ["  the same files"]


def _finding(one: SkillFinding) -> str:
    place = ":".join(str(part) for part in (one.file, one.line, one.column) if part is not None)
    mended = ", mended" if one.mended else ""
    return f"{place}: {one.severity}{mended}: {one.message} [{one.id}]"


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from _each(lines[:MOST])
    if len(lines) > MOST:
        yield f"    ... and {len(lines) - MOST} more"


def _each(lines: Iterable[str]) -> Iterator[str]:
    """Of what is consented to, nothing is left out."""
    return (f"    {one_line(line, LINE)}" for line in lines)
