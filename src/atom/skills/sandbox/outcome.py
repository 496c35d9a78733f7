"""The result of a program: one line on a descriptor of its own, `<nonce> <JSON>`, read as if an enemy wrote it."""

import json
import math
from typing import NoReturn

MAX_DEPTH = 32
MAX_DIGITS = 400


class BadOutcomeError(Exception):
    """Why it is not taken, in a few words."""


def read(raw: bytes, nonce: str) -> object:
    """The value. BadOutcomeError: another nonce, more than one line, NaN, depth, huge numbers, doubled names."""
    line = raw.removesuffix(b"\n")
    head, _, body = line.partition(b" ")
    if head != nonce.encode():
        raise BadOutcomeError("it does not begin with the nonce")
    if b"\n" in line:
        raise BadOutcomeError("it is more than one line")
    try:
        text = body.decode("utf-8")
        check_depth(text)
        value: object = json.loads(
            text,
            parse_constant=_constant,
            parse_int=_whole,
            parse_float=_number,
            object_pairs_hook=_pairs,
        )
        if "\\u" in text:  # half of a character can be written, and nowhere be kept
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeError:
        raise BadOutcomeError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadOutcomeError(f"it is not JSON: {error.msg}") from None


def check_depth(text: str) -> None:
    """Before a parser recurses into it."""
    depth, quoted, escaped = 0, False, False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadOutcomeError(f"it is deeper than {MAX_DEPTH}")
        elif character in "]}":
            depth -= 1


def _constant(name: str) -> NoReturn:
    raise BadOutcomeError(f"it holds {name}")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise BadOutcomeError(f"it holds a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadOutcomeError("it holds a number that is too large")
    return value


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadOutcomeError("it holds a name twice")
    return value
