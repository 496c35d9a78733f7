"""Long work as a resource: started by a request, done by one worker, resumed after a crash, watched by percent."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable import lease, store
from atom.durable.errors import (
    JobCancelledError,
    JobCrashLoopError,
    JobEndedError,
    JobNotFoundError,
    UnknownJobError,
)
from atom.durable.heartbeat import Heartbeat
from atom.durable.lease import FencedError
from atom.durable.models import Job, JobStatus
from atom.durable.ports import Doorbell, Topic
from atom.errors import AtomError, InternalError, UnavailableError
from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, unit_of_work, with_retry
from atom.kit.ids import new_id
from atom.kit.text import clean_json

MAX_CRASHES = 3
SWEEP_LIMIT = 200
LET_GO_ATTEMPTS = 12  # about 40 s; after that the lease has run out anyway
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
        """May be called late or twice: it claims the job or returns."""
        claimed = await self._claim(id_)
        if claimed is None:
            return
        job, epoch = claimed
        try:
            await self._work(job, epoch)
        except FencedError:
            log.warning("worker.job_fenced", job_id=str(id_), epoch=epoch)
        except (DatabaseUnavailableError, PoolExhaustedError) as error:
            log.warning("worker.job_interrupted", job_id=str(id_), error_code=error.code)
            await self._let_go(id_, epoch, attempts=LET_GO_ATTEMPTS)

    async def _claim(self, id_: UUID) -> tuple[Job, int] | None:
        async with unit_of_work(self.sessions) as session:
            wanted = Job.status.in_((JobStatus.QUEUED.value, JobStatus.RUNNING.value))
            epoch = await lease.claim(session, Job, id_, owner=self.owner, seconds=self.lease_seconds, also=wanted)
            if epoch is None:
                return None
            job = await store.get(session, id_)
            assert job is not None
            values = {"status": JobStatus.RUNNING.value, "started_at": func.coalesce(Job.started_at, func.now())}
            await lease.write(session, Job, id_, epoch=epoch, seconds=self.lease_seconds, values=values)
        return job, epoch

    async def _work(self, job: Job, epoch: int) -> None:
        heart = Heartbeat(lambda: self._renew(job.id, epoch), self.lease_seconds)
        try:
            handler = self._handler(job)
            async with heart:
                report = _document(await handler(job.params, self._progress(job.id, epoch)))
        except JobCancelledError:
            await self._end(job.id, epoch, JobStatus.CANCELLED)
        except asyncio.CancelledError:
            if isinstance(heart.reason, JobCancelledError):
                return await self._end(job.id, epoch, JobStatus.CANCELLED)
            if heart.lost:
                raise FencedError("The lease was lost.", epoch=epoch) from None
            await asyncio.shield(self._let_go(job.id, epoch, attempts=1))
            raise
        except Exception as error:  # noqa: BLE001 - the worker's supervisor: a failure ends this job, not the process
            await self._end(job.id, epoch, JobStatus.FAILED, error=_failure(job, error))
        else:
            await self._end(job.id, epoch, JobStatus.COMPLETED, report=report)
        return None

    def _handler(self, job: Job) -> JobHandler:
        if job.cancel_requested_at is not None:
            raise JobCancelledError("The job was cancelled.")
        if job.crashes >= MAX_CRASHES:
            raise JobCrashLoopError(f"The worker died {job.crashes} times in this job.")
        if job.kind not in self.handlers:
            raise UnknownJobError(f"This Atom knows no job {job.kind!r}.", hint="Upgrade it.")
        return self.handlers[job.kind]

    def _progress(self, id_: UUID, epoch: int) -> Progress:
        async def progress(done: int, total: int | None) -> None:
            """Raises JobCancelledError when somebody cancelled the job, FencedError when it is not ours any more."""
            await self._renew(id_, epoch, done=done, total=total)

        return progress

    async def _renew(self, id_: UUID, epoch: int, **values: int | None) -> None:
        async with unit_of_work(self.sessions) as session:
            await lease.write(session, Job, id_, epoch=epoch, seconds=self.lease_seconds, values=values)
            job = await store.get(session, id_)
        if job is None or job.cancel_requested_at is not None:
            raise JobCancelledError("The job was cancelled.")

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

    async def _let_go(self, id_: UUID, epoch: int, *, attempts: int) -> None:
        """Another worker goes on with it at once; where this fails, when the lease runs out."""

        async def release() -> None:
            async with unit_of_work(self.sessions) as session:
                await lease.write(session, Job, id_, epoch=epoch, seconds=None, values={})

        try:
            await with_retry(release, attempts=attempts)
        except (UnavailableError, FencedError):
            log.warning("worker.job_left_to_sweep", job_id=str(id_))


def _document(report: dict[str, Any]) -> dict[str, Any]:
    """What a jsonb column takes. Raises TypeError for what is no JSON: a bug of the handler."""
    cleaned: dict[str, Any] = clean_json(report)
    json.dumps(cleaned)
    return cleaned


def _failure(job: Job, error: Exception) -> dict[str, Any]:
    """What a job ends with. Not ours to end: a lost lease, and a database that is away (the sweep rings again)."""
    if isinstance(error, FencedError | DatabaseUnavailableError | PoolExhaustedError):
        raise error
    if not isinstance(error, AtomError):
        log.error("worker.job_crashed", job_id=str(job.id), error_code=InternalError.code, exc_info=error)
        error = InternalError("A bug of Atom ended this job.", hint="The log has the traceback under this job's id.")
    said: dict[str, Any] = clean_json({"code": error.code, "message": error.message, "hint": error.hint})
    return said


async def waiting_jobs(session: AsyncSession) -> Sequence[UUID]:
    """For the sweep."""
    return await store.waiting(session, limit=SWEEP_LIMIT)
