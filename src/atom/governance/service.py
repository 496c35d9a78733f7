"""The one door: every effect of an agent is authorised here, and audited in the transaction of its step."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent, AgentStatus
from atom.agents.service import AgentService
from atom.governance import store
from atom.governance.decide import Decision, Standing, Trigger, decide
from atom.governance.models import Action, Maturity, Verdict
from atom.kit.text import canonical_json, clean, shorten

APPROVAL_SECONDS = 24 * 3600.0
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """What an agent wants to do, and where it stands in its run."""

    agent_id: UUID
    run_id: UUID
    trigger: Trigger
    action: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GovernanceService:
    """`actions` are the registered ones by exact name."""

    agents: AgentService
    actions: Mapping[str, Action]

    async def authorize(self, session: AsyncSession, wish: Wish) -> Decision:
        """Decide with the agent as it is now, and audit, in the caller's transaction. A failure here is a refusal."""
        agent = await self.agents.get(session, str(wish.agent_id))
        decision = decide(standing(agent), self.actions.get(wish.action), wish.trigger)
        await store.audit(
            session,
            {
                "actor": f"agent:{agent.name}",
                "action": clean(shorten(wish.action, MAX_NAME)),  # a model may make up anything
                "decision": decision.verdict.value,
                "reason": decision.reason.value,
                "agent_id": agent.id,
                "run_id": wish.run_id,
                "data": {
                    "agent_version": agent.version,
                    "trigger": wish.trigger.value,
                    "digest": digest(agent.version, wish.action, wish.arguments),
                },
            },
        )
        return decision

    async def request_approval(self, session: AsyncSession, wish: Wish, decision: Decision, *, step_key: str) -> UUID:
        """A question to a person, bound to agent version, action and arguments. Returns its id."""
        assert decision.verdict is Verdict.ASK
        agent = await self.agents.get(session, str(wish.agent_id))
        values = {
            "execution_id": wish.run_id,
            "step_key": step_key,
            "agent_id": agent.id,
            "agent_version": agent.version,
            "action": wish.action,
            "arguments": dict(wish.arguments),
            "digest": digest(agent.version, wish.action, wish.arguments),
            "reason": decision.reason.value,
        }
        return await store.add_approval(session, values, seconds=APPROVAL_SECONDS)

    async def withdraw_approvals(self, session: AsyncSession, run_id: UUID) -> None:
        await store.cancel_approvals(session, run_id)


def standing(agent: Agent) -> Standing:
    return Standing(
        maturity=Maturity(agent.maturity),
        active=agent.status == AgentStatus.ACTIVE,
        tools=frozenset(agent.tools),
    )


def digest(agent_version: int, action: str, arguments: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical form, in hex: one spelling for one wish."""
    text = canonical_json({"agent_version": agent_version, "action": action, "arguments": dict(arguments)})
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
