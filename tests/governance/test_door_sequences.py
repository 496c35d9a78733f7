"""Whatever is done in whatever order: an agent acts above its floor only with an approval of exactly that call, once,
in time; and names that merely contain another name get nothing."""

import asyncio
import itertools
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, text

from atom.agents.models import AgentStatus
from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.governance.decide import Reason, Trigger
from atom.governance.grants.service import GrantService
from atom.governance.models import Action, EffectClass, Risk, Verdict
from atom.governance.policies.service import PolicyService
from atom.governance.registry import ActionRegistry
from atom.governance.service import GovernanceService, Wish, digest
from atom.identity.models import Principal, Role
from atom.infra.db import Sessions, unit_of_work
from atom.kit.ids import new_id
from tests.support.databases import sessions_on

ACTIONS = ActionRegistry(
    [
        Action("look", Risk.LOW, EffectClass.READ),
        Action("write", Risk.HIGH, EffectClass.EFFECT),
        Action("delete", Risk.CRITICAL, EffectClass.IRREVERSIBLE),
        Action("delete_target", Risk.LOW, EffectClass.IRREVERSIBLE),
        Action("transfer_budget", Risk.HIGH, EffectClass.EFFECT),
    ]
)
WANTED = [*ACTIONS, "approve_listing", "transfer", "delet", "delete_", "DELETE"]
RANKS = {"student": 1, "intern": 2, "supervised": 3, "autonomous": 4}
ADMIN = Principal(uuid4(), "boss", Role.ADMIN)
CONVERSATION = text("INSERT INTO conversation (id, agent_id) VALUES (:id, :agent)")
RUN = text(
    "INSERT INTO agent_execution (id, agent_id, agent_version, conversation_id, trigger, requested_by, task, status)"
    " VALUES (:id, :agent, 1, :id, 'manual', 'admin:boss', 't', 'running')"
)
EXAMPLES = 25 if settings().max_examples < 1000 else 500  # each is some twenty transactions
names = itertools.count()

OPERATIONS = st.one_of(
    st.tuples(st.just("maturity"), st.sampled_from(sorted(RANKS))),
    st.tuples(st.just("status"), st.sampled_from(["active", "paused"])),
    st.tuples(st.just("tools"), st.frozensets(st.sampled_from(list(ACTIONS)), min_size=1)),
    st.tuples(st.just("grant"), st.sampled_from(list(ACTIONS))),
    st.tuples(st.just("ungrant"), st.sampled_from(list(ACTIONS))),
    st.tuples(st.just("policy"), st.sampled_from(list(ACTIONS)), st.sampled_from(["ask", "forbid"])),
    st.tuples(st.just("lift"), st.sampled_from(list(ACTIONS))),
    st.tuples(st.just("settle"), st.sampled_from(["approved", "rejected"])),
    st.tuples(st.just("expire")),
    *[st.tuples(st.just("want"), st.sampled_from(WANTED), st.integers(0, 1), st.sampled_from(Trigger))] * 4,
)
MANUAL = Trigger.MANUAL
ONCE_THROUGH: list[tuple[Any, ...]] = [  # every way to yes; approvals used up, expired, of another call
    ("tools", frozenset(ACTIONS)), ("maturity", "supervised"), ("want", "write", 0, MANUAL),
    ("want", "delete", 0, MANUAL), ("settle", "approved"), ("want", "delete", 1, MANUAL), ("settle", "approved"),
    ("want", "delete", 1, MANUAL), ("want", "delete", 1, MANUAL), ("settle", "approved"), ("maturity", "intern"),
    ("maturity", "supervised"), ("want", "delete", 1, MANUAL), ("settle", "approved"), ("expire",),
    ("want", "delete", 1, MANUAL), ("maturity", "autonomous"), ("grant", "delete"), ("want", "delete", 0, MANUAL),
    ("policy", "delete", "forbid"), ("want", "delete", 0, MANUAL),
]  # fmt: skip


