"""From an offset in a text to its line and column."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

ENDS = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Lines:
    starts: Sequence[int]

    @classmethod
    def of(cls, text: str) -> "Lines":
        return cls([0, *(match.end() for match in ENDS.finditer(text))])

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of the character at `offset`; both count from 1."""
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1
