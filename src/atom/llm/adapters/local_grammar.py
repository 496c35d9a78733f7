"""Grammars (GBNF) under which the local model can only copy, and the texts that it may copy. Pure."""

import re
from collections.abc import Sequence

MAX_PIECES = 60
WORD = re.compile(r"\S+")


def pieces(text: str) -> list[tuple[int, int]]:
    """Spans of the words of a text. Signs belong to the word before them; leading signs (`#`, `-`) to none.

    So a copied run never loses the `.` at the end of a command, and never is a lone sign.
    """
    spans: list[tuple[int, int]] = []
    for match in WORD.finditer(text):
        if any(character.isalnum() for character in match.group()):
            spans.append(match.span())
        elif spans:
            spans[-1] = (spans[-1][0], match.end())
        if len(spans) > MAX_PIECES:
            break
    return spans[:MAX_PIECES]


def copy_grammar(text: str, spans: Sequence[tuple[int, int]], *, from_start: bool = False) -> str:
    """One contiguous run of the words, character by character as it stands, then the end of the line."""
    starts = " | ".join(f"w{number}" for number in range(1 if from_start else len(spans)))
    rules = [f'root ::= ({starts}) "\\n"']
    for number, (start, end) in enumerate(spans):
        rest = ""
        if number + 1 < len(spans):
            rest = f" ({literal(text[end : spans[number + 1][0]])} w{number + 1})?"
        rules.append(f"w{number} ::= {literal(text[start:end])}{rest}")
    return "\n".join(rules)


def choice_grammar(options: Sequence[str]) -> str:
    """Exactly one of the texts, then the end of the line."""
    return f'root ::= ({" | ".join(literal(option) for option in options)}) "\\n"'


def literal(text: str) -> str:
    """A text as a literal of the grammar."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in {'"', "\\"}:
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"
