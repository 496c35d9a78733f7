"""One run under one lease: claim it, walk it to its end or to where a person is needed, let go of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.service import AgentService
from atom.durable import lease
from atom.durable.heartbeat import Heartbeat
from atom.durable.lease import FencedError, fenced_counter
from atom.durable.ports import Doorbell
from atom.errors import AtomError, InternalError, UnavailableError
from atom.events.service import Outbox
from atom.governance.decide import Trigger
from atom.governance.service import GovernanceService
from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, unit_of_work, with_retry
from atom.kit.ids import parse_id
from atom.runs import store
from atom.runs.errors import CrashLoopError, HandOverError, ParkedError
from atom.runs.journal import Journal
from atom.runs.loop import AgentLoop, Work
from atom.runs.models import Run, RunStatus
from atom.runs.ports import DeltaSink, Models
from atom.runs.transcript import Exchange
from atom.runs.workspaces import Workspaces
from atom.settings import LlmSettings, RunSettings
from atom.tools.registry import ToolRegistry

MAX_CRASHES = 3
LATENCY_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900)
HISTORY_RUNS = 20
SWEEP_LIMIT = 500
GIVE_BACK_ATTEMPTS = 12  # about 40 s; after that the sweep finds the run
log = structlog.get_logger(service="agent_execution")


@dataclass(frozen=True, slots=True)
class RunMetrics:
    latency: Histogram
    ended: Counter
    active: Gauge
    fenced: Counter


def run_metrics(registry: CollectorRegistry) -> RunMetrics:
    return RunMetrics(
        latency=Histogram(
            "atom_latency_seconds",
            "Seconds a run worked, from its start to its end, waits for people left out.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        ),
        ended=Counter("atom_runs_ended_total", "Runs that ended, by status.", ["status"], registry=registry),
        active=Gauge("atom_runs_active", "Runs this process works on now.", registry=registry),
        fenced=fenced_counter(registry),
    )


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run this worker owns now, as it was found."""

    run: Run
    epoch: int
    work: Work
    first: bool


