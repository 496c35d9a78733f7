"""One run under one lease: walk it to its end or to where a person is needed, then let go of it."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from atom.durable.heartbeat import Heartbeat
from atom.durable.lease import FencedError, fenced_counter
from atom.durable.ports import Doorbell
from atom.errors import AtomError, InternalError, UnavailableError
from atom.events.service import Outbox
from atom.governance.halt import HaltedError
from atom.governance.service import GovernanceService
from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, with_retry
from atom.infra.trace import Tracer
from atom.runs.claims import Claimed, Claims
from atom.runs.errors import CrashLoopError, HandOverError, ParkedError, PauseError
from atom.runs.family import Family
from atom.runs.halting import HaltWatch
from atom.runs.journal import Journal
from atom.runs.local_control import LocalControl
from atom.runs.loop import AgentLoop
from atom.runs.offering import Offering
from atom.runs.ports import DeltaSink, Models, Workspaces
from atom.runs.reading import reading_of
from atom.runs.recalling import Recalling
from atom.runs.spending import ATTEMPTS_OF_OWNER, Accounts, Spending
from atom.runs.transcript import NOTHING_RECORDED
from atom.runs.transitions import is_poison
from atom.settings import LlmSettings, RunSettings
from atom.tools.registry import ToolRegistry

LATENCY_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900)
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


@dataclass(slots=True)
class RunWorker:
    """Works on whatever run has its turn, as long as there is one."""

    sessions: Sessions
    claims: Claims
    governance: GovernanceService
    outbox: Outbox
    doorbell: Doorbell
    family: Family
    models: Models
    registry: ToolRegistry
    deltas: DeltaSink
    workspaces: Workspaces
    settings: RunSettings
    llm: LlmSettings
    metrics: RunMetrics
    control: LocalControl
    accounts: Accounts
    halts: HaltWatch
    tracer: Tracer
    recalling: Recalling
    offering: Offering

    async def advance(self, _: UUID) -> None:
        """Answer a ring: work until there is no run that could have its turn. May be called late or twice.

        Which run was rung for does not matter: the one whose turn it is comes first.
        """
        while not self.control.draining:
            heard = self.control.heard
            claimed = await self.claims.take()
            if claimed is None:
                return
            if self.control.heard == heard:
                self.control.lift()  # nothing is claimed while everything is halted: the word of its end was lost
            task = asyncio.create_task(self._work(claimed))
            self.metrics.active.inc()
            try:
                with self.control.at_work(claimed.run.id, task):
                    await task
            finally:
                self.metrics.active.dec()

    async def _work(self, claimed: Claimed) -> None:
        run_id = claimed.run.id
        journal = self._journal(claimed)
        structlog.contextvars.bind_contextvars(run_id=str(run_id), agent_id=str(claimed.run.agent_id))
        try:
            await self._walk(claimed, journal)
        except FencedError:
            self.metrics.fenced.inc()
            log.warning("execution.fenced", epoch=claimed.epoch)
            await journal.spending.flush_alone()
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
            async with heart, self.workspaces.opened(claimed.run.agent_id) as folder:
                loop = await self._prepare(claimed, journal, folder)
                finished = await loop.run()
            if await journal.complete(finished.answer, finished.sources, worked_ms=loop.worked_ms()):
                self._ended("completed", claimed, loop)
        except ParkedError:
            log.info("execution.parked")
        except PauseError:
            self.control.leave(claimed.run.id)
            paused = await journal.pause(worked_ms=loop.worked_ms() if loop else 0)
            log.info("execution.paused" if paused else "execution.pause_taken_back")
        except (HandOverError, HaltedError) as error:
            self.control.leave(claimed.run.id)
            halted = isinstance(error, HaltedError)
            await journal.hand_over(worked_ms=loop.worked_ms() if loop else 0, halted=halted)
            log.info("execution.halted" if halted else "execution.handed_over")
        except asyncio.CancelledError:
            if heart.lost:
                raise FencedError("The lease was lost.", epoch=claimed.epoch) from None
            self.control.leave(claimed.run.id)
            await asyncio.shield(self._stopped(claimed, journal, loop))
            if not self.control.cancelled(claimed.run.id) and not self.control.stopped(claimed.run.id):
                raise
        except Exception as error:  # noqa: BLE001 - the worker's supervisor: a failure ends this run, not the process
            self.control.leave(claimed.run.id)
            await self._fail(claimed, journal, loop, _failure(error))

    async def _prepare(self, claimed: Claimed, journal: Journal, folder: Path) -> AgentLoop:
        run = claimed.run
        if claimed.crashed:  # before anything may end the run: what its last owner asked for is on record
            await journal.lost_call()
        if is_poison(run.crashes):
            raise CrashLoopError(
                f"The worker died {run.crashes} times at this step.", hint="The journal ends where it happens."
            )
        if run.cancel_requested_at is not None:
            self.control.note_cancelled(run.id)
            raise asyncio.CancelledError
        if run.pause_requested_at is not None:
            raise PauseError("Somebody wants the run to stop here.")
        chosen = self.models.choose(run.requested_model, claimed.work.requester)
        work = claimed.work
        if claimed.first:
            recalled = await self.recalling.at_start(run.agent_id, run.task, run.conversation_id)
            offered = await self.offering.at_start(str(run.agent_id), work.tools, run.task)
            work = replace(work, brief=replace(work.brief, recalled=recalled, offered=offered))
            await journal.started(chosen, reading_of(work.brief, NOTHING_RECORDED).labels, work.brief)
        return AgentLoop(
            work=work,
            workspace=folder,
            save=lambda: self.workspaces.save(run.agent_id),
            chosen=chosen,
            journal=journal,
            models=self.models,
            registry=self.registry,
            deltas=self.deltas,
            limits=self.settings,
            max_tokens=self.llm.max_tokens,
            temperature=self.llm.temperature,
            patience=self.llm.provider_wait_seconds,
            tracer=self.tracer,
            leave=lambda: self.control.reason_to_leave(run.id),
        )

    async def _renew(self, journal: Journal) -> None:
        asked = await journal.renew()
        if asked.pause:
            self.control.pause(journal.run_id)
        if asked.cancel:
            self.control.cancel(journal.run_id)
        if asked.halt:
            self.control.halt()

    async def _stopped(self, claimed: Claimed, journal: Journal, loop: AgentLoop | None) -> None:
        """Cancelled by a person, or because this process is going away."""
        worked = loop.worked_ms() if loop else 0
        if self.control.cancelled(claimed.run.id):
            await journal.cancelled(worked_ms=worked)
            self._ended("cancelled", claimed, loop)
        else:
            await journal.hand_over(worked_ms=worked, halted=self.control.stopped(claimed.run.id))

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
            run=claimed.run,
            epoch=claimed.epoch,
            actor=f"agent:{claimed.work.agent_name}",
            lease_seconds=self.settings.lease_seconds,
            sessions=self.sessions,
            outbox=self.outbox,
            governance=self.governance,
            doorbell=self.doorbell,
            family=self.family,
            spending=Spending(
                claimed.run.id,
                claimed.run.agent_id,
                ATTEMPTS_OF_OWNER * (claimed.epoch - 1),
                self.accounts,
                self.halts.admit,
            ),
        )


def _failure(error: Exception) -> AtomError:
    """What a run ends with. Not ours to end: a lost lease, and a database that is away (the sweep rings again)."""
    if isinstance(error, FencedError | DatabaseUnavailableError | PoolExhaustedError):
        raise error
    if isinstance(error, AtomError):
        return error
    log.error("execution.crashed", error_code="internal_error", exc_info=error)
    return InternalError("A bug of Atom ended this run.", hint="The log has the traceback under this run's id.")
