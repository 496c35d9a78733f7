"""SQL of runs, their journal and their conversations."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.durable.lease import unowned
from atom.kit.ids import new_id
from atom.runs.models import Conversation, IdempotencyKey, LlmCall, Run, RunStatus, Step, StepStatus, WaitReason

WORKABLE = (RunStatus.QUEUED.value, RunStatus.RUNNING.value)
OPEN = (*WORKABLE, RunStatus.WAITING.value, RunStatus.PAUSED.value)


async def add_conversation(session: AsyncSession, agent_id: UUID) -> UUID:
    id_ = new_id()
    await session.execute(insert(Conversation).values(id=id_, agent_id=agent_id, created_at=func.now()))
    return id_


async def conversation(session: AsyncSession, id_: UUID) -> Conversation | None:
    return await session.get(Conversation, id_)


async def add_run(session: AsyncSession, values: dict[str, Any]) -> None:
    defaults = {"status": RunStatus.QUEUED.value, "sources": [], "model_calls": 0, "tool_calls": 0, "worked_ms": 0}
    lease = {"lease_epoch": 0, "wake_seq": 0, "crashes": 0}
    await session.execute(insert(Run).values(created_at=func.now(), **defaults, **lease, **values))


async def get(session: AsyncSession, id_: UUID, *, lock: bool = False) -> Run | None:
    return await session.get(Run, id_, populate_existing=True, with_for_update=lock or None)


async def with_agent_name(session: AsyncSession, id_: UUID) -> tuple[Run, str] | None:
    query = select(Run, Agent.name).join(Agent, Agent.id == Run.agent_id).where(Run.id == id_)
    row = (await session.execute(query.execution_options(populate_existing=True))).one_or_none()
    return None if row is None else (row[0], row[1])


async def page(
    session: AsyncSession, *, agent_id: UUID | None, status: str | None, before: UUID | None, limit: int
) -> Sequence[tuple[Run, str]]:
    query = select(Run, Agent.name).join(Agent, Agent.id == Run.agent_id).order_by(Run.id.desc()).limit(limit)
    if agent_id is not None:
        query = query.where(Run.agent_id == agent_id)
    if status is not None:
        query = query.where(Run.status == status)
    if before is not None:
        query = query.where(Run.id < before)
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]


async def in_conversation(session: AsyncSession, id_: UUID, *, before: UUID | None, limit: int) -> Sequence[Run]:
    """The newest `limit` runs of a conversation, oldest first; `before` is a run that is left out with all after it."""
    query = select(Run).where(Run.conversation_id == id_).order_by(Run.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Run.id < before)
    return list((await session.scalars(query)).all())[::-1]


async def steps(session: AsyncSession, id_: UUID, *, after: int = 0, limit: int) -> Sequence[Step]:
    query = select(Step).where(Step.execution_id == id_, Step.step_no > after).order_by(Step.step_no).limit(limit)
    return (await session.scalars(query)).all()


async def waiting_for_worker(session: AsyncSession, *, limit: int) -> Sequence[UUID]:
    query = select(Run.id).where(Run.status.in_(WORKABLE), unowned(Run)).order_by(Run.id).limit(limit)
    return (await session.scalars(query)).all()


async def add_step(session: AsyncSession, values: dict[str, Any]) -> None:
    """A new row of the journal, numbered after the last. The run's row is locked by the caller's fenced write."""
    number = (
        select(func.coalesce(func.max(Step.step_no), 0) + 1)
        .where(Step.execution_id == values["execution_id"])
        .scalar_subquery()
    )
    await session.execute(insert(Step).values(step_no=number, started_at=func.now(), **values))


async def finish_step(session: AsyncSession, run_id: UUID, key: str, *, epoch: int, result: dict[str, Any]) -> None:
    await session.execute(
        update(Step)
        .where(Step.execution_id == run_id, Step.key == key)
        .values(status=StepStatus.DONE.value, epoch=epoch, result=result, ended_at=func.now())
    )


async def add_llm_call(session: AsyncSession, values: dict[str, Any]) -> None:
    await session.execute(insert(LlmCall).values(id=new_id(), at=func.now(), **values))


async def request_cancel(session: AsyncSession, id_: UUID, by: str) -> None:
    await session.execute(
        update(Run)
        .where(Run.id == id_, Run.cancel_requested_at.is_(None))
        .values(cancel_requested_at=func.now(), cancel_requested_by=by)
    )


async def wake(session: AsyncSession, id_: UUID) -> UUID | None:
    """Back into the queue, if it waits for an approval. Returns its agent."""
    statement = (
        update(Run)
        .where(Run.id == id_, Run.status == RunStatus.WAITING, Run.wait_reason == WaitReason.APPROVAL)
        .values(status=RunStatus.QUEUED.value, wait_reason=None, wake_seq=Run.wake_seq + 1)
        .returning(Run.agent_id)
    )
    found: UUID | None = await session.scalar(statement)
    return found


async def tell_workers(session: AsyncSession, channel: str, payload: str) -> None:
    await session.execute(select(func.pg_notify(channel, payload)))


async def end_unowned(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    """End a run that no worker holds; the caller has locked and checked it."""
    await session.execute(
        update(Run)
        .where(Run.id == id_)
        .values(ended_at=func.now(), wait_reason=None, lease_owner=None, lease_expires_at=None, **values)
    )


async def remember_key(session: AsyncSession, values: dict[str, Any]) -> bool:
    """False when this principal has used the key before."""
    statement = pg_insert(IdempotencyKey).values(created_at=func.now(), **values).on_conflict_do_nothing()
    return await session.scalar(statement.returning(IdempotencyKey.key)) is not None


async def remembered_key(session: AsyncSession, principal: str, key: str) -> IdempotencyKey | None:
    return await session.get(IdempotencyKey, (principal, key))