@dataclass(slots=True)
class Model:
    """What must be so, kept apart from the code under test. `approved`: digests that a person has approved and nobody
    has used; `asked`: the step of each open or decided question, by call."""

    agent_id: UUID
    run_id: UUID
    name: str
    maturity: str = "student"
    active: bool = True
    tools: frozenset[str] = frozenset()
    granted: set[str] = field(default_factory=set)
    policies: dict[str, str] = field(default_factory=dict)
    version: int = 1
    approved: dict[str, str] = field(default_factory=dict)

    def may_alone(self, name: str, trigger: Trigger) -> bool:
        """By the rule as people are told it, written down a second time."""
        action = ACTIONS.get(name)
        if action is None or not self.active or name not in self.tools or name in self.policies:
            return False
        rank = RANKS[self.maturity]
        if action.risk > rank:
            return False
        if action.risk == 4 or action.effect is EffectClass.IRREVERSIBLE:
            return rank == 4 and name in self.granted
        if trigger is Trigger.MANUAL or rank >= 3:
            return True
        return rank == 2 and action.effect in {EffectClass.READ, EffectClass.IDEMPOTENT}


@dataclass(frozen=True, slots=True)
class Door:
    sessions: Sessions
    agents: AgentService
    grants: GrantService
    policies: PolicyService
    governance: GovernanceService

    @classmethod
    def on(cls, sessions: Sessions) -> "Door":
        outbox = Outbox(Signal())
        agents = AgentService(outbox, frozenset(ACTIONS), lambda _: None)
        return cls(
            sessions,
            agents,
            GrantService(agents, ACTIONS, outbox),
            PolicyService(agents, ACTIONS, outbox),
            GovernanceService(agents, ACTIONS),
        )

    async def begin(self) -> Model:
        async with unit_of_work(self.sessions) as session:
            agent = await self.agents.create(session, ADMIN, f"agent-{next(names)}", Changes())
            run_id = new_id()
            for statement in (CONVERSATION, RUN):
                await session.execute(statement, {"id": run_id, "agent": agent.id})
        return Model(agent.id, run_id, agent.name)

    async def do(self, model: Model, what: str, *given_: Any) -> None:
        async with unit_of_work(self.sessions) as session:
            await getattr(self, f"_{what}")(session, model, *given_)

    async def _maturity(self, session: Any, model: Model, maturity: str) -> None:
        model.version = (await self.agents.update(session, ADMIN, model.name, Changes(maturity=maturity))).version
        model.maturity = maturity

    async def _status(self, session: Any, model: Model, status: str) -> None:
        model.version = (await self.agents.set_status(session, ADMIN, model.name, AgentStatus(status))).version
        model.active = status == "active"

    async def _tools(self, session: Any, model: Model, tools: frozenset[str]) -> None:
        changed = await self.agents.update(session, ADMIN, model.name, Changes(tools=tuple(sorted(tools))))
        model.version, model.tools = changed.version, tools

    async def _grant(self, session: Any, model: Model, action: str) -> None:
        await self.grants.grant(session, "admin:boss", model.name, action, reason="r", days=None)
        model.granted.add(action)

    async def _ungrant(self, session: Any, model: Model, action: str) -> None:
        if action in model.granted:
            await self.grants.ungrant(session, "admin:boss", model.name, action)
            model.granted.discard(action)

    async def _policy(self, session: Any, model: Model, action: str, effect: str) -> None:
        rule = {"name": "r", "agents": [model.name], "actions": {"names": [action]}, "effect": effect}
        source = json.dumps({"policy": f"{model.name}.{action}", "rules": [rule]})
        await self.policies.apply(session, "admin:boss", source)
        model.policies[action] = effect

    async def _lift(self, session: Any, model: Model, action: str) -> None:
        if model.policies.pop(action, None) is not None:
            await self.policies.remove(session, "admin:boss", f"{model.name}.{action}")

    async def _settle(self, session: Any, model: Model, status: str) -> None:
        """Every open question gets this answer."""
        statement = text(
            "UPDATE approval SET status = :status, decided_at = now(), decided_by = 'admin:boss'"
            " WHERE execution_id = :run AND status = 'pending' AND expires_at > now() RETURNING step_key, digest"
        )
        for step, digest_ in (await session.execute(statement, {"status": status, "run": model.run_id})).all():
            if status == "approved":
                model.approved[step] = digest_

    async def _expire(self, session: Any, model: Model) -> None:
        statement = "UPDATE approval SET expires_at = now() - interval '1 s' WHERE execution_id = :run"
        await session.execute(text(statement), {"run": model.run_id})
        model.approved.clear()

    async def _want(self, session: Any, model: Model, action: str, argument: int, trigger: Trigger) -> None:
        """As the loop does it: the same call of a run asks again at the same step."""
        step = f"turn-0.{action}"
        wish = Wish(model.agent_id, model.run_id, trigger, action, {"n": argument})
        decision = await self.governance.authorize(session, wish, step_key=step)
        if decision.verdict is Verdict.ASK:
            assert ACTIONS.get(action) is not None
            await self.governance.request_approval(session, wish, decision, step_key=step)
        elif decision.verdict is Verdict.ALLOW and decision.reason is Reason.APPROVED:
            wanted = digest(model.version, action, {"n": argument})
            assert model.approved.pop(step, None) == wanted, "an approval of exactly this, not used before, in time"
            assert model.active
            assert action in model.tools
            assert model.policies.get(action) != "forbid"
            assert ACTIONS[action].risk <= RANKS[model.maturity] + 1
        elif decision.verdict is Verdict.ALLOW:
            assert model.may_alone(action, trigger), (model, action, trigger, decision)
        if model.may_alone(action, trigger):
            assert decision.verdict is Verdict.ALLOW, "and what it may do alone it is not kept from"


