"""A trigger fires: the reason is put on record once, with the run, the proposal or the refusal that it leads to.

All of it is one transaction of the caller. A crash before its commit leaves nothing, and the reason is found again;
a crash behind it leaves both. A second process with the same reason waits for the first and finds its record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent, AgentStatus
from atom.agents.service import AgentService
from atom.errors import AtomError, UnavailableError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance.models import Label, Maturity
from atom.identity.models import Principal, Role
from atom.kit.ids import new_id
from atom.kit.text import shorten
from atom.runs.provenance import OWN_WORDS, Provenance, from_columns
from atom.runs.service import Order, RunService
from atom.training import models as training
from atom.training.service import TrainingService
from atom.triggers import store
from atom.triggers.maturity import Way, way
from atom.triggers.models import AgentTrigger, Outcome, TriggerFiring, TriggerKind
from atom.triggers.ports import Origin, Presence
from atom.triggers.proposals import ProposalService
from atom.triggers.task import fill

QUEUE_SECONDS = 86_400.0
MAX_OPEN = (
    100  # proposals, training sessions or queued firings of one trigger: a flood must not bury the people who decide
)
EVENT_TASK = 2000
log = structlog.get_logger(service="triggers")


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a trigger fires. `key` names this very reason, for ever; `data` came from outside, with `labels`;
    `chain`: see models."""

    key: str
    at: datetime
    data: str | None = None
    labels: frozenset[Label] = frozenset({Label.UNTRUSTED})
    chain: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Firings:
    runs: RunService
    agents: AgentService
    proposals: ProposalService
    training: TrainingService
    presence: Presence
    outbox: Outbox
    queue_seconds: float = QUEUE_SECONDS

    async def fire(self, session: AsyncSession, trigger: AgentTrigger, occasion: Occasion) -> TriggerFiring:
        """By the maturity of the agent. A reason that has fired before gives what it led to then."""
        by = f"trigger:{trigger.name}"
        fresh, firing = await self._begin(session, trigger, occasion, by=by)
        if not fresh:
            return firing
        agent = await self.agents.get(session, str(trigger.agent_id))
        present = await self.presence.present(session)
        return await self._lead_on(session, trigger, firing, agent, operator_present=present)

    async def fire_by_hand(
        self, session: AsyncSession, by: Principal, trigger: AgentTrigger, occasion: Occasion
    ) -> TriggerFiring:
        """A person starts the run themselves: it is theirs, like any they start. Raises what a start raises."""
        fresh, firing = await self._begin(session, trigger, occasion, by=by.actor)
        if not fresh:
            return firing
        run_id = await self.runs.start(session, by, str(trigger.agent_id), Order(firing.task, origin=_words(firing)))
        return await self._settle(session, trigger, firing, Outcome.RUN, run_id=run_id)

    async def block(
        self, session: AsyncSession, trigger: AgentTrigger, occasion: Occasion, reason: str
    ) -> TriggerFiring:
        """Put on record that this reason leads to nothing, and why."""
        fresh, firing = await self._begin(session, trigger, occasion, by=f"trigger:{trigger.name}")
        return await self._settle(session, trigger, firing, Outcome.BLOCKED, reason=reason) if fresh else firing

    async def release(self, session: AsyncSession, *, limit: int) -> None:
        """Queued firings go on when an operator is there, and end visibly when none came in time. For the sweep."""
        present = await self.presence.present(session)
        moment = await store.now(session)
        for firing in await store.queued(session, operator_present=present, limit=limit):
            trigger = await session.get(AgentTrigger, firing.trigger_id)
            assert trigger is not None
            if trigger.removed_at is not None:
                await self._settle(session, trigger, firing, Outcome.BLOCKED, reason="trigger_removed")
            elif firing.expires_at is not None and firing.expires_at <= moment:
                await self._settle(session, trigger, firing, Outcome.EXPIRED, reason="no_operator")
            else:
                agent = await self.agents.get(session, str(trigger.agent_id))
                await self._lead_on(session, trigger, firing, agent, operator_present=present)

    async def _begin(
        self, session: AsyncSession, trigger: AgentTrigger, occasion: Occasion, *, by: str
    ) -> tuple[bool, TriggerFiring]:
        id_ = new_id()
        task = fill(trigger.task, trigger=trigger.name, at=occasion.at, data=occasion.data, firing_id=id_)
        chain = [*occasion.chain, trigger.id]
        words = OWN_WORDS
        if occasion.data is not None:
            said = fill(trigger.task, trigger=trigger.name, at=occasion.at, data=None, firing_id=id_)
            words = Provenance(occasion.labels, said)
        values = {"id": id_, "trigger_id": trigger.id, "key": occasion.key, "task": task, "chain": chain}
        if await store.begin(session, {**values, "fired_by": by, **words.columns()}):
            return True, await store.firing(session, id_)
        known = await store.firing_of(session, trigger.id, occasion.key)
        assert known is not None
        return False, known

    async def _lead_on(
        self,
        session: AsyncSession,
        trigger: AgentTrigger,
        firing: TriggerFiring,
        agent: Agent,
        *,
        operator_present: bool,
    ) -> TriggerFiring:
        active = agent.status == AgentStatus.ACTIVE
        match way(Maturity(agent.maturity), active=active, operator_present=operator_present):
            case Way.RUN:
                return await self._run(session, trigger, firing)
            case Way.QUEUE:
                return await self._queue(session, trigger, firing)
            case Way.PROPOSE:
                return await self._propose(session, trigger, firing)
            case Way.TRAIN:
                return await self._train(session, trigger, firing, agent)
            case Way.REFUSE:
                return await self._settle(session, trigger, firing, Outcome.BLOCKED, reason="agent_not_active")

    async def _run(self, session: AsyncSession, trigger: AgentTrigger, firing: TriggerFiring) -> TriggerFiring:
        order = Order(firing.task, trigger=TriggerKind(trigger.kind).origin, origin=_words(firing))
        try:
            async with session.begin_nested():
                run_id = await self.runs.start(session, maker(trigger), str(trigger.agent_id), order)
        except UnavailableError:
            raise  # it is found again: nothing of this is on record yet
        except AtomError as error:
            return await self._settle(session, trigger, firing, Outcome.BLOCKED, reason=error.code)
        return await self._settle(session, trigger, firing, Outcome.RUN, run_id=run_id)

    async def _queue(self, session: AsyncSession, trigger: AgentTrigger, firing: TriggerFiring) -> TriggerFiring:
        if firing.expires_at is not None:  # it waits already
            return firing
        waiting = await store.count_queued(session, trigger.id, besides=firing.id)
        if waiting >= self._room(trigger):
            return await self._settle(session, trigger, firing, Outcome.BLOCKED, reason="already_queued")
        expires = store.ahead(self.queue_seconds)
        return await self._settle(session, trigger, firing, Outcome.QUEUED, reason="no_operator", expires_at=expires)

    async def _propose(self, session: AsyncSession, trigger: AgentTrigger, firing: TriggerFiring) -> TriggerFiring:
        count, newest = await store.open_proposals(session, trigger.id)
        if count >= self._room(trigger):
            return await self._settle(
                session, trigger, firing, Outcome.BLOCKED, reason="already_proposed", proposal_id=newest
            )
        origin = Origin(TriggerKind(trigger.kind).origin.value, trigger.id, firing.id)
        opened = await self.proposals.open(session, trigger.agent_id, firing.task, origin)
        return await self._settle(session, trigger, firing, Outcome.PROPOSAL, proposal_id=opened)

    async def _train(
        self, session: AsyncSession, trigger: AgentTrigger, firing: TriggerFiring, agent: Agent
    ) -> TriggerFiring:
        count, newest = await store.open_training(session, trigger.id)
        if count >= self._room(trigger):
            return await self._settle(
                session, trigger, firing, Outcome.BLOCKED, reason="already_proposed", training_id=newest
            )
        kind = TriggerKind(trigger.kind).origin.value
        origin = training.Origin(kind, firing.fired_by, f"firing:{firing.id}", _words(firing))
        try:
            async with session.begin_nested():
                known = await self.training.propose(session, agent, firing.task, origin)
        except UnavailableError:
            raise
        except AtomError as error:
            return await self._settle(session, trigger, firing, Outcome.BLOCKED, reason=error.code)
        return await self._settle(
            session, trigger, firing, Outcome.BLOCKED, reason="agent_is_student", training_id=known
        )

    def _room(self, trigger: AgentTrigger) -> int:
        """A schedule says the same every time: one question is enough. Others bring data of their own."""
        return 1 if trigger.kind == TriggerKind.SCHEDULE else MAX_OPEN

    async def _settle(
        self,
        session: AsyncSession,
        trigger: AgentTrigger,
        firing: TriggerFiring,
        outcome: Outcome,
        **values: Any,
    ) -> TriggerFiring:
        settled_at = None if outcome is Outcome.QUEUED else func.now()
        await store.settle(session, firing.id, {"outcome": outcome.value, "settled_at": settled_at, **values})
        run_id = values.get("run_id")
        last = {"last_at": func.now(), **({"last_run_id": run_id} if run_id else {})}
        await store.change(session, trigger.id, last)
        said = {"trigger": trigger.name, "trigger_id": str(trigger.id), "outcome": outcome.value}
        said |= {name: str(values[name]) for name in ("reason", "proposal_id", "training_id") if values.get(name)}
        data = {**said, "firing_id": str(firing.id), "task": shorten(firing.task, EVENT_TASK)}
        await self.outbox.emit(
            session, EventType.TRIGGER_FIRED, actor=firing.fired_by, agent_id=trigger.agent_id, run_id=run_id, data=data
        )
        log.info("trigger.fired", trigger_id=str(trigger.id), outcome=outcome.value, reason=values.get("reason"))
        return await store.firing(session, firing.id)


def maker(trigger: AgentTrigger) -> Principal:
    """Whoever made or last changed a trigger asks for its runs: budgets and four eyes count them as theirs."""
    role, _, name = trigger.created_by.partition(":")
    return Principal(trigger.id, name, Role(role))


def in_chain(trigger_id: UUID, chains: Sequence[Sequence[UUID]]) -> bool:
    return any(trigger_id in chain for chain in chains)


def _words(firing: TriggerFiring) -> Provenance:
    return from_columns(firing.origin_labels, firing.origin_said)
