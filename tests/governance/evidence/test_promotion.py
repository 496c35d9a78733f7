"""Promotion is a person's act; classes of actions fall and climb within their agent; the door judges by both."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.agents.errors import AgentRetiredError
from atom.agents.models import Agent, AgentStatus
from atom.agents.service import AgentService, Changes
from atom.governance.decide import Reason, Standing, Trigger, decide
from atom.governance.evidence.changes import Change, change_maturity
from atom.governance.evidence.errors import ClassFollowsError, LadderEndError, PromotionRefusedError, ReasonMissingError
from atom.governance.evidence.kinds import How
from atom.governance.evidence.promotion import MaturityService, Wanted
from atom.governance.evidence.service import EvidenceService
from atom.governance.models import Action, ActionClass, Maturity, Verdict
from atom.governance.service import GovernanceService, capped
from atom.infra.db import Sessions, unit_of_work
from tests.governance.evidence.conftest import (
    ACTIONS,
    ADMIN,
    attempt,
    create,
    level,
    rate,
    rows,
    wish,
)


async def test_promotion_needs_evidence_or_an_override_that_is_recorded_as_one(
    agents: AgentService, evidence: EvidenceService, maturity: MaturityService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions)
    await rate(evidence, sessions, agent, [1.0] * 9)

    async def promote(wanted: Wanted) -> Agent:
        async with unit_of_work(sessions) as session:
            return await maturity.promote(session, ADMIN, "worker", wanted)

    with pytest.raises(PromotionRefusedError, match="episodes 9, at least 10 needed") as refused:
        await promote(Wanted("please"))
    assert refused.value.details == {"unmet": "episodes"}
    with pytest.raises(ReasonMissingError):
        await promote(Wanted("  ", override=True))
    assert await level(sessions) == "student"
    await rate(evidence, sessions, agent, [1.0])
    assert (await promote(Wanted("ten good runs"))).maturity == "intern"
    await asyncio.sleep(0.001)
    assert (await promote(Wanted("we need it now", override=True))).maturity == "supervised"
    kept = await rows(sessions, "SELECT how, reason, by, data -> 'unmet' FROM maturity_change ORDER BY at")
    assert kept[0] == ("promoted", "ten good runs", "admin:boss", [])
    assert kept[1][:3] == ("overridden", "we need it now", "admin:boss")
    assert "episodes" in kept[1][3]
    audited = await rows(sessions, "SELECT decision FROM audit_entry WHERE action = 'maturity' ORDER BY id")
    assert audited == [("promoted",), ("overridden",)]
    assert (await promote(Wanted("x", override=True))).maturity == "autonomous"
    with pytest.raises(LadderEndError):
        await promote(Wanted("x", override=True))
    async with unit_of_work(sessions) as session:
        await agents.set_status(session, ADMIN, "worker", AgentStatus.RETIRED)
    with pytest.raises(AgentRetiredError):
        await promote(Wanted("x", override=True))


async def test_maturity_set_by_hand_is_on_record(agents: AgentService, sessions: Sessions) -> None:
    await create(agents, sessions, maturity="intern")
    for wanted in ("autonomous", "autonomous", "supervised"):
        async with unit_of_work(sessions) as session:
            await agents.update(session, ADMIN, "worker", Changes(maturity=wanted))
    kept = await rows(sessions, "SELECT before, after, how, agent_version FROM maturity_change ORDER BY at")
    assert kept == [
        ("student", "intern", "overridden", 1),
        ("intern", "autonomous", "overridden", 2),
        ("autonomous", "supervised", "lowered", 3),
    ]


async def test_class_falls_alone_and_climbs_alone_up_to_its_agent(
    agents: AgentService, evidence: EvidenceService, maturity: MaturityService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions, maturity="intern")

    async def promote(class_: ActionClass, **more: Any) -> Agent:
        async with unit_of_work(sessions) as session:
            return await maturity.promote(session, ADMIN, "worker", Wanted("x", class_, **more))

    with pytest.raises(ClassFollowsError):
        await promote(ActionClass.EGRESS, override=True)
    await rate(evidence, sessions, agent, [1.0, 0.0, 1.0, 0.0, 1.0], "read", "fetch")
    await rate(evidence, sessions, agent, [1.0] * 9, "read")
    await rate(evidence, sessions, agent, [0.0], "fetch")
    [(own, classes)] = await rows(sessions, "SELECT maturity, class_maturity FROM agent")
    assert (own, classes) == ("intern", {"egress": "student"})
    with pytest.raises(PromotionRefusedError):
        await promote(ActionClass.EGRESS)
    assert (await promote(ActionClass.EGRESS, override=True)).class_maturity == {"egress": "intern"}
    with pytest.raises(LadderEndError, match="never above its agent"):
        await promote(ActionClass.EGRESS, override=True)
    async with unit_of_work(sessions) as session:
        await maturity.demote(session, ADMIN, "worker", "to be sure", ActionClass.WRITE)
        report = await maturity.report(session, "worker")
    assert dict(report.classes)[ActionClass.WRITE] is Maturity.STUDENT
    assert dict(report.classes)[ActionClass.READ] is Maturity.INTERN


async def test_door_judges_by_the_maturity_of_the_class(
    agents: AgentService, governance: GovernanceService, maturity: MaturityService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions, maturity="intern")
    assert (await attempt(governance, sessions, wish(agent, "write"))).verdict is Verdict.ALLOW
    async with unit_of_work(sessions) as session:
        await maturity.demote(session, ADMIN, "worker", "to be sure", ActionClass.WRITE)
    asked = await attempt(governance, sessions, wish(agent, "write"))
    assert (asked.verdict, asked.reason) == (Verdict.ASK, Reason.ABOVE_MATURITY)
    [(kept,)] = await rows(sessions, "SELECT data ->> 'maturity' FROM audit_entry WHERE decision = 'ask'")
    assert kept == "student"


LEVELS = st.sampled_from(Maturity)
CEILINGS = st.lists(st.tuples(st.sampled_from(ActionClass), LEVELS), max_size=4).map(tuple)


@given(LEVELS, CEILINGS, CEILINGS, st.sampled_from(list(ACTIONS.values())), st.sampled_from(Trigger))
def test_ceiling_never_opens_anything(
    own: Maturity, some: tuple[Any, ...], more: tuple[Any, ...], action: Action, trigger: Trigger
) -> None:
    tools = frozenset(ACTIONS)
    bare = Standing(own, active=True, tools=tools, grants=tools)
    less, least = replace(bare, ceilings=some), replace(bare, ceilings=(*some, *more))
    verdicts = [decide(one, action, trigger).verdict.strictness for one in (bare, less, least)]
    assert verdicts == sorted(verdicts)
    assert least.at(action).rank <= less.at(action).rank <= own.rank
    together = capped(bare, [less, least])
    assert together.at(action) is least.at(action)


async def test_replicas_that_change_a_maturity_at_once_take_turns(agents: AgentService, sessions: Sessions) -> None:
    """Five falls at one time are five rungs down at most, each with a version of its own."""
    agent = await create(agents, sessions, maturity="autonomous")

    async def fall() -> None:
        async with unit_of_work(sessions) as session:
            locked = await agents.get(session, str(agent.id), lock=True)
            now = Maturity(locked.maturity)
            if now.below is not None:
                change = Change(now, now.below, How.DEMOTED, "system:test", "x")
                await change_maturity(session, agents, locked, change)

    await asyncio.gather(*(fall() for _ in range(5)))
    assert await rows(sessions, "SELECT maturity, version FROM agent") == [("student", 4)]
    assert len(await rows(sessions, "SELECT 1 FROM maturity_change WHERE how = 'demoted'")) == 3
