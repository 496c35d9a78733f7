"""The composition root: settings become engines, ports and services, once per process."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from atom import __version__
from atom.agents.names import AgentNames
from atom.agents.service import AgentService
from atom.durable.adapters.procrastinate import ProcrastinateDoorbell
from atom.durable.jobs import JobRunner, JobService, waiting_jobs
from atom.durable.ports import Topic
from atom.durable.sweep import Chore, Sweep
from atom.events.listener import Listener
from atom.events.sequencer import CHANNEL, Sequencer
from atom.events.service import EventReader, Outbox, Signal
from atom.feed.hub import FeedHub
from atom.governance.approvals import ApprovalService
from atom.governance.audit.layer import AuditLayer, build_audit
from atom.governance.evidence.changes import ChangeBook
from atom.governance.halt import CHANNEL as HALT_CHANNEL
from atom.governance.halt import HaltService
from atom.governance.knowledge import CHANNEL as GOVERNANCE_CHANNEL
from atom.governance.layer import GovernanceLayer, Under, build_governance
from atom.identity.guard import Guard
from atom.identity.origin import TrustedNames
from atom.identity.service import IdentityService
from atom.infra.database_url import libpq
from atom.infra.db import Sessions, create_engine, create_sessions
from atom.infra.metrics import DatabaseMetrics, PoolCollector, create_registry
from atom.infra.outage import Outage, database_outage
from atom.infra.trace import Tracer, open_tracer
from atom.kit.clock import SystemClock
from atom.llm.adapters import local_weights
from atom.llm.directory import CHANNEL as MODELS_CHANNEL
from atom.llm.keys.rotation import ROTATE_JOB, rotate_handler
from atom.llm.layer import Base, ModelLayer, build_models
from atom.llm.service import Factory
from atom.memory import jobs as memory_jobs
from atom.memory.adapters.cold_objects import open_cold_store
from atom.memory.consolidation_jobs import CONSOLIDATE_JOB, ConsolidationSchedule, consolidate_handler
from atom.memory.layer import MemoryLayer, build_memory
from atom.memory.telling import Telling
from atom.ops.checks import PROBE_POOL, llm_check, standard_checks
from atom.ops.health import HealthService
from atom.ops.memory_check import memory_check
from atom.ops.sandbox_check import sandbox_check
from atom.ops.vault_check import vault_check
from atom.retrieval.workspace import WorkspaceSearch, workspace_search
from atom.runs.adapters.bucket_workspaces import bucket_workspaces
from atom.runs.asking import LlmModels
from atom.runs.briefing import taint_speaker
from atom.runs.claims import Claims
from atom.runs.control import PAUSE_CHANNEL, RunControl
from atom.runs.family import CANCEL_CHANNEL, Family
from atom.runs.halting import HaltWatch
from atom.runs.indexing import INDEX_JOB, index_handler
from atom.runs.local_control import LocalControl
from atom.runs.offering import Offering
from atom.runs.patience import Patience
from atom.runs.ports import Workspaces
from atom.runs.rating import RatingService
from atom.runs.recalling import Recalling
from atom.runs.remembering import RunMemory
from atom.runs.service import RunService
from atom.runs.spending import Accounts
from atom.runs.store import file_labels
from atom.runs.waking import RunWaking
from atom.runs.worker import RunWorker, run_metrics
from atom.runs.workspaces import LocalWorkspaces
from atom.settings import Provider, Settings
from atom.skills.execution.jobs import BUILD_JOB, EXECUTE_JOB, build_handler, execute_handler
from atom.skills.layer import Base as SkillBase
from atom.skills.layer import SkillLayer, build_skills
from atom.skills.speaking import SkillSpeaker
from atom.tools.builtin import builtin_tools
from atom.tools.edits import EditedArguments
from atom.tools.http import tool_egress
from atom.tools.memory import MemoryDesk, memory_tools
from atom.tools.ports import Tool
from atom.tools.registry import ToolRegistry
from atom.tools.search import search_text_tool
from atom.tools.skills import SkillDesk, skill_tools
from atom.training.service import TrainingService
from atom.triggers import layer as trigger_layer


@dataclass(frozen=True, slots=True)
class Foundation:
    """What every domain stands on. `probes` is the health checks' own small pool."""

    engine: AsyncEngine
    probes: AsyncEngine
    outage: Outage
    sessions: Sessions
    registry: CollectorRegistry
    outbox: Outbox
    reader: EventReader
    stamped: Signal
    doorbell: ProcrastinateDoorbell
    clock: SystemClock
    tracer: Tracer


