"""SQL of agents and their versions."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent, AgentVersion


async def add(session: AsyncSession, values: dict[str, Any]) -> bool:
    """False when the name is taken (also by an agent that another transaction is adding)."""
    statement = pg_insert(Agent).values(created_at=func.now(), updated_at=func.now(), **values)
    return await session.scalar(statement.on_conflict_do_nothing().returning(Agent.id)) is not None


async def by_id(session: AsyncSession, id_: UUID, *, lock: bool = False) -> Agent | None:
    """`lock` keeps other changes of the agent out, and lets runs of it be added meanwhile."""
    return await session.get(Agent, id_, populate_existing=True, with_for_update={"key_share": True} if lock else None)


async def by_name(session: AsyncSession, name: str, *, lock: bool = False) -> Agent | None:
    query = select(Agent).where(func.lower(Agent.name) == name.lower()).execution_options(populate_existing=True)
    return (await session.scalars(query.with_for_update(key_share=True) if lock else query)).one_or_none()


async def names(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, str]:
    rows = await session.execute(select(Agent.id, Agent.name).where(Agent.id.in_(ids)))
    return {row.id: row.name for row in rows.all()}


async def page(session: AsyncSession, *, status: str | None, before: UUID | None, limit: int) -> Sequence[Agent]:
    query = select(Agent).order_by(Agent.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Agent.status == status)
    if before is not None:
        query = query.where(Agent.id < before)
    return (await session.scalars(query)).all()


async def save(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    await session.execute(update(Agent).where(Agent.id == id_).values(updated_at=func.now(), **values))


async def add_version(session: AsyncSession, values: dict[str, Any]) -> None:
    await session.execute(insert(AgentVersion).values(created_at=func.now(), **values))


async def versions(session: AsyncSession, id_: UUID, *, below: int | None, limit: int) -> Sequence[AgentVersion]:
    query = select(AgentVersion).where(AgentVersion.agent_id == id_).order_by(AgentVersion.version.desc()).limit(limit)
    if below is not None:
        query = query.where(AgentVersion.version < below)
    return (await session.scalars(query)).all()


async def version(session: AsyncSession, id_: UUID, number: int) -> AgentVersion | None:
    return await session.get(AgentVersion, (id_, number))
