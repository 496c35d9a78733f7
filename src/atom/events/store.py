"""SQL of the event table."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, Table, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.events.models import Event, EventRow
from atom.infra.db import mine_now

SEQUENCER_LOCK = 0x41544F4D_0001  # one sequencer in the cluster; any constant that nothing else uses
STAMP = text(
    """
    WITH fresh AS (
        SELECT id FROM event WHERE seq IS NULL ORDER BY id LIMIT :batch
    ), numbered AS (
        SELECT id, nextval('event_seq') AS n FROM (SELECT id FROM fresh ORDER BY id) AS ordered
    )
    UPDATE event SET seq = numbered.n FROM numbered WHERE event.id = numbered.id
    """
)
ADD = insert(cast(Table, EventRow.__table__))  # built once: an event is written with every step


async def add(session: AsyncSession, values: dict[str, Any]) -> None:
    """`at` is the database's time."""
    await session.execute(ADD, values)


async def stamp(session: AsyncSession, batch: int) -> int:
    """Numbers up to `batch` committed rows, unless another process is the sequencer now. Returns how many."""
    if not await mine_now(session, SEQUENCER_LOCK):
        return 0
    result = cast(CursorResult[Any], await session.execute(STAMP, {"batch": batch}))
    return result.rowcount


async def after(session: AsyncSession, seq: int, *, limit: int, run_id: UUID | None = None) -> list[Event]:
    query = select(EventRow).where(EventRow.seq > seq).order_by(EventRow.seq).limit(limit)
    if run_id is not None:
        query = query.where(EventRow.run_id == run_id)
    return [_event(row) for row in (await session.scalars(query)).all()]


async def between(
    session: AsyncSession, after: int, upto: int, *, types: Sequence[str], agent_id: UUID | None, limit: int
) -> list[Event]:
    query = select(EventRow).where(EventRow.seq > after, EventRow.seq <= upto, EventRow.type.in_(types))
    if agent_id is not None:
        query = query.where(EventRow.agent_id == agent_id)
    return [_event(row) for row in (await session.scalars(query.order_by(EventRow.seq).limit(limit))).all()]


async def first_seq_of(session: AsyncSession, run_id: UUID, types: Sequence[str]) -> int | None:
    """The number of the run's first stamped event of one of `types`."""
    query = select(func.min(EventRow.seq)).where(EventRow.run_id == run_id, EventRow.type.in_(types))
    return await session.scalar(query)


async def last_seq(session: AsyncSession) -> int:
    return await session.scalar(select(func.coalesce(func.max(EventRow.seq), 0))) or 0


def _event(row: EventRow) -> Event:
    assert row.seq is not None
    return Event(
        seq=row.seq, id=row.id, type=row.type, at=row.at, actor=row.actor, agent_id=row.agent_id, run_id=row.run_id,
        data=row.data, v=row.v,
    )  # fmt: skip
