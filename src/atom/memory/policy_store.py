"""SQL of what is different for one agent's memory, and of what is left of what was forgotten."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.memory.models import ColdObject, Episode, MemoryPolicy, Tombstone

# A hold that is set just now waits for a deletion that has begun, and the next deletion for it.
LOCK = text("SELECT pg_advisory_xact_lock(1096040269, hashtext(CAST(:agent_id AS text)))")


async def lock(session: AsyncSession, agent_id: UUID) -> None:
    """Until the transaction ends nobody else changes the rules of this agent, or deletes of its memory."""
    await session.execute(LOCK, {"agent_id": str(agent_id)})


async def get(session: AsyncSession, agent_id: UUID) -> MemoryPolicy | None:
    query = select(MemoryPolicy).where(MemoryPolicy.agent_id == agent_id)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def decay_days(session: AsyncSession, agents: Collection[UUID]) -> dict[UUID, int]:
    """Of those agents that have days of their own."""
    query = select(MemoryPolicy.agent_id, MemoryPolicy.decay_days).where(MemoryPolicy.agent_id.in_(agents))
    rows = (await session.execute(query.where(MemoryPolicy.decay_days.is_not(None)))).all()
    return {agent_id: days for agent_id, days in rows if days is not None}


async def put(session: AsyncSession, agent_id: UUID, values: dict[str, Any]) -> None:
    added = {**values, "changed_at": func.now()}
    statement = insert(MemoryPolicy).values(agent_id=agent_id, **added)
    await session.execute(statement.on_conflict_do_update(index_elements=["agent_id"], set_=added))


async def bury(session: AsyncSession, episode: Episode, *, reason: str, by: str, cold_object_id: UUID | None) -> None:
    """The episode goes with its segments, vectors and body; that there was one stays."""
    values = {
        "episode_id": episode.id,
        "agent_id": episode.agent_id,
        "execution_id": episode.execution_id,
        "source": episode.source,
        "started_at": episode.started_at,
        "ended_at": episode.ended_at,
        "segments": episode.segments,
        "bytes": episode.bytes,
        "cold_object_id": cold_object_id,
    }
    await session.execute(insert(Tombstone).values(reason=reason, forgotten_by=by, forgotten_at=func.now(), **values))
    await session.execute(delete(Episode).where(Episode.id == episode.id))


async def pending(session: AsyncSession, id_: UUID) -> bool:
    """Whether encrypted bytes of what was forgotten are still in the cold store, without their key."""
    query = select(Tombstone.episode_id).join(ColdObject, ColdObject.id == Tombstone.cold_object_id)
    return await session.scalar(query.where(Tombstone.episode_id == id_)) is not None


async def retained(session: AsyncSession) -> list[tuple[UUID, int]]:
    """Agents whose memory has an end, and after how many days; none under a legal hold."""
    query = select(MemoryPolicy.agent_id, MemoryPolicy.retention_days)
    query = query.where(MemoryPolicy.retention_days.is_not(None), MemoryPolicy.legal_hold.is_(False))
    return [(row[0], int(row[1] or 0)) for row in (await session.execute(query.order_by(MemoryPolicy.agent_id))).all()]


async def expired(session: AsyncSession, agent_id: UUID, days: int, *, limit: int) -> list[UUID]:
    """The oldest episodes of an agent that ended more than so many days ago."""
    ended = func.coalesce(Episode.ended_at, Episode.started_at)
    query = select(Episode.id).where(
        Episode.agent_id == agent_id, ended < func.now() - func.make_interval(0, 0, 0, days)
    )
    return [*(await session.scalars(query.order_by(ended, Episode.id).limit(limit))).all()]
