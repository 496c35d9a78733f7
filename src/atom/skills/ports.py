"""What skills need from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Language(StrEnum):
    """A language of scripts that a grammar is there for."""

    PYTHON = "python"
    SHELL = "shell"
    JAVASCRIPT = "javascript"


@dataclass(frozen=True, slots=True, order=True)
class SyntaxProblem:
    """`line` and `column` count from 1."""

    line: int
    column: int
    message: str


class TooComplexError(Exception):
    """Reading a text would take more than it may."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """A named node of a parsed text. `start` and `end` count bytes of its UTF-8; `field`: what it is to its parent."""

    kind: str
    field: str
    start: int
    end: int
    children: list["Syntax"]

    def of(self, field: str) -> "Syntax | None":
        """The first child that is `field` to it."""
        return next((child for child in self.children if child.field == field), None)


class Grammars(Protocol):
    def problems(self, language: Language, text: str) -> Sequence[SyntaxProblem]:
        """What is wrong with a shell or JavaScript text. Raises TooComplexError."""
        ...

    def tree(self, language: Language, text: str) -> Syntax:
        """A shell or JavaScript text, also one with errors in it. Raises TooComplexError."""
        ...
