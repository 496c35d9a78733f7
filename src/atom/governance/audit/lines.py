"""The chain as lines of JSON: what the API and an export carry, and what a verifier reads.

A line is the canonical row with its two hashes beside it: without them, it is what was hashed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atom.governance.audit.canonical import FIELDS, VERSION, Link, SpellingError, body, spelled

HASH_HEX = 64


@dataclass(frozen=True, slots=True)
class Sealed:
    """A link and its entry as the database has them. `row` None: the entry is not there."""

    seq: int
    entry_id: str
    prev_hash: bytes
    hash: bytes
    row: Mapping[str, Any] | None

    @property
    def link(self) -> Link:
        return Link(self.seq, self.entry_id, None if self.row is None else body(self.row), self.prev_hash, self.hash)

    def line(self) -> str:
        place = {"seq": self.seq, "v": VERSION, "prev_hash": self.prev_hash.hex(), "hash": self.hash.hex()}
        return spelled({"id": self.entry_id, "missing": True, **place} if self.row is None else {**self.row, **place})


def stray_line(row: Mapping[str, Any]) -> str:
    """An entry that no link names."""
    return spelled({**row, "seq": None, "v": VERSION})


def read(item: object) -> Link | Mapping[str, Any]:
    """A link, or the row of an entry without one. Raises SpellingError."""
    if not isinstance(item, Mapping) or item.get("v") != VERSION:
        raise SpellingError("It is no row of an audit chain of a form that this Atom knows.")
    seq = item.get("seq")
    if seq is None:
        return {name: item.get(name) for name in FIELDS}
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 1:
        raise SpellingError("Its number is none.")
    prev_hash, hash_ = _hash(item.get("prev_hash")), _hash(item.get("hash"))
    return Link(seq, str(item.get("id")), None if item.get("missing") is True else body(item), prev_hash, hash_)


def _hash(value: object) -> bytes:
    try:
        found = bytes.fromhex(value) if isinstance(value, str) and len(value) == HASH_HEX else b""
    except ValueError:
        found = b""
    if len(found) * 2 != HASH_HEX:
        raise SpellingError("One of its hashes is none.")
    return found
