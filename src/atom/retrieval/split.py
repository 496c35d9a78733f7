"""Text files into logical lines, by the ending of their name. Pure."""

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePosixPath

from atom.retrieval.code_blocks import code_lines, line_kind
from atom.retrieval.lines import LineKind, LogicalLine, bounded, says_something, shortened

HEADING = re.compile(r"(#{1,6})\s+(\S.*)$")
BOLD_HEADING = re.compile(r"\*\*([^*]+)\*\*:?$")
FENCE = re.compile(r"\s*(```+|~~~+)\s*([\w+-]*)")
BOLD_DEPTH = 7  # a bold line of its own is the deepest heading
MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})
PROSE_SUFFIXES = frozenset({".rst", ".txt", ".adoc", ".log", ""})
TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
SHELL_LANGUAGES = frozenset({"", "bash", "sh", "shell", "console", "zsh"})


class Reading(StrEnum):
    """How a file is read. Part of the key of its embeddings: the same bytes under another ending are other lines."""

    MARKDOWN = "markdown"
    PROSE = "prose"
    TABLE = "table"
    SHELL = "shell"
    CODE = "code"


def reading_of(path: str) -> Reading:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in MARKDOWN_SUFFIXES:
        return Reading.MARKDOWN
    if suffix in PROSE_SUFFIXES:
        return Reading.PROSE
    if suffix in TABLE_SUFFIXES:
        return Reading.TABLE
    return Reading.SHELL if suffix.lstrip(".") in SHELL_LANGUAGES else Reading.CODE


def logical_lines(text: str, path: str) -> list[LogicalLine]:
    """The lines of a file that say something. Lines end at a newline and nothing else, as `grep -n` counts them."""
    physical = list(enumerate(text.split("\n"), 1))
    reading = reading_of(path)
    if reading is Reading.MARKDOWN:
        return list(_markdown(physical))
    if reading is Reading.PROSE:
        return list(_prose(physical))
    if reading is Reading.TABLE:
        return list(_table(physical))
    return list(code_lines(physical, shell=reading is Reading.SHELL))


def _markdown(physical: list[tuple[int, str]]) -> Iterator[LogicalLine]:
    headings: dict[int, str] = {}
    fence, lead, shell = "", "", False
    block: list[tuple[int, str]] = []
    for number, line in physical:
        opened = FENCE.match(line)
        if fence and opened and opened.group(1).startswith(fence) and not opened.group(2):
            yield from code_lines(block, headings=_path(headings), shell=shell, lead=lead)
            fence, block = "", []
        elif fence:
            block.append((number, line))
        elif opened:
            fence, shell = opened.group(1), opened.group(2).lower() in SHELL_LANGUAGES
        elif says_something(line):
            made = _markdown_line(number, line, headings)
            lead = _introduction(made)
            yield made
    yield from code_lines(block, headings=_path(headings), shell=shell, lead=lead)  # a fence that nobody closed


def _markdown_line(number: int, line: str, headings: dict[int, str]) -> LogicalLine:
    title = HEADING.match(line)
    bold = BOLD_HEADING.match(line.strip())
    if title:
        return _heading(number, line, headings, depth=len(title.group(1)), title=title.group(2).rstrip("# \r"))
    if bold:
        return _heading(number, line, headings, depth=BOLD_DEPTH, title=bold.group(1).strip())
    return LogicalLine(number, bounded(line), LineKind.PROSE, _path(headings))


def _heading(number: int, line: str, headings: dict[int, str], *, depth: int, title: str) -> LogicalLine:
    for deeper in [level for level in headings if level >= depth]:
        del headings[deeper]
    above = _path(headings)
    headings[depth] = shortened(title)
    return LogicalLine(number, bounded(line), LineKind.HEADING, above, announces=True)


def _introduction(made: LogicalLine) -> str:
    """A sentence that ends in a colon introduces the block below it."""
    text = made.text.strip()
    return shortened(text.rstrip(":")) if made.kind is LineKind.PROSE and text.endswith(":") else ""


def _prose(physical: list[tuple[int, str]]) -> Iterator[LogicalLine]:
    for number, line in physical:
        if says_something(line):
            is_setting = line_kind(line, shell=False) is LineKind.SETTING and "=" in line
            yield LogicalLine(number, bounded(line), LineKind.SETTING if is_setting else LineKind.PROSE)


def _table(physical: list[tuple[int, str]]) -> Iterator[LogicalLine]:
    """Every row stands under the names of its columns."""
    names = shortened(physical[0][1].strip())
    for number, line in physical:
        if says_something(line):
            yield LogicalLine(number, bounded(line), LineKind.PROSE, lead="" if number == 1 else names)


def _path(headings: dict[int, str]) -> tuple[str, ...]:
    return tuple(headings[level] for level in sorted(headings))
