"""Frontmatter that is no YAML, made into what it was meant to be where that is certain.

Lines keep their numbers. Where characters are put in before what stands on a line, `Mended.column` takes them out.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from atom.skills.findings import Rule
from atom.skills.manifest.tree import MOST_BYTES, MOST_DEPTH, Note, Tree, YamlMap, YamlProblem, parse

ENTRY = re.compile(r"(?P<key>(?:- +)*[A-Za-z_][\w .-]*?[ \t]*:)(?P<gap>[ \t]+)(?P<value>\S.*?)[ \t]*")
KEY = re.compile(r"(?:- +)*[A-Za-z_][\w .-]*?[ \t]*:(?=\s|$)")
NO_SPACE = re.compile(r"(name|description|license|compatibility|metadata|allowed-tools|version|author):(?=[^\s:/])")
GAP = re.compile(r"( *[A-Za-z_][\w.-]*:)([ \t]*\t[ \t]*)")
BLOCK = re.compile(r"[|>][-+\d]{0,2}(?:\s+#.*)?")
INDENT = re.compile(r"[ \t\u00a0\u2002-\u200a\u202f\u3000]*")
TAB = "  "
OPENERS = ("{", "[")


@dataclass(slots=True)
class Mended:
    """`notes` say what was changed, with the places in the file as it is."""

    lines: list[str]
    notes: list[Note] = field(default_factory=list)
    shifts: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def column(self, line: int, column: int) -> int:
        """Where the character at `column` of the mended line is in the file. Both count from 0."""
        return column - sum(by for after, by in self.shifts.get(line, ()) if column >= after)


def mend(text: str) -> tuple[Tree, Mended] | None:
    """The tree of the mended text, which is a mapping; None where no change is certain."""
    mended = Mended(text.split("\n"))
    if len(text) > MOST_BYTES:
        return None
    for step in STEPS:
        step(mended)
        if mended.notes and (tree := _mapping(mended.text)) is not None:
            return tree, mended
    return None


def salvage(text: str) -> tuple[Tree, Mended] | None:
    """The fields that can be read by themselves, where one that cannot is among them."""
    mended = Mended(text.split("\n"))
    if len(text) > MOST_BYTES:
        return None
    for step in STEPS:
        step(mended)
    for first, last in _bounds(mended.lines, 0, len(mended.lines), 0):
        if not _reads(mended, first, last, 0):  # without what does not belong to it, or not at all
            mended.lines[first + 1 : last] = [line if _indent(line) else "" for line in mended.lines[first + 1 : last]]
        if not _reads(mended, first, last, 0):
            mended.lines[first:last] = [""] * (last - first)
    tree = _mapping(mended.text)
    return (tree, mended) if tree is not None else None


def _mapping(text: str) -> Tree | None:
    try:
        tree = parse(text)
    except YamlProblem:
        return None
    return tree if isinstance(tree.root, YamlMap) else None


def _indents(mended: Mended) -> None:
    """Tabs and wide spaces before a line: YAML indents by spaces only."""
    for number, line in enumerate(mended.lines):
        indent = INDENT.match(line)
        if indent is None or not indent[0].strip(" ") or not line.strip():
            continue
        found = indent[0]
        spaces = "".join(TAB if character == "\t" else " " for character in found)
        mended.lines[number] = spaces + line[len(found) :]
        mended.shifts[number].append((len(spaces), len(spaces) - len(found)))
        mended.notes.append(Note(Rule.YAML_TAB, "", number, 0))


def _gaps(mended: Mended) -> None:
    """A tab behind the colon."""
    for number, line in enumerate(mended.lines):
        match = GAP.match(line)
        if match is not None:
            mended.lines[number] = f"{match[1]}{' ' * len(match[2])}{line[match.end() :]}"
            mended.notes.append(Note(Rule.YAML_TAB, "", number, match.start(2)))


def _spaces(mended: Mended) -> None:
    """`name:value`."""
    for number, line in enumerate(mended.lines):
        match = NO_SPACE.match(line)
        if match is not None:
            mended.lines[number] = f"{match[0]} {line[match.end() :]}"
            mended.shifts[number].append((match.end() + 1, 1))
            mended.notes.append(Note(Rule.YAML_SPACE, match[1], number, match.end()))


def _segments(mended: Mended) -> None:
    """Every field that is no YAML by itself."""
    _fields(mended, 0, len(mended.lines), depth=0)


def _fields(mended: Mended, start: int, end: int, *, depth: int) -> None:
    indent = min((_indent(line) for line in mended.lines[start:end] if line.strip()), default=0)
    for first, last in _bounds(mended.lines, start, end, indent):
        if not _reads(mended, first, last, indent):
            _mend_field(mended, first, last, indent, depth)


def _bounds(lines: list[str], start: int, end: int, indent: int) -> Iterator[tuple[int, int]]:
    """Each line that begins a field at `indent`, with the lines up to the next."""
    begins = [n for n in range(start, end) if _indent(lines[n]) == indent and KEY.match(lines[n], indent)]
    yield from pairwise([*begins, end])


def _mend_field(mended: Mended, first: int, last: int, indent: int, depth: int) -> None:
    match = ENTRY.fullmatch(mended.lines[first], indent)
    rest = [number for number in range(first + 1, last) if mended.lines[number].strip()]
    deeper = all(_indent(mended.lines[number]) > indent for number in rest)
    if match is None:
        if rest and deeper and depth < MOST_DEPTH:
            _fields(mended, first + 1, last, depth=depth + 1)
        return
    value = match["value"]
    if BLOCK.fullmatch(value):
        _reindent(mended, rest, indent)
        return
    if rest and (value.startswith(OPENERS) or not all(deeper or mended.lines[n][0].isalnum() for n in rest)):
        return  # brackets that do not match, or marks at the start of a line: what was meant is not certain
    whole = " ".join([value, *(mended.lines[number].strip() for number in rest)])
    _change(mended, first, f"{mended.lines[first][: match.start('value')]}{_quoted(whole)}", match.start("value"))
    for number in rest:
        mended.lines[number] = ""


def _change(mended: Mended, number: int, line: str, column: int) -> None:
    mended.lines[number] = line
    note = Note(Rule.YAML_QUOTING, "", number, mended.column(number, column))
    mended.notes.append(note)


def _reindent(mended: Mended, rest: list[int], indent: int) -> None:
    """The text of `|` or `>` that begins too far to the left."""
    if not rest or min(_indent(mended.lines[number]) for number in rest) > indent:
        return
    mended.notes.append(Note(Rule.YAML_INDENT, "", rest[0], 0))
    for number in rest:
        mended.lines[number] = f"{' ' * (indent + 2)}{mended.lines[number]}"


def _quoted(value: str) -> str:
    """As a double-quoted scalar; quotes that were meant to surround it go, those inside stay."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return json.dumps(value, ensure_ascii=False)


def _reads(mended: Mended, first: int, last: int, indent: int) -> bool:
    """Whether a field is YAML by itself; an alias may name an anchor of another field."""
    try:
        parse("\n".join(line[indent:] for line in mended.lines[first:last]))
    except YamlProblem as problem:
        alias = problem.rule is Rule.YAML_ALIAS
        return "&" in mended.text if alias else problem.rule is not Rule.YAML_SYNTAX
    return True


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


STEPS = (_indents, _gaps, _spaces, _segments)
