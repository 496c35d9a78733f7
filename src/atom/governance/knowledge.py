"""What a decision is made from: who the agent is now, what it was granted, which policies are in force.

Every look asks the database once, in the caller's transaction, whether the agent's row, its callers' and the policies
are still those that are known. A change is in force with the first decision after its commit, on every replica,
whatever has become of Redis or of a notification. What this saves is everything behind that question.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.errors import AgentNotFoundError
from atom.agents.models import Agent, AgentStatus
from atom.governance import store
from atom.governance.cache import CacheMetrics, HitRate, SingleFlight, TaggedLru
from atom.governance.decide import Decision, Spoken, Standing, Trigger, decide
from atom.governance.models import Action, ActionClass, Maturity
from atom.governance.policies.directory import InForce, PolicyDirectory
from atom.governance.policies.rules import Rule
from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, unit_of_work
from atom.kit.clock import Clock, SystemClock
from atom.kit.ids import parse_id

CHANNEL = "atom_governance"  # payload: `agent:ID`, `policies`, `clear`, `warm:ID,ID,...`; empty after a lost connection
AWAY = (DatabaseUnavailableError, PoolExhaustedError)
log = structlog.get_logger(service="governance")

DecisionKey = tuple[str, str, str, Trigger]
"""The stamps of the policies and of the agents, the action's name, what started the run."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """An agent as it stood at `stamp`, together with those it works for. `agent` is a copy that belongs to no session;
    `until` (monotonic) is when the first of its grants ends."""

    stamp: str
    agent: Agent
    able: Standing
    ids: tuple[UUID, ...]
    until: float


@dataclass(frozen=True, slots=True)
class Verdicts:
    """`decision` is what the table and the policies say; `spoken` are the policies that fit. `looks_at_call`: rules
    whose say depends on arguments, time or money; then `decision` is None."""

    decision: Decision | None
    spoken: tuple[Spoken, ...]
    looks_at_call: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that is known before the call itself is looked at."""

    known: Known
    policies: InForce
    verdicts: Verdicts


@dataclass(frozen=True, slots=True)
class Warmed:
    """`decisions`: those that were not in the cache before."""

    agents: tuple[UUID, ...]
    decisions: int
    unknown: tuple[str, ...]


