"""SQL of runs that are to be made episodes of."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.tables import Approval
from atom.runs.models import RunNote

DUE = text("""
    SELECT id FROM agent_execution WHERE ended_at IS NOT NULL AND remember_at <= now()
    ORDER BY remember_at, id LIMIT :limit
""")
DONE = text("UPDATE agent_execution SET remember_at = NULL WHERE id = :id")
LATER = text("UPDATE agent_execution SET remember_at = now() + make_interval(secs => :seconds) WHERE id = :id")


async def due(session: AsyncSession, *, limit: int) -> Sequence[UUID]:
    """Ended runs without an episode, those that were never tried first."""
    return (await session.scalars(DUE, {"limit": limit})).all()


async def done(session: AsyncSession, id_: UUID) -> None:
    await session.execute(DONE, {"id": id_})


async def later(session: AsyncSession, id_: UUID, *, seconds: float) -> None:
    await session.execute(LATER, {"id": id_, "seconds": seconds})


async def notes(session: AsyncSession, id_: UUID) -> Sequence[RunNote]:
    query = select(RunNote).where(RunNote.execution_id == id_, RunNote.turn.is_not(None)).order_by(RunNote.id)
    return (await session.scalars(query)).all()


async def decided(session: AsyncSession, id_: UUID) -> Sequence[Approval]:
    """What people have decided in this run, in the order of their answers."""
    query = select(Approval).where(Approval.execution_id == id_, Approval.decided_by.is_not(None))
    return (await session.scalars(query.order_by(Approval.decided_at, Approval.id))).all()
