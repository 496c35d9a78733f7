"""What time and events bring: due schedules, event triggers, what waits for an operator, what expires."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import AtomError, UnavailableError
from atom.events.models import Event
from atom.events.service import EventReader
from atom.governance.models import Label
from atom.kit.text import canonical_json
from atom.triggers import schedule, store
from atom.triggers.definition import Listening, listening
from atom.triggers.firing import Firings, Occasion, in_chain
from atom.triggers.models import AgentTrigger, TriggerKind

AT_ONCE = 100
EVENTS_AT_ONCE = 100
MAX_DEPTH = 8
log = structlog.get_logger(service="triggers")


@dataclass(frozen=True, slots=True)
class TriggerSweep:
    """Each is a chore of the sweep. One trigger that cannot be worked on does not hold up the others."""

    firings: Firings
    events: EventReader

    async def fire_due(self, session: AsyncSession) -> None:
        """Each schedule whose time has come fires once, however long nobody looked."""
        now = await store.now(session)
        for trigger in await store.due(session, limit=AT_ONCE):
            due = trigger.due_at or now
            await self._guarded(session, trigger, Occasion(f"due:{due.isoformat()}", due))

    async def hear(self, session: AsyncSession) -> None:
        """Every event is looked at once by every event trigger, in their order: the cursor moves with the firings."""
        head = await self.events.head(session)
        for trigger in await store.listening(session, below=head, limit=AT_ONCE):
            await self._listen(session, trigger, head)

    async def settle(self, session: AsyncSession) -> None:
        await self.firings.release(session, limit=AT_ONCE)
        await self.firings.proposals.expire_due(session)

    async def _guarded(self, session: AsyncSession, trigger: AgentTrigger, occasion: Occasion) -> None:
        """A rule that can be read no more (a time zone that is gone) puts its trigger out of use, visibly."""
        try:
            async with session.begin_nested():
                await self.firings.fire(session, trigger, occasion)
                rule = schedule.parse(trigger.definition)
                now = await store.now(session)
                found = schedule.following(rule, trigger.id, due=trigger.due_at, now=now)
                values = {"due_at": found.due if found else None, "next_at": found.at if found else None}
                await store.change(session, trigger.id, values)
        except UnavailableError:
            raise
        except AtomError as error:
            await self._out_of_use(session, trigger, error)

    async def _listen(self, session: AsyncSession, trigger: AgentTrigger, head: int) -> None:
        try:
            async with session.begin_nested():
                wanted = listening(TriggerKind(trigger.kind), trigger.definition)
                found = await self.events.between(
                    session,
                    trigger.seen_seq,
                    head,
                    types=wanted.types,
                    agent_id=wanted.agent_id,
                    limit=EVENTS_AT_ONCE,
                )
                for event in found:
                    await self._hear_one(session, trigger, wanted, event)
                seen = found[-1].seq if len(found) == EVENTS_AT_ONCE else head
                await store.change(session, trigger.id, {"seen_seq": seen})
        except UnavailableError:
            raise
        except AtomError as error:
            await self._out_of_use(session, trigger, error)

    async def _hear_one(self, session: AsyncSession, trigger: AgentTrigger, wanted: Listening, event: Event) -> None:
        if not wanted.hears(event):
            return
        chains = await store.chains(session, event.run_id) if event.run_id else ()
        if in_chain(trigger.id, chains):
            log.info("trigger.own_echo_ignored", trigger_id=str(trigger.id), seq=event.seq)
            return
        chain = longest(chains)
        occasion = Occasion(
            f"event:{event.id}", event.at, canonical_json(_data(event)), await _labels(session, event), chain
        )
        if len(chain) >= MAX_DEPTH:
            await self.firings.block(session, trigger, occasion, "too_deep")
            return
        await self.firings.fire(session, trigger, occasion)

    async def _out_of_use(self, session: AsyncSession, trigger: AgentTrigger, error: AtomError) -> None:
        log.error("trigger.out_of_use", trigger_id=str(trigger.id), error_code=error.code, error=error.message)
        await store.change(session, trigger.id, {"enabled": False, "due_at": None, "next_at": None})


def longest(chains: Sequence[Sequence[UUID]]) -> tuple[UUID, ...]:
    return max((tuple(chain) for chain in chains), key=len, default=())


async def _labels(session: AsyncSession, event: Event) -> frozenset[Label]:
    """What a run has read may stand in its events; of what no run said nobody knows whose words it carries."""
    known = await store.labels(session, event.run_id) if event.run_id else None
    return frozenset({Label.UNTRUSTED}) if known is None else known


def _data(event: Event) -> dict[str, Any]:
    """What the agent is shown of an event."""
    said = event.envelope()
    return {name: said[name] for name in ("type", "at", "actor", "agent_id", "run_id", "data")}
