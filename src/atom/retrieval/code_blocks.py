"""Lines of source code, configuration and shell blocks, each under the comment or definition it stands below. Pure."""

import re
from collections.abc import Iterator, Sequence

from atom.retrieval.lines import LineKind, LogicalLine, bounded, says_something, shortened

COMMENT = re.compile(r"\s*(?:#(?!!)|//|--(?=\s)|;)\s*(.*)$")
SETTING = re.compile(r"\s*(?:export\s+)?[\"']?[A-Za-z_][\w.\-]*[\"']?\s*(?:=|:(?!/))\s*[^\s=]")
SQL_COMMAND = re.compile(
    r"\s*(?:ALTER|ANALYZE|CREATE|DELETE|DROP|EXPLAIN|GRANT|INSERT|REINDEX|SELECT|SET|SHOW|UPDATE|VACUUM)\s+\S"
)
SHELL_COMMAND = re.compile(r"\s*(?:\$ )?(?:sudo )?[a-z][\w./-]*(?:\s|$)")
MAX_PARENTS = 3


def code_lines(
    block: Sequence[tuple[int, str]], *, headings: tuple[str, ...] = (), shell: bool, lead: str = ""
) -> Iterator[LogicalLine]:
    """`lead` introduces the whole block; a comment introduces what follows it until the next blank line."""
    place = _Place(lead, shell)
    for position, (number, raw) in enumerate(block):
        line = raw.rstrip("\r")
        place.enter(line)
        if says_something(line):
            kind = LineKind.COMMAND if place.continues else line_kind(line, shell=shell)
            below = block[position + 1][1] if position + 1 < len(block) else ""
            yield LogicalLine(
                number,
                bounded(line),
                kind,
                (*headings, *place.parents),
                place.lead(kind),
                announces=place.announces(kind, below),
            )
        place.leave(line)


class _Place:
    """Where a line of code stands: below which comment, inside which definition, continuing which command."""

    def __init__(self, lead: str, shell: bool) -> None:
        self._intro, self._shell = lead, shell
        self._comment, self._after_code = lead, False
        self._continued = ""
        self._outer: list[tuple[int, str]] = []

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(text for _, text in self._outer)

    @property
    def continues(self) -> bool:
        """The line above ended in a backslash."""
        return bool(self._continued)

    def enter(self, line: str) -> None:
        if not line.strip():
            self._comment, self._continued, self._after_code = self._intro, "", False
            return
        indent = len(line) - len(line.lstrip())
        self._outer = [outer for outer in self._outer if outer[0] < indent][1 - MAX_PARENTS :]

    def lead(self, kind: LineKind) -> str:
        if kind is LineKind.COMMENT:
            return self._comment if self._shell else self._intro
        return self._continued or self._comment

    def announces(self, kind: LineKind, below: str) -> bool:
        """A comment speaks of the line directly below it, unless it closes a command."""
        return kind is LineKind.COMMENT and not self._after_code and says_something(below)

    def leave(self, line: str) -> None:
        said = COMMENT.match(line)
        if said:
            self._remember(said.group(1))
        elif line.strip():
            self._after_code = True
            if not self._shell:
                self._outer.append((len(line) - len(line.lstrip()), shortened(line.strip())))
            elif line.endswith("\\"):
                command = line.rstrip("\\").strip()
                self._continued = self._continued or shortened(f"{self._comment}: {command}".lstrip(": "))
            else:
                self._continued = ""

    def _remember(self, said: str) -> None:
        """Comments in a row are one; below a shell command a comment speaks of that command, not of the next one."""
        if self._after_code and self._shell:
            return
        joined = f"{self._comment}. {said}" if self._comment != self._intro and not self._after_code else said
        self._comment, self._after_code = shortened(joined) or self._comment, False


def line_kind(line: str, *, shell: bool) -> LineKind:
    if COMMENT.match(line):
        return LineKind.COMMENT
    if SETTING.match(line):
        return LineKind.SETTING
    if SQL_COMMAND.match(line) or (shell and SHELL_COMMAND.match(line)):
        return LineKind.COMMAND
    return LineKind.CODE
