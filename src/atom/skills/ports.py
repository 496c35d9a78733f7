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


class Grammars(Protocol):
    def problems(self, language: Language, text: str) -> Sequence[SyntaxProblem]:
        """What is wrong with a shell or JavaScript text. Raises TooComplexError."""
        ...