@dataclass(frozen=True, slots=True)
class Parts:
    """The services that the edges use."""

    base: Foundation
    guard: Guard
    identity: IdentityService
    agents: AgentService
    runs: RunService
    triggers: trigger_layer.TriggerLayer
    control: RunControl
    approvals: ApprovalService
    training: TrainingService
    memory: MemoryLayer
    skills: SkillLayer
    halt: HaltService
    governance: GovernanceLayer
    audit: AuditLayer
    jobs: JobService
    workspaces: Workspaces
    models: ModelLayer
    patience: Patience
    tools: ToolRegistry
    search: WorkspaceSearch
    hub: FeedHub
    health: HealthService


@dataclass(frozen=True, slots=True)
class Atom:
    """Everything one process may run; its roles decide what it does."""

    settings: Settings
    parts: Parts
    worker: RunWorker
    job_runner: JobRunner
    sequencer: Sequencer
    listener: Listener
    sweep: Sweep

    async def aclose(self) -> None:
        await self.parts.models.llm.aclose()
        await self.parts.search.aclose()
        await self.parts.memory.aclose()
        await self.parts.skills.aclose()
        for engine in (self.parts.base.engine, self.parts.base.probes):
            await engine.dispose()
        await asyncio.to_thread(self.parts.base.tracer.close)


def build(settings: Settings, url: URL, direct: URL, *, models: Mapping[Provider, Factory] | None = None) -> Atom:
    """Wire one process. Opens nothing yet: connections are made when they are first needed.

    `models` replaces the providers' adapters, for tests and drills.
    """
    base = _foundation(settings, url, direct)
    stands_on = Base(base.sessions, base.outbox, base.clock, base.registry, settings.home, AgentNames(), base.tracer)
    layer = build_models(stands_on, settings.llm, settings.vault, settings.redis, models)
    llm = layer.llm
    identity = IdentityService(base.outbox, base.clock)
    guard = Guard(identity, base.sessions, _names(settings))
    search = workspace_search(settings.home)
    desk, skill_desk = MemoryDesk(base.sessions, base.clock), SkillDesk(settings.sandbox.timeout)
    tools = _tools(settings, base, search, (*memory_tools(desk), *skill_tools(skill_desk)))
    agents = AgentService(base.outbox, frozenset(tools.names), llm.choose, ChangeBook(base.outbox))
    actions = [tools.get(name).action for name in tools.names]
    skills = skill_desk.layer = _skills(settings, base, agents, search)
    speakers = taint_speaker(agents), SkillSpeaker(skills.use, file_labels)
    under = Under(agents, layer.ledger, layer.vault, speakers)
    governance = build_governance(stands_on, settings.governance, actions, under)
    workspaces = open_workspaces(settings)
    hub = _hub(base)
    tell = Telling(base.sessions, llm, layer.budgets, layer.ledger, governance.service.halted)
    memory = desk.layer = _memory(settings, base, agents, search, tell)
    recalling = Recalling(memory, base.sessions, settings.memory)
    using = Using(agents, governance, layer, tools, hub, workspaces, recalling, Offering(skills.catalogue))
    work = _running(settings, base, using)
    approvals = ApprovalService(base.outbox, RunWaking(work.family), EditedArguments(tools), governance.listeners)
    training = TrainingService(work.runs, RatingService(governance.service.evidence))
    audit = build_audit(base.sessions, base.clock, settings.audit, settings.home)
    reader = base.reader
    below = trigger_layer.Base(base.sessions, base.outbox, reader, base.clock, agents, work.runs, training, layer.vault)
    triggers = trigger_layer.build_triggers(below)
    jobs, sealed = JobService(base.doorbell), (triggers.secrets, governance.webhooks.service)
    archive = memory_jobs.ArchiveSchedule(jobs, settings.memory).start_due
    remembering = (RunMemory(memory.service).remember, ConsolidationSchedule(jobs, memory).start_due, archive)
    chores = (*governance.chores, *triggers.chores, *remembering, skills.executions.tidy)
    handlers = {
        INDEX_JOB: index_handler(search, workspaces),
        ROTATE_JOB: rotate_handler(base.sessions, layer.keys, sealed),
        **memory_jobs.handlers(memory),
        CONSOLIDATE_JOB: consolidate_handler(memory),
        EXECUTE_JOB: execute_handler(skills.executions),
        BUILD_JOB: build_handler(skills.executions),
    }
    parts = Parts(
        base, guard, identity, agents, work.runs, triggers, work.control, approvals, training, memory,
        skills, HaltService(base.outbox), governance, audit, jobs, workspaces, layer,
        work.patience, tools, search, hub, _health(settings, base, layer, skills),
    )  # fmt: skip
    return Atom(
        settings=settings,
        parts=parts,
        worker=work.worker,
        job_runner=JobRunner(base.sessions, handlers, work.claims.owner, settings.runs.lease_seconds),
        sequencer=Sequencer(base.sessions, base.outbox.written, base.stamped),
        listener=Listener(libpq(direct), {CHANNEL: lambda _: base.stamped.set(), **work.heard}),
        sweep=_sweep(settings, base, work, (approvals.expire_due, layer.budgets.expire, *chores)),
    )


