"""What is known of an agent and the policies is what is true now, in every process, and costs one question."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import event, text

from atom.agents.models import AgentStatus
from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.governance.decide import Decision, Trigger
from atom.governance.grants.service import GrantService
from atom.governance.knowledge import Knowledge
from atom.governance.models import Action, EffectClass, Eyes, Risk
from atom.governance.policies.judging import PolicyJudge
from atom.governance.policies.service import PolicyService
from atom.governance.registry import ActionRegistry
from atom.governance.service import GovernanceService
from atom.governance.wish import Wish
from atom.identity.models import Principal, Role
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import FrozenClock
from tests.support.polling import eventually

ACTIONS = ActionRegistry(
    [
        Action("read", Risk.LOW, EffectClass.READ),
        Action("write", Risk.HIGH, EffectClass.EFFECT),
        Action("delete", Risk.CRITICAL, EffectClass.IRREVERSIBLE),
    ]
)
ADMIN = Principal(uuid4(), "boss", Role.ADMIN)
RUN = UUID("01a20a0d-8e88-7117-9c08-46edfd98777f")
FORBID = "policy: {name}\nrules:\n  - name: no\n    actions: {{names: [{action}]}}\n    effect: forbid\n"


@dataclass(slots=True)
class World:
    """Two processes on one database that hear nothing of each other: neither LISTEN nor Redis."""

    sessions: Sessions
    agents: AgentService
    policies: PolicyService
    grants: GrantService
    one: GovernanceService
    other: GovernanceService
    agent_id: UUID = RUN

    async def decide(self, action: str, by: GovernanceService | None = None, **arguments: Any) -> Decision:
        async with unit_of_work(self.sessions) as session:
            wish = Wish(self.agent_id, RUN, Trigger.MANUAL, action, arguments)
            return await (by or self.one).authorize(session, wish, step_key=f"turn-0.call-{uuid4()}")

    async def both(self, action: str) -> str:
        """What both processes say, once they are asked; they must agree."""
        said = [(await self.decide(action, by)).verdict.value for by in (self.one, self.other)]
        assert said[0] == said[1]
        return said[0]

    async def apply(self, source: str) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.policies.apply(session, "admin:boss", source)

    async def update(self, **changes: Any) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.agents.update(session, ADMIN, "worker", Changes(**changes))

    async def status(self, status: AgentStatus) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.agents.set_status(session, ADMIN, "worker", status)

    async def grant(self) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.grants.grant(session, "admin:boss", "worker", "delete", reason="nightly", days=1)

    async def ungrant(self) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.grants.ungrant(session, "admin:boss", "worker", "delete")

    async def execute(self, statement: str) -> None:
        async with unit_of_work(self.sessions) as session:
            await session.execute(text(statement))


@pytest_asyncio.fixture
async def world(sessions: Sessions) -> AsyncIterator[World]:
    outbox = Outbox(Signal())
    agents = AgentService(outbox, frozenset(ACTIONS), lambda _: None)
    made = World(
        sessions,
        agents,
        PolicyService(agents, ACTIONS, outbox),
        GrantService(agents, ACTIONS, outbox),
        GovernanceService(agents, ACTIONS),
        GovernanceService(agents, ACTIONS),
    )
    async with unit_of_work(sessions) as session:
        definition = Changes(tools=("read", "write", "delete"), maturity="autonomous")
        made.agent_id = (await agents.create(session, ADMIN, "worker", definition)).id
    yield made


@contextmanager
def statements(sessions: Sessions) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        asked.append(" ".join(statement.split()))

    engine = sessions.kw["bind"].sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


async def test_a_change_is_in_force_with_the_next_decision_of_a_process_that_hears_nothing(world: World) -> None:
    assert await world.both("write") == "allow"
    await world.update(maturity="student")
    assert await world.both("write") == "deny"
    await world.update(maturity="supervised")
    assert await world.both("write") == "allow"
    await world.status(AgentStatus.PAUSED)
    assert await world.both("write") == "deny"
    await world.status(AgentStatus.ACTIVE)
    await world.update(tools=("read",))
    assert await world.both("write") == "deny"
    await world.update(tools=("write", "delete"), maturity="autonomous")
    assert await world.both("delete") == "ask"
    await world.grant()
    assert await world.both("delete") == "allow"
    await world.ungrant()
    assert await world.both("delete") == "ask"
    await world.apply(FORBID.format(name="p", action="write"))
    assert await world.both("write") == "deny"
    assert await world.both("delete") == "ask"
    async with unit_of_work(world.sessions) as session:
        await world.policies.remove(session, "admin:boss", "p")
    assert await world.both("write") == "allow"
    await world.status(AgentStatus.RETIRED)
    assert await world.both("write") == "deny"


async def test_what_was_rolled_back_is_never_believed(world: World) -> None:
    """A process looks in the middle of a transaction that then is not; another change gets the same version number."""

    class NotToBe(Exception):
        pass

    async def undone(change: Callable[[Any], Any], action: str) -> str:
        said: list[str] = []

        async def transaction() -> None:
            async with unit_of_work(world.sessions) as session:
                await change(session)
                wish = Wish(world.agent_id, RUN, Trigger.MANUAL, action, {})
                said.append((await world.one.authorize(session, wish, step_key="turn-0.call-0")).verdict.value)
                raise NotToBe

        with pytest.raises(NotToBe):
            await transaction()
        return said[0]

    forbid = FORBID.format(name="p", action="read")
    assert await undone(lambda s: world.policies.apply(s, "admin:boss", forbid), "read") == "deny"
    assert (await world.decide("read")).verdict == "allow"
    await world.apply(FORBID.format(name="q", action="write"))  # the epoch is the number that was rolled back
    assert (await world.decide("read")).verdict == "allow"
    assert (await world.decide("write")).verdict == "deny"

    await world.update(maturity="student")
    promoted = Changes(maturity="autonomous")
    assert await undone(lambda s: world.agents.update(s, ADMIN, "worker", promoted), "delete") == "ask"
    assert (await world.decide("delete")).verdict == "deny"
    await world.update(maturity="intern")  # the version that was rolled back, with other contents
    assert (await world.decide("delete")).verdict == "deny"


async def test_a_decision_that_was_made_before_costs_one_question_and_its_record(world: World) -> None:
    for action, expected in (("read", 2), ("delete", 3)):  # asked: also whether somebody has answered
        await world.decide(action)
        with statements(world.sessions) as asked:
            await world.decide(action)
        assert len(asked) == expected, asked
    assert (world.one.knowledge.rate.hits, world.one.knowledge.rate.misses) == (2, 2)


async def test_fifty_at_once_read_an_agent_that_nobody_knows_once(world: World) -> None:
    with statements(world.sessions) as asked:
        found = await asyncio.gather(*(world.decide("read") for _ in range(50)))
    assert {one.verdict for one in found} == {"allow"}
    assert sum("action_grant" in one for one in asked) == 1


LOOKS_AT_THE_CALL = {
    "arguments": "arguments: [{path: $.n, greater: 5}]",
    "time": "time: {zone: UTC}",
    "money": "money: {run_usd_above: 1}",
}


@pytest.mark.parametrize("kind", LOOKS_AT_THE_CALL)
async def test_what_depends_on_the_call_is_never_kept(world: World, kind: str) -> None:
    rule = f"- {{name: r, actions: {{names: [write]}}, when: {{{LOOKS_AT_THE_CALL[kind]}}}, effect: ask, eyes: two}}"
    await world.apply(f"policy: p\nrules:\n{rule}\n")
    knowledge = world.one.knowledge
    for _ in range(3):
        await world.decide("write", n=1)
        await world.decide("write", n=6)
    assert (knowledge.rate.hits, knowledge.rate.misses, knowledge.rate.bypassed) == (0, 0, 6)
    assert (await world.decide("write", n=6)).verdict == "ask"
    assert (await world.decide("write", n=6)).eyes is Eyes.TWO
    if kind == "arguments":
        assert (await world.decide("write", n=1)).verdict == "allow"
        assert (await world.decide("write")).verdict == "ask", "an argument that is not there"
    await world.decide("read")
    await world.decide("read")
    assert (knowledge.rate.hits, knowledge.rate.misses) == (1, 1), "an action that no such rule is about is kept"


async def test_a_time_of_day_is_that_of_the_decision(world: World) -> None:
    clock = FrozenClock()
    by = GovernanceService(world.agents, ACTIONS, (), Knowledge(clock), PolicyJudge(clock))
    await world.apply(
        "policy: p\nrules:\n- {name: r, when: {time: {zone: UTC, from: '09:00', to: '17:00'}}, effect: forbid}\n"
    )
    said = []
    for hours in (8.5, 9, 16.5, 17):  # no other key of a cache, no other row
        clock.at = datetime(2026, 7, 1, tzinfo=UTC) + timedelta(hours=hours)
        said.append((await world.decide("read", by)).verdict.value)
    assert said == ["allow", "deny", "deny", "allow"]


async def test_a_grant_ends_at_its_time_though_nothing_changes(world: World) -> None:
    await world.grant()
    await world.execute("UPDATE action_grant SET expires_at = clock_timestamp() + interval '0.4 seconds'")
    assert (await world.decide("delete")).verdict == "allow"

    async def asked() -> bool:
        return (await world.decide("delete")).verdict == "ask"

    await eventually(asked, 5)


async def test_working_for_others_an_agent_may_do_no_more_than_the_least_of_them(world: World) -> None:
    """And a demotion of any of them is in force at once."""
    async with unit_of_work(world.sessions) as session:
        boss = await world.agents.create(session, ADMIN, "boss", Changes(maturity="autonomous"))
    await world.grant()

    async def verdict(action: str) -> str:
        async with unit_of_work(world.sessions) as session:
            wish = Wish(world.agent_id, RUN, Trigger.AGENT, action, {}, (boss.id,))
            return (await world.one.authorize(session, wish, step_key="turn-0.call-0")).verdict.value

    assert (await verdict("write"), await verdict("delete")) == ("allow", "ask")
    async with unit_of_work(world.sessions) as session:
        await world.agents.update(session, ADMIN, "boss", Changes(maturity="student"))
    assert await verdict("write") == "deny"
    async with unit_of_work(world.sessions) as session:
        await world.agents.set_status(session, ADMIN, "boss", AgentStatus.PAUSED)
    assert await verdict("read") == "deny"


async def test_warmed_agents_cost_no_miss(world: World) -> None:
    async with unit_of_work(world.sessions) as session:
        refs = ["WORKER", str(world.agent_id), "nobody", str(RUN), "no/name"]
        warmed = await world.one.knowledge.warm(session, refs, ACTIONS)
        again = await world.one.knowledge.warm(session, ["worker"], ACTIONS)
    assert (warmed.agents, warmed.decisions) == ((world.agent_id,), 3 * len(Trigger))
    assert warmed.unknown == ("nobody", str(RUN), "no/name")
    assert again.decisions == 0
    for action in ("read", "write", "delete"):
        await world.decide(action)
    assert (world.one.knowledge.rate.hits, world.one.knowledge.rate.misses) == (3, 0)


async def test_it_keeps_no_more_than_its_bound(world: World) -> None:
    by = GovernanceService(world.agents, ACTIONS, (), Knowledge(most=2))
    for action in ("read", "write", "delete", "read"):
        await world.decide(action, by)
    assert (by.knowledge.rate.hits, by.knowledge.rate.misses) == (0, 4)
    assert len(by.knowledge._decisions) == 2
    for name in ("ghost", "ghost2", "read_"):
        assert (await world.decide(name, by)).reason == "unknown_action"
    assert len(by.knowledge._decisions) == 2, "names that a model made up take no place"


async def test_a_policy_that_this_process_cannot_read_lets_nothing_through(world: World) -> None:
    await world.execute(
        "INSERT INTO policy VALUES ('later', 1, 'x', '{\"policy\": \"later\", \"rulez\": []}', 'admin:x')"
    )
    with pytest.raises(Exception, match="cannot read it") as refused:
        await world.decide("read")
    assert getattr(refused.value, "code", "") == "policy_unreadable"
