"""An agent with a few actions, and what tests do to it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.governance.decide import Decision, Reason, Spoken, Trigger
from atom.governance.evidence.changes import ChangeBook
from atom.governance.evidence.kinds import OfRun
from atom.governance.evidence.promotion import MaturityService
from atom.governance.evidence.service import EvidenceService
from atom.governance.models import Action, EffectClass, Risk, Verdict
from atom.governance.service import GovernanceService, Wish
from atom.identity.models import Principal, Role
from atom.infra.db import Sessions, unit_of_work
from atom.kit.ids import new_id

ACTIONS = {
    "read": Action("read", Risk.LOW, EffectClass.READ),
    "write": Action("write", Risk.MODERATE, EffectClass.EFFECT),
    "fetch": Action("fetch", Risk.LOW, EffectClass.READ, egress=True),
    "wipe": Action("wipe", Risk.CRITICAL, EffectClass.IRREVERSIBLE),
}
ADMIN, AGENT_KEY = Principal(uuid4(), "boss", Role.ADMIN), Principal(uuid4(), "robot", Role.AGENT)


class Forbids:
    """A policy that forbids one action to everybody."""

    async def speak(self, session: AsyncSession, agent: Agent, action: Action, wish: Wish) -> Sequence[Spoken]:
        return [Spoken("no-fetch", Reason.POLICY, Verdict.DENY)] if action.name == "fetch" else []


@pytest.fixture
def agents() -> AgentService:
    outbox = Outbox(Signal())
    return AgentService(outbox, frozenset(ACTIONS), lambda _: None, ChangeBook(outbox))


@pytest.fixture
def governance(agents: AgentService) -> GovernanceService:
    return GovernanceService(agents, ACTIONS, (Forbids(),))


@pytest.fixture
def evidence(governance: GovernanceService) -> EvidenceService:
    return governance.evidence


@pytest.fixture
def maturity(agents: AgentService) -> MaturityService:
    return MaturityService(agents)


async def create(agents: AgentService, sessions: Sessions, name: str = "worker", **fields: Any) -> Agent:
    async with unit_of_work(sessions) as session:
        made = await agents.create(session, ADMIN, name, Changes(tools=tuple(ACTIONS), **fields))
    await asyncio.sleep(0.001)  # what follows begins after the maturity it was made with
    return made


def a_run(agent: Agent, *used: str, began: datetime | None = None) -> OfRun:
    return OfRun(new_id(), agent.id, agent.version, began or datetime.now(UTC), used)


async def rate(
    evidence: EvidenceService, sessions: Sessions, agent: Agent, scores: Sequence[float], *used: str
) -> list[OfRun]:
    runs = [a_run(agent, *used) for _ in scores]
    for run, score in zip(runs, scores, strict=True):
        async with unit_of_work(sessions) as session:
            assert await evidence.rated(session, run, ADMIN, score, None)
    return runs


async def rows(sessions: Sessions, query: str) -> list[tuple[Any, ...]]:
    async with unit_of_work(sessions) as session:
        return [tuple(row) for row in (await session.execute(text(query))).all()]


async def level(sessions: Sessions) -> str:
    [(found,)] = await rows(sessions, "SELECT maturity FROM agent")
    return str(found)


def wish(agent: Agent, action: str, run: UUID | None = None, **arguments: Any) -> Wish:
    return Wish(agent.id, run or new_id(), Trigger.MANUAL, action, arguments)


async def attempt(governance: GovernanceService, sessions: Sessions, wanted: Wish) -> Decision:
    async with unit_of_work(sessions) as session:
        return await governance.authorize(session, wanted, step_key="turn-0.call-0")
