"""A change of maturity: the agent's row and version, why, an audit entry and an event, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.agents.service import AgentService
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance import store as audit_store
from atom.governance.evidence import store
from atom.governance.evidence.kinds import How
from atom.governance.models import ActionClass, Maturity


@dataclass(frozen=True, slots=True)
class Change:
    """`action_class`: only of this class of actions. `data`: the evidence that was looked at."""

    before: Maturity
    after: Maturity
    how: How
    by: str
    reason: str
    action_class: ActionClass | None = None
    run_id: UUID | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChangeBook:
    """Keeps every change of a maturity. It is what agents tell when a person sets one by hand."""

    outbox: Outbox

    async def set_by_hand(
        self, session: AsyncSession, agent_id: UUID, *, version: int, before: str, after: str, by: str
    ) -> None:
        old, new = Maturity(before), Maturity(after)
        how = How.OVERRIDDEN if new.rank > old.rank else How.LOWERED
        change = Change(old, new, how, by, "Set by hand, without regard to evidence.")
        await self.write(session, agent_id, version, change)

    async def write(self, session: AsyncSession, agent_id: UUID, version: int, change: Change) -> None:
        said = {
            "before": change.before.value,
            "after": change.after.value,
            "how": change.how.value,
            "reason": change.reason,
            "action_class": change.action_class and change.action_class.value,
            "agent_version": version,
        }
        row = {"agent_id": agent_id, "by": change.by, "data": dict(change.data)}
        await store.add_change(session, row | said)
        await audit_store.audit(
            session,
            {
                "actor": change.by,
                "action": "maturity",
                "decision": change.how.value,
                "reason": change.after.value,
                "agent_id": agent_id,
                "run_id": change.run_id,
                "data": {**said, **change.data},
            },
        )
        event = EventType.AGENT_PROMOTED if change.after.rank > change.before.rank else EventType.AGENT_DEMOTED
        await self.outbox.emit(
            session, event, actor=change.by, agent_id=agent_id, run_id=change.run_id, data={**said, **change.data}
        )


async def change_maturity(session: AsyncSession, agents: AgentService, agent: Agent, change: Change) -> Agent:
    """The caller has locked the agent. Every replica judges it by the new row from this commit on."""
    maturity, classes = agent.maturity, dict(agent.class_maturity)
    if change.action_class is None:
        maturity = change.after.value
    else:
        classes[change.action_class.value] = change.after.value
        if change.after is Maturity.AUTONOMOUS:  # a ceiling at the top is none
            del classes[change.action_class.value]
    saved = await agents.set_maturity(session, agent, change.by, maturity=maturity, classes=classes)
    await ChangeBook(agents.outbox).write(session, saved.id, saved.version, change)
    return saved


def class_maturity(agent: Agent, action_class: ActionClass) -> Maturity:
    """What an agent has earned in a class: never more than its maturity."""
    own = Maturity(agent.maturity)
    ceiling = agent.class_maturity.get(action_class.value)
    return own if ceiling is None else min(own, Maturity(ceiling), key=lambda one: one.rank)
