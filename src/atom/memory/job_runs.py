"""Runs of the work that keeps memory in order: what began, how it ended, and when a kind of it is due again."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.kit.ids import new_id
from atom.memory.models import JobRun

LATE = 3  # intervals without a success
RETRY = timedelta(hours=1)  # after a run that failed, or that nobody ended


class RunOutcome(StrEnum):
    DONE = "done"
    FAILED = "failed"


async def record_started(session: AsyncSession, kind: str, *, id_: UUID | None = None, whole: bool = True) -> UUID:
    """The id of the run. Said again of the same `id_` (a job that goes on after a crash) it changes nothing.

    `whole`: of everybody's memory; only such runs count for `last_success` and `due`.
    """
    chosen = id_ or new_id()
    statement = insert(JobRun).values(id=chosen, kind=kind, whole=whole, started_at=func.now(), report={})
    await session.execute(statement.on_conflict_do_nothing(index_elements=["id"]))
    return chosen


async def record_report(session: AsyncSession, id_: UUID, report: Mapping[str, Any]) -> None:
    """What it has done so far, in the transaction that did it."""
    await session.execute(update(JobRun).where(JobRun.id == id_).values(report=dict(report)))


async def report_of(session: AsyncSession, id_: UUID) -> dict[str, Any]:
    """What it had done; empty for one that did nothing yet."""
    return await session.scalar(select(JobRun.report).where(JobRun.id == id_)) or {}


async def record_finished(
    session: AsyncSession, id_: UUID, outcome: RunOutcome, report: Mapping[str, Any] | None = None
) -> None:
    """Its end. Without a report the one that it has stays."""
    values: dict[str, Any] = {"finished_at": func.now(), "outcome": outcome.value}
    values |= {} if report is None else {"report": dict(report)}
    await session.execute(update(JobRun).where(JobRun.id == id_).values(**values))


async def last_success(session: AsyncSession, kind: str) -> datetime | None:
    """When the last whole run of this kind ended well."""
    query = select(func.max(JobRun.finished_at)).where(JobRun.kind == kind, JobRun.whole)
    return await session.scalar(query.where(JobRun.outcome == RunOutcome.DONE.value))


async def due(session: AsyncSession, kind: str, every: timedelta) -> bool:
    """Whether a whole run of this kind is to begin: none has ended well for so long, none has begun just now.

    Ask it under a lock of the cluster (a chore of the sweep has one), and record the start in the same transaction.
    """
    well = (JobRun.outcome == RunOutcome.DONE.value) & (JobRun.finished_at > func.now() - every)
    begun = JobRun.started_at > func.now() - min(every, RETRY)
    query = select(func.count()).where(JobRun.kind == kind, JobRun.whole, well | begun)
    return not await session.scalar(query)


async def late(session: AsyncSession, kind: str, every: timedelta, now: datetime) -> bool:
    """Whether no whole run of this kind has ended well for some intervals, since the first began. An interval of 0 is
    no schedule, and never late."""
    last = await last_success(session, kind) or await first_start(session, kind)
    return bool(every) and last is not None and now - last >= LATE * every


async def first_start(session: AsyncSession, kind: str) -> datetime | None:
    """When a whole run of this kind began for the first time."""
    return await session.scalar(select(func.min(JobRun.started_at)).where(JobRun.kind == kind, JobRun.whole))
