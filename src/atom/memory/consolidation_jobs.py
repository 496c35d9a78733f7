"""The job that consolidates, by request or by schedule, on record, resumed after a crash."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.jobs import JobHandler, JobService, Progress
from atom.infra.db import after_commit
from atom.memory import consolidation_store, job_runs
from atom.memory.consolidating import Consolidated
from atom.memory.job_runs import RunOutcome
from atom.memory.jobs import SYSTEM, Report, recorded
from atom.memory.layer import MemoryLayer
from atom.settings import MemorySettings

CONSOLIDATE = "consolidate"
CONSOLIDATE_JOB = "episodes_consolidate"
log = structlog.get_logger(service="episodic_memory")


async def start_consolidation(
    session: AsyncSession, jobs: JobService, *, actor: str, agent_id: UUID | None = None, dry_run: bool = False
) -> UUID:
    """The id of the job, in the caller's transaction. A dry run is on record as one that is not of everybody's memory:
    it does nothing."""
    run = await job_runs.record_started(session, CONSOLIDATE, whole=agent_id is None and not dry_run)
    params = {"run": str(run), "agent_id": None if agent_id is None else str(agent_id), "dry_run": dry_run}
    return await jobs.start(session, CONSOLIDATE_JOB, params, actor=actor)


def consolidate_handler(memory: MemoryLayer) -> JobHandler:
    async def handle(params: dict[str, Any], progress: Progress) -> Report:
        agent = params["agent_id"]

        async def work(run: UUID) -> Report:
            agent_id, dry_run = None if agent is None else UUID(agent), bool(params["dry_run"])
            return (await memory.consolidator.consolidate(agent_id, run, progress, dry_run=dry_run)).told()

        return await recorded(memory, CONSOLIDATE, params, work)

    return handle


@dataclass(frozen=True, slots=True)
class ConsolidationSchedule:
    """A chore of the sweep, which one process of the cluster does at a time."""

    jobs: JobService
    memory: MemoryLayer

    async def start_due(self, session: AsyncSession) -> None:
        """Where no agent has so much that there is work, that is found out at once, and no job is needed."""
        settings = self.memory.service.settings
        hours = settings.consolidate_every_hours
        if not hours or not await job_runs.due(session, CONSOLIDATE, timedelta(hours=hours)):
            return
        if await consolidation_store.any_crowded(session, threshold=settings.consolidation_threshold):
            id_ = await start_consolidation(session, self.jobs, actor=SYSTEM)
            log.info("memory.consolidation_started", job_id=str(id_))
            return
        run = await job_runs.record_started(session, CONSOLIDATE)
        await job_runs.record_finished(session, run, RunOutcome.DONE, Consolidated().told())
        ended = self.memory.metrics.jobs.labels(job=CONSOLIDATE, outcome=RunOutcome.DONE.value)
        after_commit(session, ended.inc)


async def overdue(session: AsyncSession, settings: MemorySettings, now: datetime) -> bool:
    """Whether consolidation has not ended well for some intervals, and an agent has more than the threshold."""
    if not await job_runs.late(session, CONSOLIDATE, timedelta(hours=settings.consolidate_every_hours), now):
        return False
    return await consolidation_store.any_crowded(session, threshold=settings.consolidation_threshold)
