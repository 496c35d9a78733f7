"""The one door: every decision is on record in the transaction of its step, and a failure is a refusal."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.errors import AgentNotFoundError
from atom.agents.models import AgentStatus
from atom.agents.service import AgentService, Changes
from atom.errors import AtomError
from atom.events.service import Outbox, Signal
from atom.governance.decide import Reason, Trigger
from atom.governance.models import Action, EffectClass, Risk, Verdict
from atom.governance.service import GovernanceService, Wish, digest
from atom.identity.models import Principal, Role
from atom.infra.db import Sessions, unit_of_work

ACTIONS = {
    "read_file": Action("read_file", Risk.LOW, EffectClass.READ),
    "write_file": Action("write_file", Risk.MODERATE, EffectClass.EFFECT),
    "delete_file": Action("delete_file", Risk.CRITICAL, EffectClass.IRREVERSIBLE),
}
ADMIN = Principal(uuid4(), "boss", Role.ADMIN)
RUN = UUID("01a20a0d-8e88-7117-9c08-46edfd98777f")


@pytest.fixture
def agents() -> AgentService:
    return AgentService(Outbox(Signal()), frozenset(ACTIONS), lambda _: None)


@pytest.fixture
def governance(agents: AgentService) -> GovernanceService:
    return GovernanceService(agents, ACTIONS)


async def create(agents: AgentService, sessions: Sessions, **fields: Any) -> UUID:
    async with unit_of_work(sessions) as session:
        return (await agents.create(session, ADMIN, "worker", Changes(**fields))).id


def wish(agent_id: UUID, action: str, **arguments: Any) -> Wish:
    return Wish(agent_id, RUN, Trigger.MANUAL, action, arguments)


async def audited(session: AsyncSession) -> list[tuple[Any, ...]]:
    rows = await session.execute(
        text("SELECT actor, action, decision, reason, agent_id, run_id, data FROM audit_entry ORDER BY id")
    )
    return [tuple(row) for row in rows]


async def test_every_decision_is_on_record(
    agents: AgentService, governance: GovernanceService, sessions: Sessions
) -> None:
    agent_id = await create(agents, sessions, tools=("read_file", "write_file", "delete_file"))
    wanted = {"read_file": "allow", "write_file": "ask", "delete_file": "deny", "format_disk": "deny"}
    async with unit_of_work(sessions) as session:
        for action, verdict in wanted.items():
            decision = await governance.authorize(session, wish(agent_id, action, path="a"), step_key="turn-0.call-0")
            assert decision.verdict == verdict
        rows = await audited(session)
    assert [(row[1], row[2]) for row in rows] == list(wanted.items())
    assert [row[3] for row in rows] == ["within_maturity", "above_maturity", "far_above_maturity", "unknown_action"]
    assert {row[0] for row in rows} == {"agent:worker"}
    assert {(row[4], row[5]) for row in rows} == {(agent_id, RUN)}
    digested = digest(1, "read_file", {"path": "a"})
    assert rows[0][6] == {"agent_version": 1, "trigger": "manual", "maturity": "student", "digest": digested}


async def test_a_decision_and_its_record_are_rolled_back_together(
    agents: AgentService, governance: GovernanceService, sessions: Sessions
) -> None:
    agent_id = await create(agents, sessions, tools=("read_file",))

    async def step() -> None:
        async with unit_of_work(sessions) as session:
            await governance.authorize(session, wish(agent_id, "read_file"), step_key="turn-0.call-0")
            assert len(await audited(session)) == 1
            raise AtomError("the step failed")

    with pytest.raises(AtomError, match="the step failed"):
        await step()
    async with unit_of_work(sessions) as session:
        assert await audited(session) == []


async def test_the_agent_is_judged_as_it_is_now(
    agents: AgentService, governance: GovernanceService, sessions: Sessions
) -> None:
    """A demotion, a tool taken away and a pause count at once, also for a run that began before."""
    agent_id = await create(agents, sessions, tools=("write_file",), maturity="intern")

    async def verdict() -> tuple[Verdict, Reason]:
        async with unit_of_work(sessions) as session:
            decision = await governance.authorize(session, wish(agent_id, "write_file"), step_key="turn-0.call-0")
        return decision.verdict, decision.reason

    assert await verdict() == (Verdict.ALLOW, Reason.WITHIN_MATURITY)
    for changes, expected in (
        (Changes(maturity="student"), (Verdict.ASK, Reason.ABOVE_MATURITY)),
        (Changes(tools=()), (Verdict.DENY, Reason.NOT_GRANTED)),
    ):
        async with unit_of_work(sessions) as session:
            await agents.update(session, ADMIN, "worker", changes)
        assert await verdict() == expected
    for status in (AgentStatus.PAUSED, AgentStatus.RETIRED):
        async with unit_of_work(sessions) as session:
            await agents.set_status(session, ADMIN, "worker", status)
        assert await verdict() == (Verdict.DENY, Reason.AGENT_NOT_ACTIVE)


@pytest.mark.parametrize("name", ["bad\x00name", "half \ud800 pair", "x" * 100_000])
async def test_a_name_that_a_model_made_up_is_refused_and_recorded(
    agents: AgentService, governance: GovernanceService, sessions: Sessions, name: str
) -> None:
    agent_id = await create(agents, sessions)
    async with unit_of_work(sessions) as session:
        decision = await governance.authorize(session, wish(agent_id, name), step_key="turn-0.call-0")
        assert (decision.verdict, decision.reason) == (Verdict.DENY, Reason.UNKNOWN_ACTION)
        (row,) = await audited(session)
        assert 0 < len(row[1]) <= 200


async def test_an_agent_that_is_not_there_gets_no_decision(governance: GovernanceService, sessions: Sessions) -> None:
    with pytest.raises(AgentNotFoundError):
        async with unit_of_work(sessions) as session:
            await governance.authorize(session, wish(uuid4(), "read_file"), step_key="turn-0.call-0")


async def test_without_a_record_there_is_no_decision(
    agents: AgentService, governance: GovernanceService, sessions: Sessions
) -> None:
    """It fails closed: a door that cannot write its book stays shut."""
    agent_id = await create(agents, sessions, tools=("read_file",))
    async with unit_of_work(sessions) as session:
        await session.execute(text("ALTER TABLE audit_entry ADD CONSTRAINT broken CHECK (false) NOT VALID"))
    with pytest.raises(DBAPIError):
        async with unit_of_work(sessions) as session:
            await governance.authorize(session, wish(agent_id, "read_file"), step_key="turn-0.call-0")


@pytest.mark.parametrize(
    "change", ["UPDATE audit_entry SET decision = 'allow'", "DELETE FROM audit_entry", "TRUNCATE audit_entry"]
)
async def test_the_record_is_only_ever_added_to(
    agents: AgentService, governance: GovernanceService, sessions: Sessions, change: str
) -> None:
    agent_id = await create(agents, sessions)
    async with unit_of_work(sessions) as session:
        await governance.authorize(session, wish(agent_id, "read_file"), step_key="turn-0.call-0")
    with pytest.raises(DBAPIError, match="append-only"):
        async with unit_of_work(sessions) as session:
            await session.execute(text(change))
    async with unit_of_work(sessions) as session:
        assert [row[2] for row in await audited(session)] == ["deny"]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(max_size=4), JSON, max_size=5)


def shuffled(value: Any, data: st.DataObject) -> Any:
    """The same value with the keys of every object in another order."""
    if isinstance(value, Mapping):
        return {key: shuffled(value[key], data) for key in data.draw(st.permutations(list(value)))}
    return [shuffled(item, data) for item in value] if isinstance(value, list) else value


@given(ARGUMENTS, st.data())
def test_the_digest_of_a_wish_does_not_hang_on_the_order_of_its_keys(
    arguments: dict[str, Any], data: st.DataObject
) -> None:
    assert digest(3, "act", shuffled(arguments, data)) == digest(3, "act", arguments)


@given(ARGUMENTS, ARGUMENTS, st.sampled_from(["act", "ac"]), st.integers(1, 3))
def test_the_digest_changes_with_the_wish(one: dict[str, Any], other: dict[str, Any], name: str, version: int) -> None:
    same = repr(shape(one)) == repr(shape(other)) and (name, version) == ("act", 1)
    assert (digest(1, "act", one) == digest(version, name, other)) == same


def shape(value: Any) -> Any:
    """Comparable, with 1 and True apart."""
    if isinstance(value, dict):
        return sorted((key, shape(item)) for key, item in value.items()) if value else "{}"
    return [shape(item) for item in value] if isinstance(value, list) else (type(value).__name__, value)
