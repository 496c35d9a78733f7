"""Characters that a person who reads a text does not see, or sees in another order than a machine."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Hidden(StrEnum):
    """What sort of character it is."""

    CONTROL = "control"
    BIDI = "bidi"
    INVISIBLE = "invisible"


# Bidirectional marks, embeddings, overrides and isolates (UAX #9).
BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Zero width and filler characters, tags, and the selectors that can carry bytes behind a visible character.
INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
CONTROL = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029"
ANY = re.compile(f"[{CONTROL}{BIDI}{INVISIBLE}]|\r(?!\n)")  # a line that is written over, too
_BIDI = re.compile(f"[{BIDI}]")
_CONTROL = re.compile(f"[{CONTROL}\r]")
JOINER, TEXT_STYLE, EMOJI_STYLE = "\u200d", "\ufe0e", "\ufe0f"


@dataclass(frozen=True, slots=True)
class Found:
    """`offset` counts characters from the start of the text."""

    offset: int
    character: str
    kind: Hidden

    @property
    def name(self) -> str:
        """As `U+202E RIGHT-TO-LEFT OVERRIDE`."""
        return f"U+{ord(self.character):04X} {unicodedata.name(self.character, '')}".rstrip()


def is_hidden(character: str) -> bool:
    return ANY.match(character) is not None


def find(text: str) -> Iterator[Found]:
    """All of them, in order. What makes up a visible emoji (a joiner between two pictures, a style) is none."""
    for match in ANY.finditer(text):
        if not _belongs_to_emoji(text, match.start()):
            yield Found(match.start(), match[0], _kind(match[0]))


def _kind(character: str) -> Hidden:
    if _CONTROL.match(character):
        return Hidden.CONTROL
    return Hidden.BIDI if _BIDI.match(character) else Hidden.INVISIBLE


def _belongs_to_emoji(text: str, at: int) -> bool:
    character = text[at]
    before, after = text[at - 1] if at else "", text[at + 1] if at + 1 < len(text) else ""
    if character in {TEXT_STYLE, EMOJI_STYLE}:
        return bool(before) and not is_hidden(before) and not before.isspace()
    if character != JOINER:
        return False
    if before == EMOJI_STYLE and at > 1:
        before = text[at - 2]
    return _is_picture(before) and _is_picture(after)


def _is_picture(character: str) -> bool:
    """A symbol, or the modifier of its skin tone; a flag's letters and all words are none."""
    return bool(character) and unicodedata.category(character) in {"So", "Sk", "Sm"} and ord(character) > 0x2000
