"""The job that consolidates, by request or by schedule, and what is on record of it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.jobs import JobHandler, JobService, Progress
from atom.durable.lease import FencedError
from atom.errors import UnavailableError
from atom.infra.db import after_commit, unit_of_work
from atom.memory import consolidation_store, job_runs
from atom.memory.consolidating import Consolidated, Consolidator
from atom.memory.job_runs import RunOutcome
from atom.memory.metrics import MemoryMetrics
from atom.settings import MemorySettings

KIND = "consolidate"
CONSOLIDATE_JOB = "memory_consolidate"
SCHEDULE = "system:schedule"


@dataclass(frozen=True, slots=True)
class Consolidations:
    """`every_hours` 0: only when somebody asks for it. `threshold`: hot episodes of an agent, above which there is
    work."""

    jobs: JobService
    metrics: MemoryMetrics
    threshold: int
    every_hours: float

    async def start(self, session: AsyncSession, *, by: str, agent_id: UUID | None, dry_run: bool) -> UUID:
        """The job's id. A dry run is on record as one that is not of everybody's memory: nothing was done."""
        run = await job_runs.record_started(session, KIND, whole=agent_id is None and not dry_run)
        params = {"run": str(run), "agent_id": None if agent_id is None else str(agent_id), "dry_run": dry_run}
        return await self.jobs.start(session, CONSOLIDATE_JOB, params, actor=by)

    async def start_due(self, session: AsyncSession) -> None:
        """A chore of the sweep, which one process of the cluster does at a time. Where no agent has so much that there
        is work, that is found out at once."""
        if not self.every_hours or not await job_runs.due(session, KIND, timedelta(hours=self.every_hours)):
            return
        if await consolidation_store.any_crowded(session, threshold=self.threshold):
            await self.start(session, by=SCHEDULE, agent_id=None, dry_run=False)
            return
        run = await job_runs.record_started(session, KIND)
        await job_runs.record_finished(session, run, RunOutcome.DONE, Consolidated().told())
        after_commit(session, self.metrics.jobs.labels(job=KIND, outcome=RunOutcome.DONE.value).inc)


def consolidations(jobs: JobService, metrics: MemoryMetrics, settings: MemorySettings) -> Consolidations:
    return Consolidations(jobs, metrics, settings.consolidation_threshold, settings.consolidate_every_hours)


def consolidate_handler(consolidator: Consolidator, metrics: MemoryMetrics) -> JobHandler:
    async def handle(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        run, agent = UUID(params["run"]), params["agent_id"]
        agent_id = None if agent is None else UUID(agent)
        try:
            report = await consolidator.consolidate(agent_id, run, progress, dry_run=params["dry_run"])
        except (FencedError, UnavailableError):
            raise  # another one goes on with it
        except Exception:
            await _finish(RunOutcome.FAILED, run, None)
            raise
        told = report.told()
        await _finish(RunOutcome.DONE, run, told)
        return told

    async def _finish(outcome: RunOutcome, run: UUID, told: dict[str, Any] | None) -> None:
        async with unit_of_work(consolidator.sessions) as session:
            await job_runs.record_finished(session, run, outcome, told)
        metrics.jobs.labels(job=KIND, outcome=outcome.value).inc()

    return handle
