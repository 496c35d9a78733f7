"""Long work as a resource: started by a request, done by one worker, resumed after a crash, watched by percent."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable import lease, store
from atom.durable.errors import JobCancelledError, JobEndedError, JobNotFoundError
from atom.durable.heartbeat import Heartbeat
from atom.durable.lease import FencedError
from atom.durable.models import Job, JobStatus
from atom.durable.ports import Doorbell, Topic
from atom.errors import AtomError
from atom.infra.db import Sessions, unit_of_work
from atom.kit.ids import new_id

MAX_CRASHES = 3
SWEEP_LIMIT = 200
log = structlog.get_logger(service="worker")
Progress = Callable[[int, int | None], Awaitable[None]]
JobHandler = Callable[[dict[str, Any], Progress], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class JobService:
    """Starting, reading and cancelling jobs."""

    doorbell: Doorbell

    async def start(self, session: AsyncSession, kind: str, params: dict[str, Any], *, actor: str) -> UUID:
        """A new job, in the caller's transaction."""
        id_ = new_id()
        await store.add(session, {"id": id_, "kind": kind, "params": params, "created_by": actor})
        await self.doorbell.ring(session, Topic.JOB, [id_])
        return id_

    async def get(self, session: AsyncSession, id_: UUID) -> Job:
        job = await store.get(session, id_)
        if job is None:
            raise JobNotFoundError(str(id_))
        return job

    async def page(self, session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[Job]:
        return await store.page(session, before=before, limit=limit)

    async def cancel(self, session: AsyncSession, id_: UUID) -> Job:
        job = await self.get(session, id_)
        if JobStatus(job.status).ended:
            raise JobEndedError(f"Job {id_} has ended ({job.status}).")
        await store.request_cancel(session, id_)
        return await self.get(session, id_)


@dataclass(frozen=True, slots=True)
class JobRunner:
    """Works on one job under its lease. A handler is called again after a crash and continues, not starts over."""

    sessions: Sessions
    handlers: Mapping[str, JobHandler]
    owner: str
    lease_seconds: float

    async def advance(self, id_: UUID) -> None:
        async with unit_of_work(self.sessions) as session:
            wanted = Job.status.in_((JobStatus.QUEUED.value, JobStatus.RUNNING.value))
            epoch = await lease.claim(session, Job, id_, owner=self.owner, seconds=self.lease_seconds, also=wanted)
            if epoch is None:
                return
            job = await store.get(session, id_)
            assert job is not None
            values = {"status": JobStatus.RUNNING.value, "started_at": func.coalesce(Job.started_at, func.now())}
            await lease.write(session, Job, id_, epoch=epoch, seconds=self.lease_seconds, values=values)
        try:
            await self._work(job, epoch)
        except FencedError:
            log.warning("worker.job_fenced", job_id=str(id_), epoch=epoch)

    async def _work(self, job: Job, epoch: int) -> None:
        if job.crashes >= MAX_CRASHES:
            error = {"code": "crash_loop", "message": f"The worker died {job.crashes} times in this job.", "hint": ""}
            return await self._end(job.id, epoch, JobStatus.FAILED, error=error)
        handler = self.handlers.get(job.kind)
        if handler is None:
            error = {"code": "unknown_job", "message": f"This Atom knows no job {job.kind!r}.", "hint": "Upgrade it."}
            return await self._end(job.id, epoch, JobStatus.FAILED, error=error)
        heart = Heartbeat(lambda: self._renew(job.id, epoch), self.lease_seconds)
        try:
            async with heart:
                report = await handler(job.params, self._progress(job.id, epoch))
        except JobCancelledError:
            await self._end(job.id, epoch, JobStatus.CANCELLED)
        except asyncio.CancelledError:
            if not heart.lost:
                await asyncio.shield(self._release(job.id, epoch))
                raise
            raise FencedError("The lease was lost.", epoch=epoch) from None
        except AtomError as error:
            said = {"code": error.code, "message": error.message, "hint": error.hint}
            await self._end(job.id, epoch, JobStatus.FAILED, error=said)
        else:
            await self._end(job.id, epoch, JobStatus.COMPLETED, report=report)
        return None

    def _progress(self, id_: UUID, epoch: int) -> Progress:
        async def progress(done: int, total: int | None) -> None:
            """Raises JobCancelledError when somebody cancelled the job, FencedError when it is not ours any more."""
            async with unit_of_work(self.sessions) as session:
                values = {"done": done, "total": total}
                await lease.write(session, Job, id_, epoch=epoch, seconds=self.lease_seconds, values=values)
                job = await store.get(session, id_)
            if job is None or job.cancel_requested_at is not None:
                raise JobCancelledError("The job was cancelled.")

        return progress

    async def _renew(self, id_: UUID, epoch: int) -> None:
        async with unit_of_work(self.sessions) as session:
            await lease.write(session, Job, id_, epoch=epoch, seconds=self.lease_seconds, values={})

    async def _end(
        self,
        id_: UUID,
        epoch: int,
        status: JobStatus,
        *,
        report: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        async with unit_of_work(self.sessions) as session:
            values = {"status": status.value, "ended_at": func.now(), "report": report, "error": error}
            await lease.write(session, Job, id_, epoch=epoch, seconds=None, values=values)
        log.info("worker.job_ended", job_id=str(id_), status=status.value)

    async def _release(self, id_: UUID, epoch: int) -> None:
        async with unit_of_work(self.sessions) as session:
            await lease.write(session, Job, id_, epoch=epoch, seconds=None, values={})


async def waiting_jobs(session: AsyncSession) -> Sequence[UUID]:
    """For the sweep."""
    return await store.waiting(session, limit=SWEEP_LIMIT)
