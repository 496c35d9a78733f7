"""SQL of executions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, delete, false, func, insert, null, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only

from atom.durable.models import Job, JobStatus
from atom.kit.text import clean
from atom.skills.execution.models import ExecutionStatus, FileKind, SkillExecution, SkillExecutionFile

AT_ONCE = 500  # rows that one tidying takes
WORKED_ON = (JobStatus.QUEUED.value, JobStatus.RUNNING.value)
OPEN = (ExecutionStatus.QUEUED.value, ExecutionStatus.RUNNING.value)


EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(("error_code", "error_message", "advice", "exit_reason", "exit_code"), None),
    "value": null(),
    **dict.fromkeys(("stdout", "stderr", "backend"), ""),
    "artefacts": [],
    "refused": [],
    "connections": [],
    "usage": {},
    "guarantees": {},
}
# What lists show; the others may be megabytes.
BRIEF = (
    SkillExecution.id, SkillExecution.skill_name, SkillExecution.digest, SkillExecution.script, SkillExecution.purpose,
    SkillExecution.status, SkillExecution.error_code, SkillExecution.error_message, SkillExecution.actor,
    SkillExecution.agent_id, SkillExecution.run_id, SkillExecution.job_id, SkillExecution.created_at,
    SkillExecution.ended_at,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """None: any."""

    skill: str | None = None
    status: ExecutionStatus | None = None
    run_id: UUID | None = None


async def add(session: AsyncSession, values: dict[str, Any]) -> SkillExecution | None:
    """None: the same call of the same run has one already."""
    statement = pg_insert(SkillExecution).values(created_at=func.now(), **values)
    added = await session.scalar(
        statement.on_conflict_do_nothing(index_elements=["call_key"]).returning(SkillExecution.id)
    )
    return None if added is None else await get(session, added)


async def get(session: AsyncSession, id_: UUID, *, lock: bool = False) -> SkillExecution | None:
    query = select(SkillExecution).where(SkillExecution.id == id_).execution_options(populate_existing=True)
    return (await session.scalars(query.with_for_update() if lock else query)).one_or_none()


async def by_call(session: AsyncSession, call_key: str) -> SkillExecution | None:
    query = select(SkillExecution).where(SkillExecution.call_key == call_key).with_for_update()
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def begin(session: AsyncSession, id_: UUID, *, seconds: float) -> int:
    """Another attempt, from nothing. Its number."""
    await drop_files(session, id_, FileKind.ARTEFACT)
    statement = update(SkillExecution).where(SkillExecution.id == id_)
    statement = statement.values(
        status=ExecutionStatus.RUNNING.value,
        attempt=SkillExecution.attempt + 1,
        started_at=func.now(),
        ended_at=None,
        ends_by=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds),
        **EMPTY,
    )
    return cast(int, await session.scalar(statement.returning(SkillExecution.attempt)))


async def end(session: AsyncSession, id_: UUID, attempt: int, values: dict[str, Any]) -> bool:
    """False when a later attempt has taken over, or it has ended."""
    statement = update(SkillExecution).where(
        SkillExecution.id == id_,
        SkillExecution.attempt == attempt,
        SkillExecution.status == ExecutionStatus.RUNNING.value,
    )
    result = cast(CursorResult[Any], await session.execute(statement.values(ended_at=func.now(), **values)))
    return result.rowcount == 1


async def withdraw(session: AsyncSession, id_: UUID) -> bool:
    """Cancel what has not begun."""
    statement = update(SkillExecution).where(
        SkillExecution.id == id_, SkillExecution.status == ExecutionStatus.QUEUED.value
    )
    values = {"status": ExecutionStatus.CANCELLED.value, "ended_at": func.now()}
    return cast(CursorResult[Any], await session.execute(statement.values(**values))).rowcount == 1


async def set_job(session: AsyncSession, id_: UUID, job_id: UUID) -> None:
    await session.execute(update(SkillExecution).where(SkillExecution.id == id_).values(job_id=job_id))


async def page(session: AsyncSession, wanted: Filter, *, before: UUID | None, limit: int) -> Sequence[SkillExecution]:
    """The newest first."""
    query = select(SkillExecution).order_by(SkillExecution.id.desc()).limit(limit)
    query = query.options(load_only(*BRIEF, raiseload=True))
    if wanted.skill is not None:
        query = query.where(SkillExecution.skill_name == clean(wanted.skill))
    if wanted.status is not None:
        query = query.where(SkillExecution.status == wanted.status.value)
    if wanted.run_id is not None:
        query = query.where(SkillExecution.run_id == wanted.run_id)
    if before is not None:
        query = query.where(SkillExecution.id < before)
    return (await session.scalars(query)).all()


async def put_file(session: AsyncSession, id_: UUID, kind: FileKind, values: dict[str, Any]) -> None:
    await session.execute(insert(SkillExecutionFile).values(execution_id=id_, kind=kind.value, **values))


async def drop_files(session: AsyncSession, id_: UUID, kind: FileKind) -> None:
    found = SkillExecutionFile.execution_id == id_, SkillExecutionFile.kind == kind.value
    await session.execute(delete(SkillExecutionFile).where(*found))


async def files(session: AsyncSession, id_: UUID, kind: FileKind) -> dict[str, bytes]:
    query = select(SkillExecutionFile.name, SkillExecutionFile.body)
    query = query.where(SkillExecutionFile.execution_id == id_, SkillExecutionFile.kind == kind.value)
    return {row.name: row.body for row in (await session.execute(query)).all()}


async def file(session: AsyncSession, id_: UUID, kind: FileKind, name: str) -> bytes | None:
    query = select(SkillExecutionFile.body).where(
        SkillExecutionFile.execution_id == id_,
        SkillExecutionFile.kind == kind.value,
        SkillExecutionFile.name == clean(name),
    )
    return await session.scalar(query)


async def goes_on(session: AsyncSession, id_: UUID) -> bool:
    """Whether its job is there for another worker to go on with: nobody has cancelled it."""
    query = select(Job.id).join(SkillExecution, SkillExecution.job_id == Job.id)
    query = query.where(SkillExecution.id == id_, Job.status.in_(WORKED_ON), Job.cancel_requested_at.is_(None))
    return await session.scalar(query) is not None


async def lost(session: AsyncSession) -> Sequence[tuple[SkillExecution, bool]]:
    """Those whose time is up or whose job has ended, locked, and whether that was cancelled; others' are left alone."""
    query = select(SkillExecution, func.coalesce(Job.status == JobStatus.CANCELLED.value, false()))
    query = query.outerjoin(Job, Job.id == SkillExecution.job_id).options(load_only(*BRIEF, raiseload=True))
    query = query.where(SkillExecution.status.in_(OPEN))
    query = query.where(or_(SkillExecution.ends_by < func.now(), Job.status.not_in(WORKED_ON)))
    found = await session.execute(query.limit(AT_ONCE).with_for_update(of=SkillExecution, skip_locked=True))
    return [(row[0], row[1]) for row in found.all()]


async def mark_lost(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    await session.execute(update(SkillExecution).where(SkillExecution.id == id_).values(ended_at=func.now(), **values))


OLD = text("""
DELETE FROM skill_execution WHERE id IN (
    SELECT id FROM skill_execution
    WHERE created_at < now() - make_interval(days => :days) AND status IN ('completed', 'failed', 'cancelled')
    ORDER BY created_at LIMIT :most)
""")


async def forget_old(session: AsyncSession, days: int) -> int:
    """With their files. How many; at most 500 at a time."""
    return cast(CursorResult[Any], await session.execute(OLD, {"days": days, "most": AT_ONCE})).rowcount
