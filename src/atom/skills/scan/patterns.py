"""Patterns over a stranger's text: RE2, so that the time is linear in the text whatever it says."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import re2

BROKEN = re.compile(r"\n[ ]*")


class Match(Protocol):
    def start(self, group: int = 0) -> int: ...
    def end(self, group: int = 0) -> int: ...
    def __getitem__(self, group: int | str) -> str: ...


@dataclass(frozen=True, slots=True)
class Pattern:
    compiled: Any

    def search(self, text: str) -> Match | None:
        found: Match | None = self.compiled.search(plain(text))
        return found

    def all(self, text: str) -> Iterator[Match]:
        yield from self.compiled.finditer(plain(text))

    def matches(self, text: str) -> bool:
        return self.compiled.fullmatch(plain(text)) is not None


def pattern(text: str, *, case: bool = False) -> Pattern:
    """Without regard to case unless `case`. Line ends in `text`, and indents behind them, are no part of it."""
    text = BROKEN.sub("", text)
    options = re2.Options()
    options.case_sensitive = case
    options.log_errors = False
    return Pattern(re2.compile(text, options))


def either(texts: Sequence[str]) -> Pattern:
    return pattern("|".join(f"(?:{text})" for text in texts))


def plain(text: str) -> str:
    """As many characters, all of which can be encoded: literals of a script may hold halves of pairs."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
