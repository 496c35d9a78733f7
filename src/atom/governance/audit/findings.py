"""What a verification says."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """How a chain differs from what was written. Stable codes: documentation and alarms use them."""

    EDITED = "edited"
    DELETED = "deleted"
    INSERTED = "inserted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"
    ANCHOR_FORGED = "anchor_forged"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`seq` is the first row it is about, `until` the last (the same one mostly)."""

    seq: int
    kind: Kind
    until: int
    detail: str

    def plain(self) -> dict[str, Any]:
        return {"kind": self.kind.value, "seq": self.seq, "until": self.until, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Report:
    """`first` to `last` are the rows that were read; `hash` is the last one's. `notes` are no failures."""

    rows: int
    first: int
    last: int
    hash: str
    anchors: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return not self.findings

    def plain(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "rows": self.rows,
            "first": self.first,
            "last": self.last,
            "hash": self.hash,
            "anchors": self.anchors,
            "findings": [one.plain() for one in self.findings],
            "notes": list(self.notes),
        }
