"""Whether a text carries a piece of a secret, plain or encoded. Pure."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_plus

PIECE = 8  # letters and digits in a row
DEPTH = 2  # an encoding inside an encoding
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:.-]?){4,}")


def squeezed(text: str) -> str:
    """Letters and digits alone: spaces and dashes between them hide nothing."""
    return "".join(char for char in text.casefold() if char.isalnum())


def pieces(text: str) -> set[str]:
    bare = squeezed(text)
    return {bare[at : at + PIECE] for at in range(len(bare) - PIECE + 1)}


def carries(value: str, secret_pieces: set[str]) -> bool:
    """Whether `value` has one of the pieces in it, as it is or in base64, hex or URL encoding."""
    return any(not secret_pieces.isdisjoint(pieces(shown)) for shown in _readings(value, DEPTH))


def _readings(value: str, depth: int) -> Iterator[str]:
    yield value
    yield value[::-1]
    if depth == 0:
        return
    for decoded in _decoded(value):
        yield from _readings(decoded, depth - 1)


def _decoded(value: str) -> Iterable[str]:
    if "%" in value or "+" in value:
        unquoted = unquote_plus(value)
        if unquoted != value:
            yield unquoted
    for run in BASE64.findall(value):
        for shift in range(4):
            yield from _base64(run[shift:].rstrip("="))
    for found in HEX.finditer(value):
        digits = re.sub(r"[^0-9A-Fa-f]", "", found.group())
        for shift in range(2):
            part = digits[shift:]
            yield binascii.unhexlify(part[: len(part) // 2 * 2]).decode("utf-8", "ignore")


def _base64(text: str) -> Iterator[str]:
    usable = text[: len(text) - 1] if len(text) % 4 == 1 else text
    try:
        raw = base64.b64decode(usable.translate(str.maketrans("-_", "+/")) + "=" * (-len(usable) % 4))
    except (binascii.Error, ValueError):
        return
    yield raw.decode("utf-8", "ignore")
