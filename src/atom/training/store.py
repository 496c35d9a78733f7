"""SQL of training sessions."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.kit.ids import new_id
from atom.training.models import TrainingSession, TrainingStatus

MANUAL = "manual"


async def add(session: AsyncSession, values: dict[str, Any]) -> UUID | None:
    """None when it is proposed already: by the same origin, or the same task for the same agent."""
    statement = pg_insert(TrainingSession).values(
        id=new_id(), status=TrainingStatus.PROPOSED.value, created_at=func.now(), **values
    )
    return await session.scalar(statement.on_conflict_do_nothing().returning(TrainingSession.id))


async def twin(session: AsyncSession, agent_id: UUID, task: str, origin_ref: str | None) -> UUID | None:
    """What the same origin has proposed, else the open proposal of the same task."""
    if origin_ref is not None:
        found = await session.scalar(select(TrainingSession.id).where(TrainingSession.origin_ref == origin_ref))
        if found is not None:
            return found
    query = select(TrainingSession.id).where(
        TrainingSession.agent_id == agent_id,
        TrainingSession.task == task,
        TrainingSession.status == TrainingStatus.PROPOSED.value,
    )
    return await session.scalar(query)


async def beyond(session: AsyncSession, agent_id: UUID, *, keep: int) -> Sequence[UUID]:
    """The oldest open proposals of an agent, without the newest `keep`. What a person proposed goes last."""
    query = select(TrainingSession.id).where(
        TrainingSession.agent_id == agent_id, TrainingSession.status == TrainingStatus.PROPOSED.value
    )
    return (
        await session.scalars(
            query.order_by((TrainingSession.origin == MANUAL).desc(), TrainingSession.id.desc())
            .offset(keep)
            .limit(keep)
        )
    ).all()


async def get(session: AsyncSession, id_: UUID) -> tuple[TrainingSession, str] | None:
    """The session and its agent's name."""
    query = select(TrainingSession, Agent.name).join(Agent, Agent.id == TrainingSession.agent_id)
    query = query.where(TrainingSession.id == id_).execution_options(populate_existing=True)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


async def lock(session: AsyncSession, id_: UUID) -> TrainingSession | None:
    return await session.get(TrainingSession, id_, populate_existing=True, with_for_update=True)


async def page(
    session: AsyncSession, *, agent_id: UUID | None, status: str | None, before: UUID | None, limit: int
) -> Sequence[tuple[TrainingSession, str]]:
    query = select(TrainingSession, Agent.name).join(Agent, Agent.id == TrainingSession.agent_id)
    query = query.order_by(TrainingSession.id.desc()).limit(limit)
    if agent_id is not None:
        query = query.where(TrainingSession.agent_id == agent_id)
    if status is not None:
        query = query.where(TrainingSession.status == status)
    if before is not None:
        query = query.where(TrainingSession.id < before)
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]


async def put(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    await session.execute(update(TrainingSession).where(TrainingSession.id == id_).values(**values))