def _names(settings: Settings) -> TrustedNames:
    return TrustedNames(
        frozenset(name.lower() for name in settings.web.allowed_hosts),
        frozenset(origin.lower() for origin in settings.web.allowed_origins),
    )


def _hub(base: Foundation) -> FeedHub:
    dropped = Counter(
        "atom_websocket_dropped_total", "Items a slow viewer's queue had no room for.", ["kind"], registry=base.registry
    )
    return FeedHub(base.reader, base.stamped, dropped)


def _tools(settings: Settings, base: Foundation, search: WorkspaceSearch, desks: Sequence[Tool]) -> ToolRegistry:
    egress, found = tool_egress(settings.tools), search_text_tool(search)
    return ToolRegistry(builtin_tools(settings.tools, clock=base.clock, egress=egress, search_text=found, desks=desks))


def _skills(settings: Settings, base: Foundation, agents: AgentService, search: WorkspaceSearch) -> SkillLayer:
    return build_skills(SkillBase(base.sessions, base.outbox, base.registry, search.embedder), agents, settings)


def _memory(
    settings: Settings, base: Foundation, agents: AgentService, search: WorkspaceSearch, tell: Telling
) -> MemoryLayer:
    cold = open_cold_store(settings.memory, settings.home)
    registry, clock, embedder = base.registry, base.clock, search.embedder
    return build_memory(
        agents, settings.memory, base.sessions, embedder=embedder, registry=registry, clock=clock, cold=cold, tell=tell
    )


def _sweep(settings: Settings, base: Foundation, work: "Running", chores: Sequence[Chore]) -> Sweep:
    finders = {Topic.RUN: work.claims.to_ring, Topic.JOB: waiting_jobs}
    every = (work.patience.wake_due, *chores)
    return Sweep(base.sessions, base.doorbell, finders, settings.runs.sweep_seconds, every)


