"""The one spelling of an audit row. The database spells the same, byte for byte (`audit_canonical`, `audit_body`).

Pure, and without anything of the database: a verifier must not trust the functions that are stored there.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

GENESIS = bytes(32)
FIELDS = ("action", "actor", "agent_id", "at", "data", "decision", "id", "reason", "run_id")
VERSION = 1
MOST_DIGITS = 150_000  # PostgreSQL's numeric has at most 131072 before the point and 16383 behind it


class SpellingError(ValueError):
    """This is not a row of the chain, or not JSON that PostgreSQL could hold."""


def _no_number(word: str) -> Any:
    raise SpellingError(f"{word} is no JSON.")


READER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)
PATIENT_READER = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
WRITER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def exact(text: str | bytes) -> Any:
    """JSON with its numbers as they are written: no digit is rounded. Raises SpellingError."""
    try:
        written = text.decode("utf-8") if isinstance(text, bytes) else text
        try:
            return READER.decode(written)
        except ValueError:  # perhaps no more than an integer that is too long for int()
            return PATIENT_READER.decode(written)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise SpellingError("This is not JSON.") from error


def spelled(value: Any) -> str:
    """Keys by code point, no spaces, numbers in plain decimal without trailing zeros. For what `exact` gives.

    Raises SpellingError.
    """
    try:
        return WRITER.encode(value)  # about ten times as fast; it knows no Decimal
    except TypeError:
        return _spelled(value)
    except (ValueError, RecursionError) as error:
        raise SpellingError("This cannot be spelled.") from error


def _spelled(value: Any) -> str:
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{WRITER.encode(key)}:{_spelled(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_spelled(item) for item in value) + "]"
    return WRITER.encode(value)


@dataclass(frozen=True, slots=True)
class Link:
    """An entry at its place in the chain. `body` None: the entry it names is not there."""

    seq: int
    entry_id: str
    body: str | None
    prev_hash: bytes
    hash: bytes

    def fits(self, seq: int, *, prev_hash: bytes | None = None) -> bool:
        """Whether this is what was sealed at `seq`."""
        if self.body is None:
            return False
        return seal(self.body, seq, self.prev_hash if prev_hash is None else prev_hash) == self.hash


def body(row: Mapping[str, Any]) -> str:
    """The canonical form of an entry up to its place. Raises SpellingError."""
    if any(name not in row for name in FIELDS):
        raise SpellingError("A field of the row is missing.")
    return spelled({name: row[name] for name in FIELDS})[:-1]


def seal(body: str, seq: int, prev_hash: bytes) -> bytes:
    """SHA256(previous hash | canonical row)."""
    return hashlib.sha256(prev_hash + f'{body},"seq":{seq},"v":{VERSION}}}'.encode("utf-8", "surrogatepass")).digest()


def _number(value: Decimal) -> str:
    if not value.is_finite() or abs(value.adjusted()) > MOST_DIGITS:
        raise SpellingError("A number that PostgreSQL does not hold.")
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text
