"""SQL of the chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.audit.canonical import exact
from atom.governance.audit.lines import Sealed
from atom.governance.audit.tables import AuditLink
from atom.governance.tables import AuditEntry

# Texts, so that no digit is rounded and no value of a spoilt row fails to be read. What is stored in the database as a
# function is not used: whoever edits rows may edit functions.
ENTRY = r"""
    e.id\:\:text AS id, to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\:MI\:SS.US"Z"') AS at, e.actor, e.action,
    e.decision, e.reason, e.agent_id\:\:text AS agent_id, e.run_id\:\:text AS run_id, e.data\:\:text AS data
"""


def _of_entries(query: str) -> TextClause:
    return text(query.replace("{entry}", ENTRY))


CHAIN = _of_entries(
    r"""
    WITH l AS MATERIALIZED (  -- the page first: joined before it is cut, every page would read all that is behind it
        SELECT * FROM audit_link WHERE seq > :after AND seq <= :until ORDER BY seq LIMIT :limit
    )
    SELECT l.seq, l.entry_id\:\:text AS entry_id, l.prev_hash, l.hash, {entry}
    FROM l LEFT JOIN audit_entry e ON e.id = l.entry_id ORDER BY l.seq
    """
)
STRAYS = _of_entries(
    """
    WITH looked_at AS (SELECT id FROM audit_entry WHERE id > :after ORDER BY id LIMIT :limit)
    SELECT w.id AS place, l.entry_id IS NULL AS stray, {entry}
    FROM looked_at w JOIN audit_entry e ON e.id = w.id LEFT JOIN audit_link l ON l.entry_id = w.id
    WHERE l.entry_id IS NULL OR w.id = (SELECT id FROM looked_at ORDER BY id DESC LIMIT 1) ORDER BY w.id
    """
)
RECENT_STRAYS = _of_entries(
    """
    WITH looked_at AS (SELECT id FROM audit_entry ORDER BY id DESC LIMIT :limit)
    SELECT {entry} FROM looked_at w JOIN audit_entry e ON e.id = w.id
    WHERE NOT EXISTS (SELECT FROM audit_link l WHERE l.entry_id = w.id)
    """
)
RANGE = text(
    "SELECT min(l.seq) AS first, max(l.seq) AS last FROM audit_entry e JOIN audit_link l ON l.entry_id = e.id"
    " WHERE (CAST(:since AS timestamptz) IS NULL OR e.at >= :since)"
    " AND (CAST(:until AS timestamptz) IS NULL OR e.at < :until)"
)


@dataclass(frozen=True, slots=True)
class Head:
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is cut down to; None: everything."""

    actor: str | None = None
    action: str | None = None
    decision: str | None = None
    agent_id: UUID | None = None
    run_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


async def head(session: AsyncSession) -> Head | None:
    row = (await session.execute(select(AuditLink.seq, AuditLink.hash).order_by(AuditLink.seq.desc()).limit(1))).first()
    return None if row is None else Head(row[0], row[1].hex())


async def hashes(session: AsyncSession, seqs: Sequence[int]) -> Mapping[int, str]:
    rows = await session.execute(select(AuditLink.seq, AuditLink.hash).where(AuditLink.seq.in_(seqs)))
    return {seq: found.hex() for seq, found in rows}


async def chain(session: AsyncSession, after: int, until: int, limit: int) -> Sequence[Sealed]:
    """Rows with after < seq <= until, in their order."""
    rows = await session.execute(CHAIN, {"after": after, "until": until, "limit": limit})
    return [
        Sealed(row.seq, row.entry_id, bytes(row.prev_hash), bytes(row.hash), None if row.id is None else _row(row))
        for row in rows
    ]


async def strays(session: AsyncSession, after: UUID, limit: int) -> tuple[Sequence[Mapping[str, Any]], UUID | None]:
    """Those without a link among the next `limit` entries by id, and where to go on; None at the end."""
    rows = (await session.execute(STRAYS, {"after": after, "limit": limit})).all()
    return [_row(row) for row in rows if row.stray], rows[-1].place if rows else None


async def recent_strays(session: AsyncSession, limit: int) -> Sequence[Mapping[str, Any]]:
    return [_row(row) for row in await session.execute(RECENT_STRAYS, {"limit": limit})]


async def numbers(session: AsyncSession, since: datetime | None, until: datetime | None) -> tuple[int, int] | None:
    """The first and the last row of a time."""
    row = (await session.execute(RANGE, {"since": since, "until": until})).one()
    return None if row.first is None else (row.first, row.last)


async def page(
    session: AsyncSession, filters: Filters, *, before: UUID | None, limit: int
) -> Sequence[tuple[AuditEntry, int | None, str | None]]:
    """The newest entries first, each with its number and hash."""
    query = select(AuditEntry, AuditLink.seq, AuditLink.hash).outerjoin(AuditLink, AuditLink.entry_id == AuditEntry.id)
    query = query.order_by(AuditEntry.id.desc()).limit(limit)
    for name in ("actor", "action", "decision", "agent_id", "run_id"):
        if (wanted := getattr(filters, name)) is not None:
            query = query.where(getattr(AuditEntry, name) == wanted)
    if filters.since is not None:
        query = query.where(AuditEntry.at >= filters.since)
    if filters.until is not None:
        query = query.where(AuditEntry.at < filters.until)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    rows = await session.execute(query)
    return [(entry, seq, found.hex() if found else None) for entry, seq, found in rows]


def _row(row: Row[Any]) -> Mapping[str, Any]:
    names = ("id", "actor", "action", "decision", "reason", "agent_id", "run_id")
    return {**{name: getattr(row, name) for name in names}, "at": row.at or "", "data": exact(row.data)}