@pytest.fixture
def door(database: URL) -> Any:
    """One loop for all examples: Hypothesis calls a plain function."""
    loop = asyncio.new_event_loop()
    context = sessions_on(database)
    made = Door.on(loop.run_until_complete(context.__aenter__()))

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return loop.run_until_complete(work)

    yield made, run
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


def test_no_sequence_of_operations_lets_an_agent_act_above_its_floor(door: Any) -> None:
    made, run = door

    @example(ONCE_THROUGH)
    @given(st.lists(OPERATIONS, min_size=5, max_size=25))
    @settings(max_examples=EXAMPLES, deadline=None)
    def sequences(operations: list[tuple[Any, ...]]) -> None:
        model = run(made.begin())
        for operation in operations:
            run(made.do(model, *operation))
        for action in list(model.policies):
            run(made.do(model, "lift", action))

    sequences()
    found = run(_reasons(made.sessions))
    assert {reason for verdict, reason in found if verdict == "allow"} == {"within_maturity", "approved", "named_grant"}
    assert {"ask", "deny", "allow"} <= {verdict for verdict, _ in found}


async def _reasons(sessions: Sessions) -> list[tuple[str, str]]:
    async with unit_of_work(sessions) as session:
        rows = await session.execute(text("SELECT DISTINCT decision, reason FROM audit_entry WHERE run_id IS NOT NULL"))
        return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("delete", "delete_target"), ("delete_target", "delete"), ("transfer_budget", "transfer"),
        ("transfer", "transfer_budget"), ("approve", "approve_listing"), ("approve_listing", "approve"),
    ],
)  # fmt: skip
def test_a_name_that_contains_another_gets_nothing_of_it(door: Any, held: str, wanted: str) -> None:
    """Neither by being given the tool, nor by a grant, nor by an approval of the other."""
    made, run = door
    both = ActionRegistry([Action(name, Risk.CRITICAL, EffectClass.IRREVERSIBLE) for name in (held, wanted)])
    agents = AgentService(Outbox(Signal()), frozenset(both), lambda _: None)
    governance, grants = GovernanceService(agents, both), GrantService(agents, both, Outbox(Signal()))

    async def verdicts() -> list[tuple[str, str]]:
        found = []
        async with unit_of_work(made.sessions) as session:
            name = f"agent-{next(names)}"
            agent = await agents.create(session, ADMIN, name, Changes(tools=(held,), maturity="autonomous"))
            await grants.grant(session, "admin:boss", name, held, reason="r", days=None)
            for tools in ((held,), (held, wanted)):
                await agents.update(session, ADMIN, name, Changes(tools=tools))
                for action in (held, wanted):
                    wish = Wish(agent.id, new_id(), Trigger.MANUAL, action, {})
                    decision = await governance.authorize(session, wish, step_key="turn-0.call-0")
                    found.append((decision.verdict.value, decision.reason.value))
        return found

    assert run(verdicts()) == [
        ("allow", "named_grant"),
        ("deny", "not_granted"),
        ("allow", "named_grant"),
        ("ask", "critical_or_irreversible"),
    ]
