"""Archive and restore as jobs: started by a request or by the schedule, on record, resumed after a crash."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.errors import JobCancelledError
from atom.durable.jobs import JobHandler, JobService, Progress
from atom.durable.lease import FencedError
from atom.errors import AtomError
from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, unit_of_work
from atom.memory import archive_store, job_runs, policy_store
from atom.memory.archive_store import Away, Due
from atom.memory.job_runs import RunOutcome
from atom.memory.layer import MemoryLayer
from atom.memory.retention import expire
from atom.settings import MemorySettings

ARCHIVE_JOB = "episodes_archive"
RESTORE_JOB = "episodes_restore"
ARCHIVE = "archive"
RESTORE = "restore"
EXAMPLES = 5
SYSTEM = "system"
GOES_ON = (FencedError, JobCancelledError, DatabaseUnavailableError, PoolExhaustedError)  # the run has not ended by it
Report = dict[str, Any]
log = structlog.get_logger(service="episodic_memory")


@dataclass(frozen=True, slots=True)
class ArchiveOrder:
    """What is to be archived: of one agent or of all, whatever its age or only what is older than so many days.

    `scheduled`: first what retention ends is forgotten, and what was written just now stays.
    """

    agent_id: UUID | None = None
    older_than_days: float | None = None
    scheduled: bool = False
    dry_run: bool = False

    @staticmethod
    def of(params: dict[str, Any]) -> "ArchiveOrder":
        agent_id = params.get("agent_id")
        return ArchiveOrder(
            None if agent_id is None else UUID(agent_id),
            params.get("older_than_days"),
            bool(params.get("scheduled")),
            bool(params.get("dry_run")),
        )

    def params(self) -> dict[str, Any]:
        agent_id = None if self.agent_id is None else str(self.agent_id)
        named = {"agent_id": agent_id, "older_than_days": self.older_than_days}
        return {**named, "scheduled": self.scheduled, "dry_run": self.dry_run}

    def due(self, now: datetime) -> Due:
        before = None if self.older_than_days is None else now - timedelta(days=self.older_than_days)
        return Due(self.agent_id, before, before if self.scheduled else None)


async def start_archive(session: AsyncSession, jobs: JobService, order: ArchiveOrder, *, actor: str) -> UUID:
    """The id of the job, in the caller's transaction."""
    run = await _begin(session, ARCHIVE, whole=order.agent_id is None, dry_run=order.dry_run)
    return await jobs.start(session, ARCHIVE_JOB, {**order.params(), "run": run}, actor=actor)


async def start_restore(session: AsyncSession, jobs: JobService, wanted: Away, *, dry_run: bool, actor: str) -> UUID:
    """The id of the job, in the caller's transaction."""
    run = await _begin(session, RESTORE, whole=wanted == Away(), dry_run=dry_run)
    ids = None if wanted.ids is None else [str(id_) for id_ in wanted.ids]
    agent_id = None if wanted.agent_id is None else str(wanted.agent_id)
    params = {"ids": ids, "agent_id": agent_id, "dry_run": dry_run, "run": run}
    return await jobs.start(session, RESTORE_JOB, params, actor=actor)


def handlers(memory: MemoryLayer) -> dict[str, JobHandler]:
    return {ARCHIVE_JOB: archive_handler(memory), RESTORE_JOB: restore_handler(memory)}


def archive_handler(memory: MemoryLayer) -> JobHandler:
    archivist = memory.archivist

    async def handle(params: dict[str, Any], progress: Progress) -> Report:
        order = ArchiveOrder.of(params)
        wanted = order.due(datetime.now(UTC))
        if order.dry_run:
            return await _dry_archive(archivist.sessions, wanted)

        async def work(run: UUID) -> Report:
            async def alive() -> None:
                await progress(0, None)

            forgotten = await expire(archivist.sessions, alive) if order.scheduled else 0
            report = await archivist.archive(wanted, run, progress)
            return {**report.told(), "forgotten": forgotten}

        return await recorded(memory, ARCHIVE, params, work)

    return handle


