"""Where the frontmatter of a SKILL.md begins and ends, also where its marks are wrong."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from atom.skills.findings import Finding, Place, Rule, Severity

FENCE = "---"
ALIKE = re.compile(r"-{3,}|[\u2014\u2013]-?|\u2014{1,3}|\.\.\.")  # what word processors and habits make of it
CODE_BLOCK = re.compile(r"```\s*(?:ya?ml|markdown|md)?\s*", re.IGNORECASE)
FIELD = re.compile(r"[A-Za-z_][\w.-]*[ \t]*:(?:\s|$)")
FIRST_FIELD = re.compile(r"(?:name|description)[ \t]*:", re.IGNORECASE)
TEXT_BEGINS = re.compile(r"^(?:```|#{1,6} .*\n\n)|\n\n#", re.MULTILINE)  # a heading or code inside of fields
SEARCHED = 20  # lines in which a frontmatter that does not come first is looked for


@dataclass(frozen=True, slots=True)
class Split:
    """`yaml` begins on line `line` of the file, the `body` on `body_line`. `findings` are about the marks."""

    yaml: str
    line: int
    body: str
    body_line: int
    findings: tuple[Finding, ...] = ()


def splits(text: str, file: str) -> Iterator[Split]:
    """Ways to take `text` apart, the most literal first. None when it has no frontmatter."""
    lines = text.split("\n")
    start, findings = _opening(lines, file)
    if start is None:
        return
    fenced = _fence_like(lines[start])
    if fenced:
        if lines[start].rstrip() != FENCE:
            findings.append(_fence(file, start))
        start += 1
        end = _closing(lines, start)
        if end is not None:
            more = [] if lines[end].rstrip() == FENCE else [_fence(file, end)]
            split = _split(lines, start, end, end + 1, [*findings, *more])
            yield split
            if not TEXT_BEGINS.search(split.yaml):
                return
    end = _end_of_fields(lines, start)
    if end > start:
        closed = end < len(lines) and (_fence_like(lines[end]) or CODE_BLOCK.fullmatch(lines[end].strip()) is not None)
        yield _split(lines, start, end, end + closed, [*findings, _open_end(file, start, end, fenced=fenced)])


def _opening(lines: list[str], file: str) -> tuple[int | None, list[Finding]]:
    """The line of the first mark, or of the first field when there is no mark."""
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    findings = []
    start = first
    if CODE_BLOCK.fullmatch(lines[first].strip()) and first + 1 < len(lines):
        start = first + 1
        findings.append(
            _mended(Rule.FRONTMATTER_CODE_BLOCK, file, first, "The frontmatter is in a code block.", "Remove the ```.")
        )
    if not _opens(lines, start):
        found = next((n for n in range(first + 1, min(SEARCHED, len(lines))) if _opens(lines, n, strict=True)), None)
        if found is None:
            return None, []
        start, findings = found, []
    if start and not findings:
        message = "The frontmatter does not begin on the first line; what stands before it is not read."
        findings.append(_mended(Rule.FRONTMATTER_LEADING, file, start, message, "Move it to the start of the file."))
    return start, findings


def _opens(lines: list[str], number: int, *, strict: bool = False) -> bool:
    """Whether a frontmatter begins there; `strict` takes no field for one, and no mark without a field after it."""
    if not _fence_like(lines[number]):
        return not strict and FIRST_FIELD.match(lines[number]) is not None
    return not strict or (number + 1 < len(lines) and FIRST_FIELD.match(lines[number + 1]) is not None)


def _closing(lines: list[str], start: int) -> int | None:
    exact = (n for n in range(start, len(lines)) if lines[n].rstrip() == FENCE)
    alike = (n for n in range(start, len(lines)) if _fence_like(lines[n]))
    return next(exact, None) or next(alike, None)


def _end_of_fields(lines: list[str], start: int) -> int:
    """The first line that cannot be one of a frontmatter: a heading, a mark, or a paragraph."""
    end = start
    for number in range(start, len(lines)):
        line = lines[number]
        if FIELD.match(line) or FIRST_FIELD.match(line) or (line[:1] in {" ", "\t", "-"} and not _fence_like(line)):
            end = number + 1 if line.strip() else end
        elif line.strip():
            return number if number == end else end
        elif not (number + 1 < len(lines) and FIELD.match(lines[number + 1])):
            return end
    return end


def _split(lines: list[str], start: int, end: int, body: int, findings: list[Finding]) -> Split:
    return Split("\n".join([*lines[start:end], ""]), start + 1, "\n".join(lines[body:]), body + 1, tuple(findings))


def _fence_like(line: str) -> bool:
    return ALIKE.fullmatch(line.strip()) is not None


def _fence(file: str, number: int) -> Finding:
    return _mended(
        Rule.FRONTMATTER_FENCE, file, number, "The mark of the frontmatter is not '---'.", "Write a line with only ---."
    )


def _open_end(file: str, start: int, end: int, *, fenced: bool) -> Finding:
    if fenced:
        message, fix = f"The frontmatter is not closed; it seems to end on line {end}.", "Write --- on a line below it."
        return _mended(Rule.FRONTMATTER_UNCLOSED, file, start - 1, message, fix)
    message, fix = "The fields are not between lines with ---.", "Write --- on a line above and below them."
    return _mended(Rule.FRONTMATTER_UNFENCED, file, start, message, fix)


def _mended(rule: Rule, file: str, number: int, message: str, fix: str) -> Finding:
    return Finding(rule, Severity.ERROR, Place(file, number + 1, 1), message, fix, mended=True)