@dataclass(slots=True)
class Knowledge:
    """One for a process."""

    clock: Clock = field(default_factory=SystemClock)
    most: int = 50_000
    ttl: float = 600.0
    policies: PolicyDirectory = field(default_factory=PolicyDirectory)
    rate: HitRate = field(default_factory=HitRate, init=False)
    _now: Callable[[], float] = field(init=False)
    _agents: "TaggedLru[str, Known]" = field(init=False)
    _decisions: "TaggedLru[DecisionKey, Decision]" = field(init=False)
    _flight: "SingleFlight[str, Known]" = field(default_factory=SingleFlight, init=False)

    def __post_init__(self) -> None:
        self._now = self.clock.monotonic
        self._agents = TaggedLru(self.most)
        self._decisions = TaggedLru(self.most)

    def measured_by(self, registry: CollectorRegistry) -> None:
        registry.register(CacheMetrics(self.rate, self._decisions.__len__, self.clock.monotonic))

    async def situation(
        self, session: AsyncSession, door: store.Door, action: Action | None, trigger: Trigger
    ) -> Situation:
        """`door`: how things stand, read in this transaction."""
        known = await self._known(session, door)
        policies = await self.policies.at(session, door.policies)
        if action is None:
            return Situation(known, policies, Verdicts(decide(known.able, None, trigger), (), ()))
        found = self.find((policies.stamp, known.stamp, action.name, trigger))
        if found is not None:
            return Situation(known, policies, Verdicts(found, found.rules, ()))
        verdicts = self._judge(known, policies, action, (trigger,))
        if verdicts.decision is None:
            self.rate.bypassed += 1
        else:
            self.rate.misses += 1
        return Situation(known, policies, verdicts)

    def find(self, key: DecisionKey) -> Decision | None:
        """What was decided before. Counts a hit; a miss counts where it turns out that it could have been one."""
        now = self._now()
        found = self._decisions.get(key, now)
        rate = self.rate
        if found is not None:
            rate.hits += 1
        if now >= rate.next_sample:
            rate.sample(now)
        return found

    def _judge(self, known: Known, policies: InForce, action: Action, triggers: Iterable[Trigger]) -> Verdicts:
        """The table and the policies, kept when nothing about the call itself can change them. That of the last
        trigger is given back."""
        rules = policies.rules.fitting(known.agent.id, known.agent.name, action)
        spoken = tuple(rule.spoken() for rule in rules if not rule.when)
        asking = tuple(rule for rule in rules if rule.when)
        decision = None
        until = min(known.until, self.clock.monotonic() + self.ttl)
        for trigger in triggers if not asking else ():
            decision = decide(known.able, action, trigger, spoken)
            key = (policies.stamp, known.stamp, action.name, trigger)
            self._decisions.put(key, decision, until=until, tags=known.ids)
        return Verdicts(decision, spoken, asking)

    async def _known(self, session: AsyncSession, door: store.Door) -> Known:
        found = self._agents.get(door.stamp, self.clock.monotonic())
        return found or await self._flight.do(door.stamp, lambda: self._load(session, door))

    async def _load(self, session: AsyncSession, door: store.Door) -> Known:
        rows = {row.agent.id: row for row in await store.standings(session, door.ids, [])}
        ordered = [rows[id_] for id_ in door.ids if id_ in rows]
        if len(ordered) < len(door.ids):
            missing = next(id_ for id_ in door.ids if id_ not in rows)
            raise AgentNotFoundError(str(missing))
        return self._keep(ordered)

    def _keep(self, rows: Sequence[store.StandingRow]) -> Known:
        """The first is the agent, the others those it works for."""
        now = self.clock.monotonic()
        first, *above = rows
        able = capped(standing(first.agent, first.grants), [standing(row.agent) for row in above])
        ends = min((row.seconds_left for row in rows if row.seconds_left is not None), default=self.ttl)
        known = Known(
            stamp=store.joined(row.stamp for row in rows),
            agent=first.agent,
            able=able,
            ids=tuple(row.agent.id for row in rows),
            until=now + min(ends, self.ttl),
        )
        self._agents.put(known.stamp, known, until=known.until, tags=known.ids)
        return known

    async def warm(self, session: AsyncSession, refs: Iterable[str], actions: Mapping[str, Action]) -> Warmed:
        """Decide beforehand what these agents may do with the actions they were given, for every trigger."""
        wanted = {ref: parse_id(ref) for ref in refs}
        ids = [id_ for id_ in wanted.values() if id_ is not None]
        names = [ref.lower() for ref, id_ in wanted.items() if id_ is None]
        policies = await self.policies.at(session, await store.policy_stamp(session))
        rows = await store.standings(session, ids, names)
        before = len(self._decisions)
        for row in rows:
            known = self._keep([row])
            for name in known.able.tools & actions.keys():
                self._judge(known, policies, actions[name], Trigger)
        there = {row.agent.id for row in rows} | {row.agent.name.lower() for row in rows}
        unknown = tuple(ref for ref, id_ in wanted.items() if (id_ or ref.lower()) not in there)
        return Warmed(tuple(row.agent.id for row in rows), len(self._decisions) - before, unknown)

    def clear(self) -> int:
        """Forget everything; returns how many decisions that were."""
        self._agents.clear()
        return self._decisions.clear()

    def forget(self, agent_id: UUID) -> None:
        """What has changed is never found again: let go of it now."""
        self._agents.drop(agent_id)
        self._decisions.drop(agent_id)


@dataclass(slots=True)
class Hearing:
    """What other processes say. Nothing depends on it but memory, and how soon a change costs its first miss."""

    knowledge: Knowledge
    sessions: Sessions
    actions: Mapping[str, Action]
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set, init=False)

    def hear(self, payload: str) -> None:
        kind, _, rest = payload.partition(":")
        if kind == "agent" and (id_ := parse_id(rest)) is not None:
            self.knowledge.forget(id_)
        elif kind == "clear":
            self.knowledge.clear()
        elif kind == "warm":
            task = asyncio.create_task(self._warm(rest.split(",")))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _warm(self, ids: Sequence[str]) -> None:
        try:
            async with unit_of_work(self.sessions) as session:
                await self.knowledge.warm(session, ids, self.actions)
        except AWAY as error:
            log.debug("governance.cache_not_warmed", error_code=error.code)


def standing(agent: Agent, grants: Iterable[str] = ()) -> Standing:
    return Standing(
        maturity=Maturity(agent.maturity),
        active=agent.status == AgentStatus.ACTIVE,
        tools=frozenset(agent.tools),
        grants=frozenset(grants),
        ceilings=tuple((ActionClass(name), Maturity(level)) for name, level in agent.class_maturity.items()),
    )


def capped(agent: Standing, callers: Sequence[Standing]) -> Standing:
    """What an agent may do for others: at the lowest maturity of all, without grants, only while all are active."""
    if not callers:
        return agent
    lowest = min((agent, *callers), key=lambda one: one.maturity.rank)
    active = agent.active and all(one.active for one in callers)
    ceilings = tuple(ceiling for one in (agent, *callers) for ceiling in one.ceilings)  # the lowest of a class counts
    return replace(agent, maturity=lowest.maturity, active=active, grants=frozenset(), ceilings=ceilings)