def restore_handler(memory: MemoryLayer) -> JobHandler:
    restorer = memory.restorer

    async def handle(params: dict[str, Any], progress: Progress) -> Report:
        ids, agent_id = params.get("ids"), params.get("agent_id")
        wanted = Away(
            None if ids is None else tuple(UUID(id_) for id_ in ids), None if agent_id is None else UUID(agent_id)
        )
        if params.get("dry_run"):
            return await _dry_restore(restorer.sessions, wanted)

        async def work(run: UUID) -> Report:
            return (await restorer.restore(wanted, run, progress)).told()

        return await recorded(memory, RESTORE, params, work)

    return handle


async def recorded(
    memory: MemoryLayer, kind: str, params: dict[str, Any], work: Callable[[UUID], Awaitable[Report]]
) -> Report:
    """The work of the run that `params` name, its end on record and counted. What only interrupts it ends no run."""
    run = UUID(params["run"])
    try:
        report = await work(run)
    except GOES_ON:
        raise
    except AtomError:
        await _end(memory, kind, run, RunOutcome.FAILED, None)
        raise
    await _end(memory, kind, run, RunOutcome.DONE, report)
    return report


@dataclass(frozen=True, slots=True)
class ArchiveSchedule:
    """A chore of the sweep, which one process of the cluster does at a time."""

    jobs: JobService
    settings: MemorySettings

    async def start_due(self, session: AsyncSession) -> None:
        hours = self.settings.archive_every_hours
        if not hours or not await job_runs.due(session, ARCHIVE, timedelta(hours=hours)):
            return
        order = ArchiveOrder(older_than_days=self.settings.archive_after_days, scheduled=True)
        if await _idle(session, order):  # a young store needs no job to be told so
            run = await job_runs.record_started(session, ARCHIVE)
            await job_runs.record_finished(session, run, RunOutcome.DONE)
            return
        id_ = await start_archive(session, self.jobs, order, actor=SYSTEM)
        log.info("memory.archive_started", job_id=str(id_))


async def overdue(session: AsyncSession, settings: MemorySettings, now: datetime) -> bool:
    """Whether the archive has not ended well for some intervals, and something waits for it."""
    if not await job_runs.late(session, ARCHIVE, timedelta(hours=settings.archive_every_hours), now):
        return False
    order = ArchiveOrder(older_than_days=settings.archive_after_days, scheduled=True)
    return bool(await archive_store.due_any(session, order.due(now)))


async def _idle(session: AsyncSession, order: ArchiveOrder) -> bool:
    """Whether a scheduled archive would find nothing: to move, to tidy, or to forget."""
    if await archive_store.due_any(session, order.due(datetime.now(UTC))) or await archive_store.any_object(session):
        return False
    return not await policy_store.retained(session)


async def _begin(session: AsyncSession, kind: str, *, whole: bool, dry_run: bool) -> str | None:
    return None if dry_run else str(await job_runs.record_started(session, kind, whole=whole))


async def _end(memory: MemoryLayer, kind: str, run: UUID, outcome: RunOutcome, report: Report | None) -> None:
    async with unit_of_work(memory.archivist.sessions) as session:
        await job_runs.record_finished(session, run, outcome, report)
    memory.metrics.jobs.labels(job=kind, outcome=outcome.value).inc()


async def _dry_archive(sessions: Sessions, wanted: Due) -> Report:
    async with unit_of_work(sessions) as session:
        counts = await archive_store.due_counts(session, wanted)
        first = await archive_store.due(session, wanted, without=[], limit=EXAMPLES)
        return await _dry(session, counts, [one.id for one in first])


async def _dry_restore(sessions: Sessions, wanted: Away) -> Report:
    async with unit_of_work(sessions) as session:
        counts = await archive_store.away_counts(session, wanted)
        first = await archive_store.away(session, wanted, after=UUID(int=0), limit=EXAMPLES)
        return await _dry(session, counts, [one.id for one in first])


async def _dry(session: AsyncSession, counts: tuple[int, int, int], ids: list[UUID]) -> Report:
    episodes, segments, size = counts
    examples = await archive_store.examples(session, ids)
    return {"dry_run": True, "episodes": episodes, "segments": segments, "bytes": size, "examples": examples}
