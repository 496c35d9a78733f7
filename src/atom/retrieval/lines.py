"""A file as logical lines: each line that says something, verbatim, with what it stands under. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum

RULES = 1  # part of the name of cached embeddings: raise it when splitting or `embedded_text` changes
MAX_LINE_CHARS = 2_000  # of a longer line only the start is ranked and shown
MAX_CONTEXT_CHARS = 160
SAYS_SOMETHING = re.compile(r"[^\W_]{2,}|\d")


class LineKind(StrEnum):
    HEADING = "heading"
    PROSE = "prose"
    COMMENT = "comment"
    COMMAND = "command"
    SETTING = "setting"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """A line of a file. `number` counts from 1, `text` is verbatim, `headings` are outermost first.

    `lead` is the comment, the sentence or the first line of a continued command that introduces it, else empty.
    `announces`: it only names what the lines below it say (a heading, a comment above a command).
    """

    number: int
    text: str
    kind: LineKind
    headings: tuple[str, ...] = ()
    lead: str = ""
    announces: bool = False

    @property
    def context(self) -> str:
        """The headings and the lead in one line, for people and for the embedder."""
        return " > ".join((*self.headings, self.lead) if self.lead else self.headings)

    @property
    def embedded_text(self) -> str:
        """What the stored vector of this line stands for: it ranks."""
        return f"{self.context}: {self.text.strip()}"

    @property
    def claim(self) -> str:
        """The line with its nearest context only: what decides whether it is about the question at all."""
        return f"{self.lead or (self.headings[-1] if self.headings else '')}: {self.text.strip()}"


def says_something(line: str) -> bool:
    """Fences, rules, lone brackets and blank lines do not."""
    return SAYS_SOMETHING.search(line) is not None


def shortened(text: str) -> str:
    return text if len(text) <= MAX_CONTEXT_CHARS else text[: MAX_CONTEXT_CHARS - 1] + "…"


def bounded(line: str) -> str:
    return line.rstrip("\r")[:MAX_LINE_CHARS]
