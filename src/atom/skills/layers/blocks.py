"""Blocks of metadata in comments of a script (PEP 723), found in one pass: the PEP's expression takes time squared."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

OPENING = re.compile(r"# /// ([a-zA-Z0-9-]+)")
CLOSING = "# ///"


@dataclass(frozen=True, slots=True)
class Block:
    """`line` (from 1) is that of its opening; `content` without the marks of comments."""

    kind: str
    line: int
    content: str


def blocks(text: str) -> Iterator[Block]:
    """Every block, in order. It ends at the last closing line of the comment that it is in."""
    lines = text.split("\n")
    closings = _closings(lines)
    at = 0
    while at < len(lines):
        opening = OPENING.fullmatch(lines[at])
        closing = closings[at + 1] if opening is not None and at + 1 < len(lines) else -1
        if opening is None or closing < at + 2:
            at += 1
            continue
        yield Block(opening[1], at + 1, "\n".join(_uncommented(line) for line in lines[at + 1 : closing]))
        at = closing + 1


def _closings(lines: list[str]) -> list[int]:
    """For each line that is a comment, the last closing line of the comment lines from there on without a gap; else
    -1."""
    found = [-1] * len(lines)
    last = -1
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        if line != "#" and not line.startswith("# "):
            last = -1
            continue
        if last < 0 and line == CLOSING:
            last = at
        found[at] = last
    return found


def _uncommented(line: str) -> str:
    return line[2:] if line.startswith("# ") else line[1:]