def _health(settings: Settings, base: Foundation, layer: ModelLayer, skills: SkillLayer) -> HealthService:
    local = partial(local_weights.missing, settings.llm.local.model_path)
    llm, vault = llm_check(layer.llm.choose, local, layer.llm.away), vault_check(base.sessions, layer.vault)
    sandbox = sandbox_check(skills.executions.sandbox)
    checks = standard_checks(base.probes, base.outage, settings.redis, llm=llm, sandbox=sandbox, vault=vault)
    memory = memory_check(base.sessions, settings.memory, base.clock)
    return HealthService((*checks, memory), __version__, base.clock)


@dataclass(frozen=True, slots=True)
class Using:
    """What runs are worked on with."""

    agents: AgentService
    governance: GovernanceLayer
    layer: ModelLayer
    tools: ToolRegistry
    hub: FeedHub
    workspaces: Workspaces
    recalling: Recalling
    offering: Offering


@dataclass(frozen=True, slots=True)
class Running:
    """Everything about runs. `heard`: what other processes say by NOTIFY."""

    worker: RunWorker
    claims: Claims
    family: Family
    runs: RunService
    control: RunControl
    heard: Mapping[str, Callable[[str], None]]
    patience: Patience


def _running(settings: Settings, base: Foundation, using: Using) -> Running:
    local = LocalControl()
    halts = HaltWatch(base.sessions, using.governance.service, local, base.clock)
    family = Family(using.agents, using.governance.service, base.outbox, base.doorbell, settings.runs, local.cancel)
    claims = Claims(base.sessions, using.agents, settings.runs, owner_name())
    worker = RunWorker(
        sessions=base.sessions,
        claims=claims,
        governance=using.governance.service,
        outbox=base.outbox,
        doorbell=base.doorbell,
        family=family,
        models=LlmModels(using.layer.llm),
        registry=using.tools,
        deltas=using.hub,
        workspaces=using.workspaces,
        settings=settings.runs,
        llm=settings.llm,
        metrics=run_metrics(base.registry),
        control=local,
        halts=halts,
        tracer=base.tracer,
        recalling=using.recalling,
        offering=using.offering,
        accounts=Accounts(base.sessions, using.layer.ledger, using.layer.budgets, lambda: using.layer.directory.config),
    )
    runs = RunService(
        agents=using.agents,
        outbox=base.outbox,
        doorbell=base.doorbell,
        workspaces=using.workspaces,
        settings=settings.runs,
        check_model=using.layer.llm.choose,
    )
    control = RunControl(family, using.governance.service, base.outbox, local.pause)
    heard = {
        CANCEL_CHANNEL: local.hear_cancel,
        PAUSE_CHANNEL: local.hear_pause,
        HALT_CHANNEL: halts.hear,
        MODELS_CHANNEL: using.layer.directory.hear,
        GOVERNANCE_CHANNEL: using.governance.hearing.hear,
    }
    return Running(worker, claims, family, runs, control, heard, Patience(family))


def open_workspaces(settings: Settings) -> Workspaces:
    chosen = settings.workspaces
    if chosen.url:
        return bucket_workspaces(chosen, settings.home, settings.web.max_upload_bytes)
    return LocalWorkspaces(settings.home / "workspaces", settings.web.max_upload_bytes)


def owner_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _foundation(settings: Settings, url: URL, direct: URL) -> Foundation:
    registry = create_registry(__version__)
    engine = create_engine(url, settings.database)
    registry.register(PoolCollector(engine))
    outage = database_outage()
    bound = 2 * settings.database.statement_timeout
    sessions = create_sessions(engine, outage, DatabaseMetrics(registry), seconds=bound)
    written, stamped = Signal(), Signal()
    return Foundation(
        engine=engine,
        probes=create_engine(url, PROBE_POOL, name="atom-health"),
        outage=outage,
        sessions=sessions,
        registry=registry,
        outbox=Outbox(written),
        reader=EventReader(sessions),
        stamped=stamped,
        doorbell=ProcrastinateDoorbell(libpq(direct), settings.web.drain_seconds),
        clock=SystemClock(),
        tracer=open_tracer(settings.tracing, __version__),
    )
