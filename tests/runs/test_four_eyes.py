"""Who decides: four eyes where a rule asks for them, assignments, delegations, batches of one and the same call."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.governance.decide import Reason, Spoken
from atom.governance.eyes import enough, person, withheld
from atom.governance.models import Action, Eyes
from atom.governance.wish import Wish
from atom.infra.db import unit_of_work
from atom.llm.ports import ChatRequest, Completion, Role, TextDelta, ToolCall
from atom.llm.testing import ScriptedModel, call
from atom.web.testing import RunningAtom
from tests.support.polling import eventually

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]
WRITE = call("write_file", path="a.txt", content="hello\n")
OTHER = call("write_file", path="z.txt", content="hello\n")
ACTORS = st.sampled_from(["admin:a", "operator:a", "operator:A", "admin:b", "operator:c"])


@dataclass(frozen=True, slots=True)
class Asks:
    """A policy that asks for so many eyes, and gives people so long."""

    eyes: Eyes
    seconds: float | None = None

    async def speak(self, _: AsyncSession, __: Agent, ___: Action, ____: Wish) -> Sequence[Spoken]:
        return (Spoken("eyes", Reason.POLICY, eyes=self.eyes, seconds=self.seconds),)


class Writer(ScriptedModel):
    """In every run: one call, and an answer after it. A task `other` makes it another call."""

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        last = request.messages[-1]
        reply: ToolCall | str = "Done." if last.role is Role.TOOL else OTHER if last.content == "other" else WRITE
        self.replies.append(reply)
        async for item in super().stream(request):
            yield item


def rule(atom: RunningAtom, eyes: Eyes, seconds: float | None = None) -> None:
    worker = atom.atom.worker
    worker.governance = replace(worker.governance, speakers=(Asks(eyes, seconds),))


async def headers(atom: RunningAtom, name: str, role: str = "operator") -> dict[str, str]:
    made = await atom.http.post("/api/tokens", json={"name": name, "role": role})
    return {"Authorization": f"Bearer {made.json()['token']}"}


async def asked(atom: RunningAtom, agent: str = "worker", who: dict[str, str] | None = None) -> dict[str, Any]:
    await atom.agent(agent, tools=["write_file"], maturity="intern")
    return await another(atom, agent, who)


async def another(
    atom: RunningAtom, agent: str = "worker", who: dict[str, str] | None = None, *, task: str = "go"
) -> dict[str, Any]:
    started = await atom.http.post(f"/api/agents/{agent}/runs", json={"task": task}, headers=who)
    run = await atom.settled(started.json()["id"])
    assert run["wait_reason"] == "approval", run
    [approval] = (await atom.http.get(f"/api/approvals?run_id={run['id']}")).json()["items"]
    found: dict[str, Any] = approval
    return found


async def post(atom: RunningAtom, path: str, who: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
    return await atom.http.post(f"/api/approvals/{path}", json=body, headers=who)


def said(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body.get("code") or body["status"]


@given(st.sampled_from(list(Eyes)), ACTORS, st.lists(ACTORS, max_size=4))
def test_more_eyes_never_make_do_with_fewer_people(eyes: Eyes, requester: str, yes: list[str]) -> None:
    people = {person(actor) for actor in yes}
    assert enough(Eyes.ANY, requester, yes) == bool(people)
    assert enough(Eyes.OTHER, requester, yes) == bool(people - {person(requester)})
    assert enough(Eyes.TWO, requester, yes) == (len(people) >= 2)
    if not enough(eyes, requester, yes):
        for name in ("a", "b", "c", "z"):
            one_more = enough(eyes, requester, [*yes, f"admin:{name}"])
            withhold = name in withheld(eyes, requester, yes)
            assert one_more == (not withhold and (eyes is not Eyes.TWO or bool(people))), name


async def test_who_asked_for_the_run_does_not_decide_under_any_of_their_keys(start: Start) -> None:
    async with start(model=Writer()) as atom:
        rule(atom, Eyes.OTHER)
        alice, same, bob = [
            await headers(atom, "alice"),
            await headers(atom, "Alice", "admin"),
            await headers(atom, "bob"),
        ]
        approval = await asked(atom, who=alice)
        assert (approval["eyes"], approval["requested_by"]) == ("other", "operator:alice")
        for who in (alice, same):
            for verdict in ("approve", "reject"):
                assert said(await post(atom, f"{approval['id']}/{verdict}", who)) == (403, "approval_four_eyes")
        assert said(await post(atom, f"{approval['id']}/approve", bob)) == (200, "approved")
        assert (await atom.settled(approval["run_id"]))["answer"] == "Done."


async def test_two_people_say_yes_or_one_says_no(start: Start) -> None:
    async with start(model=Writer()) as atom:
        rule(atom, Eyes.TWO)
        alice, bob = await headers(atom, "alice"), await headers(atom, "bob")
        approval = await asked(atom, who=alice)
        first = await post(atom, f"{approval['id']}/approve", alice, note="fine")
        assert said(first) == (200, "pending")
        assert [(yes["by"], yes["note"]) for yes in first.json()["approvals"]] == [("operator:alice", "fine")]
        assert said(await post(atom, f"{approval['id']}/approve", await headers(atom, "ALICE", "admin"))) == (
            403,
            "approval_four_eyes",
        )
        assert (await atom.run(approval["run_id"]))["status"] == "waiting"
        mine = [
            [one["id"] for one in (await atom.http.get("/api/approvals?mine=true", headers=who)).json()["items"]]
            for who in (alice, bob)
        ]
        assert mine == [[], [approval["id"]]]
        assert said(await post(atom, f"{approval['id']}/approve", bob)) == (200, "approved")
        second = await another(atom)
        assert said(await post(atom, f"{second['id']}/approve", alice)) == (200, "pending")
        assert said(await post(atom, f"{second['id']}/reject", bob)) == (200, "rejected")


async def test_an_edit_takes_both_people_for_the_edited_call(start: Start) -> None:
    async with start(model=Writer()) as atom:
        rule(atom, Eyes.TWO)
        approval = await asked(atom)
        alice, bob = await headers(atom, "alice"), await headers(atom, "bob")
        path, better = f"{approval['id']}/approve", {"path": "b.txt", "content": "b"}
        await post(atom, path, alice)
        edited = await post(atom, path, bob, arguments=better)
        assert said(edited) == (200, "pending"), "alice has said yes to another call"
        assert [yes["by"] for yes in edited.json()["approvals"]] == ["operator:bob"]
        assert said(await post(atom, path, alice)) == (200, "approved")
        assert (await atom.settled(approval["run_id"]))["answer"] == "Done."


async def test_a_rule_that_comes_later_asks_for_the_second_person(start: Start) -> None:
    """The door looks once more: one yes of then is not enough for a rule of now, and is kept."""
    async with start(model=Writer()) as atom:
        approval = await asked(atom)
        rule(atom, Eyes.TWO)
        alice, bob = await headers(atom, "alice"), await headers(atom, "bob")
        assert said(await post(atom, f"{approval['id']}/approve", alice)) == (200, "approved")
        async with asyncio.timeout(10):
            while (await atom.http.get(f"/api/approvals/{approval['id']}")).json()["status"] != "pending":
                await asyncio.sleep(0.02)
        assert said(await post(atom, f"{approval['id']}/approve", alice)) == (403, "approval_four_eyes")
        await atom.settled(approval["run_id"], "waiting")
        assert said(await post(atom, f"{approval['id']}/approve", bob)) == (200, "approved")
        assert (await atom.settled(approval["run_id"], "completed"))["answer"] == "Done."


async def test_a_question_of_the_release_before_is_not_decided_by_who_asked_for_the_run(start: Start) -> None:
    async with start(model=Writer()) as atom:
        alice, bob = await headers(atom, "alice"), await headers(atom, "bob")
        approval = await asked(atom, who=alice)
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            await session.execute(text("UPDATE approval SET requested_by = NULL"))
        rule(atom, Eyes.OTHER)
        await post(atom, f"{approval['id']}/approve", alice)

        async def again() -> bool:
            shown = (await atom.http.get(f"/api/approvals/{approval['id']}")).json()
            return (shown["status"], shown["requested_by"]) == ("pending", "operator:alice")

        await eventually(again)
        assert said(await post(atom, f"{approval['id']}/approve", alice)) == (403, "approval_four_eyes")
        assert said(await post(atom, f"{approval['id']}/approve", bob)) == (200, "approved")
        assert (await atom.settled(approval["run_id"], "completed"))["answer"] == "Done."


async def test_a_policy_asks_for_two_people_and_gives_them_an_hour(start: Start) -> None:
    source = (
        "policy: p\nrules:\n  - {name: two, actions: {names: [write_file]}, effect: ask, eyes: two,"
        " approval_seconds: 3600}\n"
    )
    async with start(model=Writer()) as atom:
        assert (await atom.http.post("/api/governance/policies", json={"source": source})).status_code == 200
        alice, bob = await headers(atom, "alice"), await headers(atom, "bob")
        for approval in (
            await asked(atom, who=alice),
            await another(atom, who=alice),
        ):  # the second time from the cache
            took = datetime.fromisoformat(approval["expires_at"]) - datetime.fromisoformat(approval["requested_at"])
            assert (approval["eyes"], round(took.total_seconds())) == ("two", 3600)
            assert said(await post(atom, f"{approval['id']}/approve", alice)) == (200, "pending")
            assert said(await post(atom, f"{approval['id']}/approve", alice)) == (403, "approval_four_eyes")
            assert said(await post(atom, f"{approval['id']}/approve", bob)) == (200, "approved")
            assert (await atom.settled(approval["run_id"]))["answer"] == "Done."


async def test_how_each_question_ends_is_evidence_once(start: Start) -> None:
    """Expired: nobody said anything about the agent. Two people: one piece, of who decided in the end."""
    async with start(model=Writer()) as atom:
        alice, bob = await headers(atom, "alice"), await headers(atom, "bob")
        approved, late = await asked(atom), await another(atom)
        assert said(await post(atom, f"{approved['id']}/approve", alice)) == (200, "approved")
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            await session.execute(text("UPDATE approval SET expires_at = now() WHERE status = 'pending'"))
        await atom.settled(late["run_id"], "completed")
        rule(atom, Eyes.TWO)
        both, rejected = await another(atom), await another(atom)
        await post(atom, f"{both['id']}/approve", alice)
        await post(atom, f"{both['id']}/approve", bob)
        await post(atom, f"{rejected['id']}/approve", alice)
        await post(atom, f"{rejected['id']}/reject", bob)
        query = "SELECT kind, approval_id::text, by FROM evidence ORDER BY id"
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            evidence = [tuple(row) for row in await session.execute(text(query))]
        assert evidence == [
            ("approved", approved["id"], "operator:alice"),
            ("approved", both["id"], "operator:bob"),
            ("rejected", rejected["id"], "operator:bob"),
        ]


async def test_a_rule_gives_less_time_and_never_more(start: Start) -> None:
    async with start(model=Writer()) as atom:
        for number, seconds, wanted in ((1, 60.0, 60), (2, 1e6, 86_400)):
            rule(atom, Eyes.ANY, seconds)
            one = await asked(atom, f"agent-{number}")
            took = datetime.fromisoformat(one["expires_at"]) - datetime.fromisoformat(one["requested_at"])
            assert round(took.total_seconds()) == wanted


async def test_an_assigned_approval_is_decided_by_its_assignee_their_deputy_or_an_admin(start: Start) -> None:
    async with start(model=Writer()) as atom:
        alice, bob, carol = [await headers(atom, name) for name in ("alice", "bob", "carol")]
        first = await asked(atom)
        given = await post(atom, f"{first['id']}/delegate", alice, to="Bob", note="yours")
        assert (given.status_code, given.json()["assignee"]) == (200, "bob")
        assert said(await post(atom, f"{first['id']}/approve", alice)) == (403, "approval_assigned")
        assert said(await post(atom, f"{first['id']}/delegate", alice, to="alice")) == (403, "approval_assigned")
        found = (await atom.http.get("/api/approvals?assignee=bob")).json()["items"]
        assert [one["id"] for one in found] == [first["id"]]

        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert said(await post(atom, f"{first['id']}/approve", carol)) == (403, "approval_assigned")
        standing = (await post(atom, "delegations", bob, to="carol", until=until)).json()
        mine = (await atom.http.get("/api/approvals?mine=true", headers=carol)).json()["items"]
        assert [one["id"] for one in mine] == [first["id"]]
        assert said(await post(atom, f"{first['id']}/approve", carol)) == (200, "approved")

        second = await another(atom)
        await post(atom, f"{second['id']}/delegate", to="bob")
        refused = await post(atom, f"delegations/{standing['id']}/revoke", carol)
        assert (refused.status_code, refused.json()["code"]) == (403, "delegation_forbidden")
        revoked = await post(atom, f"delegations/{standing['id']}/revoke", bob)
        assert revoked.json()["revoked_by"] == "operator:bob"
        assert said(await post(atom, f"{second['id']}/approve", carol)) == (403, "approval_assigned")
        assert (await atom.http.get("/api/approvals/summary", headers=carol)).json()["mine"] == 0
        assert said(await post(atom, f"{second['id']}/approve")) == (200, "approved"), "an admin may"

        third = await another(atom)
        await post(atom, f"{third['id']}/delegate", to="role:operator")
        assert said(await post(atom, f"{third['id']}/approve", carol)) == (200, "approved")
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            query = "SELECT actor, decision FROM audit_entry WHERE decision IN ('delegated', 'revoked') ORDER BY id"
            audit = [tuple(row) for row in await session.execute(text(query))]
        assert audit == [
            ("operator:alice", "delegated"),
            ("operator:bob", "delegated"),
            ("admin:admin", "delegated"),
            ("operator:bob", "revoked"),
            ("admin:admin", "delegated"),
        ]


async def test_a_delegation_ends_by_itself_and_never_makes_two_eyes_four(start: Start) -> None:
    async with start(model=Writer()) as atom:
        rule(atom, Eyes.OTHER)
        alice, bob = await headers(atom, "alice"), await headers(atom, "bob")
        approval = await asked(atom, who=alice)
        assert said(await post(atom, f"{approval['id']}/delegate", to="alice")) == (403, "approval_four_eyes")
        await post(atom, f"{approval['id']}/delegate", to="carol")
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        carol = await headers(atom, "carol")
        for name in ("alice", "bob"):
            assert (await post(atom, "delegations", carol, to=name, until=until)).status_code == 201
        assert said(await post(atom, f"{approval['id']}/approve", alice)) == (403, "approval_four_eyes")
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            await session.execute(text("UPDATE approval_delegation SET until = now() - interval '1 second'"))
        assert said(await post(atom, f"{approval['id']}/approve", bob)) == (403, "approval_assigned")
        for wrong in ({"to": "carol", "until": until}, {"to": "x", "until": "2020-01-01T00:00:00Z"}):
            assert (await post(atom, "delegations", carol, **wrong)).status_code == 422
        assert (await post(atom, f"{approval['id']}/delegate", to="role:viewer")).status_code == 422


@pytest.mark.parametrize("rule_comes", ["before", "after"])
async def test_an_assignee_who_has_said_yes_keeps_nobody_from_the_second(start: Start, rule_comes: str) -> None:
    async with start(model=Writer()) as atom:
        if rule_comes == "before":
            rule(atom, Eyes.TWO)
        alice, bob = await headers(atom, "alice"), await headers(atom, "bob")
        approval = await asked(atom, who=alice)
        await post(atom, f"{approval['id']}/delegate", to="alice")
        if rule_comes == "after":
            rule(atom, Eyes.TWO)
        await post(atom, f"{approval['id']}/approve", alice)

        async def again() -> bool:
            shown = (await atom.http.get(f"/api/approvals/{approval['id']}")).json()
            return bool(shown["status"] == "pending" and shown["approvals"])

        await eventually(again)
        assert (await atom.http.get("/api/approvals/summary", headers=bob)).json()["mine"] == 1
        assert said(await post(atom, f"{approval['id']}/approve", bob)) == (200, "approved")
        assert (await atom.settled(approval["run_id"], "completed"))["answer"] == "Done."


async def test_a_batch_approves_the_same_call_only_and_each_for_itself(start: Start) -> None:
    async with start(model=Writer()) as atom:
        alice = await headers(atom, "alice")
        same = [await asked(atom), await another(atom), await another(atom)]
        other = await another(atom, task="other")
        assert len({one["digest"] for one in same}) == 1
        await post(atom, f"{same[1]['id']}/delegate", to="bob")
        unknown = "01a20a0d-8e88-7117-9c08-46edfd98777f"
        ids = [same[2]["id"], same[1]["id"], other["id"], unknown, same[0]["id"], same[0]["id"]]
        answer = await post(atom, "approve-batch", alice, digest=same[0]["digest"], ids=ids, note="all of them")
        assert [(line["id"], line["status"], line["code"]) for line in answer.json()["items"]] == [
            (same[2]["id"], "approved", None),
            (same[1]["id"], None, "approval_assigned"),
            (other["id"], None, "approval_changed"),
            (unknown, None, "approval_not_found"),
            (same[0]["id"], "approved", None),
        ]
        statuses = [(await atom.http.get(f"/api/approvals/{one['id']}")).json()["status"] for one in (*same, other)]
        assert statuses[1::2] == ["pending", "pending"]
        assert {statuses[0], statuses[2]} <= {"approved", "used"}


async def test_a_batch_waits_for_every_run_before_it_holds_the_agent(start: Start) -> None:
    """Whoever has a run may want its agent next (evidence does): a batch that has the agent must not want runs."""
    async with start(model=Writer()) as atom:
        same = [await asked(atom), await another(atom)]
        sessions = atom.atom.parts.base.sessions
        async with unit_of_work(sessions) as session:
            second = text("SELECT 1 FROM agent_execution WHERE id = :id FOR UPDATE")
            await session.execute(second, {"id": same[1]["run_id"]})
            body = {"digest": same[0]["digest"], "ids": [one["id"] for one in same]}
            batch = asyncio.create_task(post(atom, "approve-batch", **body))
            await eventually(lambda: waits_for_a_row(atom))
            await session.execute(text("SET LOCAL lock_timeout = '5s'"))
            await session.execute(text("SELECT 1 FROM agent WHERE name = 'worker' FOR UPDATE"))
        assert [line["status"] for line in (await batch).json()["items"]] == ["approved", "approved"]


async def waits_for_a_row(atom: RunningAtom) -> bool:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype IN ('transactionid', 'tuple') AND NOT granted"
        return bool(await session.scalar(text(waiting)))


async def test_a_batch_is_of_one_agent(start: Start) -> None:
    async with start(model=Writer()) as atom:
        one, two = await asked(atom, "one"), await asked(atom, "two")
        assert one["digest"] == two["digest"]
        answer = await post(atom, "approve-batch", digest=one["digest"], ids=[one["id"], two["id"]])
        assert (answer.status_code, answer.json()["field"]) == (422, "ids")
        found = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
        assert len(found) == 2


async def test_the_inbox_is_searched_by_what_people_look_for(start: Start) -> None:
    async with start(model=Writer()) as atom:
        alice = await headers(atom, "alice")
        one, two = await asked(atom, "one"), await asked(atom, "two", alice)
        three = await another(atom, "two")
        await post(atom, f"{three['id']}/reject")

        async def ids(query: str) -> list[str]:
            answer = await atom.http.get(f"/api/approvals?{query}")
            assert answer.status_code == 200, answer.text
            return [found["id"] for found in answer.json()["items"]]

        assert await ids("agent=one") == [one["id"]]
        assert await ids(f"agent={two['agent_id']}&status=pending") == [two["id"]]
        assert await ids("requested_by=operator:alice") == [two["id"]]
        assert await ids("action=write_fil") == []
        assert await ids(f"digest={one['digest']}&run_id={one['run_id']}") == [one["id"]]
        assert await ids("mine=true") == [two["id"], one["id"]]
        soon = (datetime.now(UTC) + timedelta(hours=23)).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert await ids(f"expires_before={soon}") == []
        page = (await atom.http.get("/api/approvals?limit=2")).json()
        assert await ids(f"limit=2&after={page['next']}") == [one["id"]]
        assert (await atom.http.get("/api/approvals?stat=pending")).status_code == 422
        viewer = await headers(atom, "eve", "viewer")
        summary = (await atom.http.get("/api/approvals/summary", headers=viewer)).json()
        assert (summary["counts"]["pending"], summary["counts"]["rejected"], summary["mine"]) == (2, 1, 0)
        assert (await atom.http.get("/api/approvals/summary")).json()["mine"] == 2