@dataclass(slots=True)
class RunWorker:
    """`owner` names this process in the lease. `advance` may be called late or twice: it claims the run or returns."""

    sessions: Sessions
    agents: AgentService
    governance: GovernanceService
    outbox: Outbox
    doorbell: Doorbell
    models: Models
    registry: ToolRegistry
    deltas: DeltaSink
    workspaces: Workspaces
    settings: RunSettings
    llm: LlmSettings
    metrics: RunMetrics
    owner: str
    _tasks: dict[UUID, asyncio.Task[None]] = field(default_factory=dict, init=False)
    _cancelled: set[UUID] = field(default_factory=set, init=False)
    _draining: bool = field(default=False, init=False)

    async def advance(self, run_id: UUID) -> None:
        if self._draining:
            return
        claimed = await self._claim(run_id)
        if claimed is None:
            return
        task = asyncio.create_task(self._work(claimed))
        self._tasks[run_id] = task
        self.metrics.active.set(len(self._tasks))
        try:
            await task
        finally:
            self._tasks.pop(run_id, None)
            self._cancelled.discard(run_id)
            self.metrics.active.set(len(self._tasks))

    def drain(self) -> None:
        """Hand over at the next step boundary; claim nothing more."""
        self._draining = True

    def cancel_here(self, run_id: UUID) -> None:
        """Stop the run now if this process works on it; the caller has put the request on record."""
        task = self._tasks.get(run_id)
        if task is not None:
            self._cancelled.add(run_id)
            task.cancel()

    async def _claim(self, run_id: UUID) -> Claimed | None:
        async with unit_of_work(self.sessions) as session:
            wanted = Run.status.in_(store.WORKABLE)
            seconds = self.settings.lease_seconds
            epoch = await lease.claim(session, Run, run_id, owner=self.owner, seconds=seconds, also=wanted)
            if epoch is None:
                return None
            run = await store.get(session, run_id)
            assert run is not None
            first = run.started_at is None
            values = {"status": RunStatus.RUNNING.value, "started_at": func.coalesce(Run.started_at, func.now())}
            await lease.write(session, Run, run_id, epoch=epoch, seconds=seconds, values=values)
            return Claimed(run, epoch, await self._describe(session, run), first)

    async def _describe(self, session: AsyncSession, run: Run) -> Work:
        version = await self.agents.at_version(session, run.agent_id, run.agent_version)
        earlier = await store.in_conversation(session, run.conversation_id, before=run.id, limit=HISTORY_RUNS)
        history = tuple(Exchange(r.task, r.answer) for r in earlier if r.answer is not None)
        return Work(
            run_id=run.id,
            agent_id=run.agent_id,
            agent_name=str(version.definition["name"]),
            trigger=Trigger(run.trigger),
            instructions=str(version.definition["instructions"]),
            tools=tuple(version.definition["tools"]),
            task=run.task,
            files=tuple(run.files),
            history=history,
            worked_ms=run.worked_ms,
        )

    async def _work(self, claimed: Claimed) -> None:
        run_id = claimed.run.id
        journal = self._journal(claimed)
        structlog.contextvars.bind_contextvars(run_id=str(run_id), agent_id=str(claimed.run.agent_id))
        try:
            await self._walk(claimed, journal)
        except FencedError:
            self.metrics.fenced.inc()
            log.warning("execution.fenced", epoch=claimed.epoch)
        except (DatabaseUnavailableError, PoolExhaustedError) as error:
            log.warning("execution.interrupted", error_code=error.code)
            await self._give_back(journal)

    async def _give_back(self, journal: Journal) -> None:
        """The database was away: let go of the run as soon as it is back, so that this does not count as a crash."""
        try:
            await with_retry(lambda: journal.hand_over(worked_ms=0), attempts=GIVE_BACK_ATTEMPTS)
        except (UnavailableError, FencedError):
            log.warning("execution.left_to_sweep")

    async def _walk(self, claimed: Claimed, journal: Journal) -> None:
        loop: AgentLoop | None = None
        heart = Heartbeat(lambda: self._renew(journal), self.settings.lease_seconds)
        try:
            async with heart:
                loop = await self._prepare(claimed, journal)
                finished = await loop.run()
            await journal.complete(finished.answer, finished.sources, worked_ms=loop.worked_ms())
            self._ended("completed", claimed, loop)
        except ParkedError:
            log.info("execution.parked")
        except HandOverError:
            await journal.hand_over(worked_ms=loop.worked_ms() if loop else 0)
            log.info("execution.handed_over")
        except asyncio.CancelledError:
            if heart.lost:
                raise FencedError("The lease was lost.", epoch=claimed.epoch) from None
            await asyncio.shield(self._stopped(claimed, journal, loop))
            if claimed.run.id not in self._cancelled:
                raise
        except Exception as error:  # noqa: BLE001 - the worker's supervisor: a failure ends this run, not the process
            await self._fail(claimed, journal, loop, _failure(error))

    async def _prepare(self, claimed: Claimed, journal: Journal) -> AgentLoop:
        run = claimed.run
        if run.crashes >= MAX_CRASHES:
            raise CrashLoopError(
                f"The worker died {run.crashes} times in this run.", hint="The journal ends where it happens."
            )
        if run.cancel_requested_at is not None:
            self._cancelled.add(run.id)
            raise asyncio.CancelledError
        chosen = self.models.choose(run.requested_model)
        if claimed.first:
            await journal.started(chosen)
        return AgentLoop(
            work=claimed.work,
            workspace=self.workspaces.folder(run.agent_id),
            chosen=chosen,
            journal=journal,
            models=self.models,
            registry=self.registry,
            deltas=self.deltas,
            limits=self.settings,
            max_tokens=self.llm.max_tokens,
            draining=lambda: self._draining,
        )

    async def _renew(self, journal: Journal) -> None:
        if await journal.renew():
            self.cancel_here(journal.run_id)

    async def _stopped(self, claimed: Claimed, journal: Journal, loop: AgentLoop | None) -> None:
        """Cancelled by a person, or because this process is going away."""
        worked = loop.worked_ms() if loop else 0
        if claimed.run.id in self._cancelled:
            await journal.cancelled(worked_ms=worked)
            self._ended("cancelled", claimed, loop)
        else:
            await journal.hand_over(worked_ms=worked)

    async def _fail(self, claimed: Claimed, journal: Journal, loop: AgentLoop | None, error: AtomError) -> None:
        await journal.fail(error, worked_ms=loop.worked_ms() if loop else 0)
        log.error("execution.failed", error_code=error.code)
        self._ended("failed", claimed, loop)

    def _ended(self, status: str, claimed: Claimed, loop: AgentLoop | None) -> None:
        self.metrics.ended.labels(status=status).inc()
        if loop is not None:
            self.metrics.latency.observe((claimed.run.worked_ms + loop.worked_ms()) / 1000)
        log.info("execution.ended", status=status)

    def _journal(self, claimed: Claimed) -> Journal:
        return Journal(
            run_id=claimed.run.id,
            agent_id=claimed.run.agent_id,
            epoch=claimed.epoch,
            actor=f"agent:{claimed.work.agent_name}",
            lease_seconds=self.settings.lease_seconds,
            sessions=self.sessions,
            outbox=self.outbox,
            governance=self.governance,
            doorbell=self.doorbell,
        )


def _failure(error: Exception) -> AtomError:
    """What a run ends with. Not ours to end: a lost lease, and a database that is away (the sweep rings again)."""
    if isinstance(error, FencedError | DatabaseUnavailableError | PoolExhaustedError):
        raise error
    if isinstance(error, AtomError):
        return error
    log.error("execution.crashed", error_code="internal_error", exc_info=error)
    return InternalError("A bug of Atom ended this run.", hint="The log has the traceback under this run's id.")


async def waiting_runs(session: AsyncSession) -> Sequence[UUID]:
    """For the sweep."""
    return await store.waiting_for_worker(session, limit=SWEEP_LIMIT)


def cancel_by_text(worker: RunWorker, payload: str) -> None:
    """What another process said by NOTIFY: the id of a run to stop, or nothing."""
    run_id = parse_id(payload)
    if run_id is not None:
        worker.cancel_here(run_id)
