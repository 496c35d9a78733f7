"""Approve with other arguments: what a person wrote is what is done, what the agent wrote stays on record."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.governance.decide import Reason, Spoken
from atom.governance.models import Action, Verdict
from atom.governance.service import digest
from atom.governance.wish import Wish
from atom.infra.db import unit_of_work
from atom.llm.testing import ScriptedModel, call
from atom.web.testing import RunningAtom
from tests.support.polling import eventually

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]
WRITE = call("write_file", path="a.txt", content="hello\n")
BETTER = {"path": "b.txt", "content": "better\n"}
AUDITED = (
    "SELECT decision, data->>'digest', data->>'edited_from' FROM audit_entry WHERE action = 'write_file' ORDER BY id"
)
POLICY = """
policy: paths
rules:
  - name: not-there
    actions: {names: [write_file]}
    when: {arguments: [{path: $.path, matches: "^b"}]}
"""


@dataclass(frozen=True, slots=True)
class Forbids:
    """A policy against one path."""

    path: str

    async def speak(self, _: AsyncSession, __: Agent, ___: Action, wish: Wish) -> Sequence[Spoken]:
        denied = wish.arguments.get("path") == self.path
        return (Spoken("not there", Reason.POLICY, Verdict.DENY),) if denied else ()


async def rows(atom: RunningAtom, query: str) -> list[Any]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        return [tuple(row) for row in (await session.execute(text(query))).all()]


async def asked(atom: RunningAtom, maturity: str = "intern") -> tuple[dict[str, Any], dict[str, Any]]:
    await atom.agent(tools=["write_file"], maturity=maturity)
    run = await atom.done("worker", "go")
    [approval] = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
    return run, approval


async def approve(atom: RunningAtom, approval: dict[str, Any], **body: Any) -> Any:
    return await atom.http.post(f"/api/approvals/{approval['id']}/approve", json=body)


def folder(atom: RunningAtom, run: dict[str, Any]) -> Path:
    return Path(atom.workspaces, run["agent_id"])


async def test_the_edited_call_is_the_one_that_is_made_and_recorded(start: Start) -> None:
    model = ScriptedModel(WRITE, "Written.")
    async with start(model=model) as atom:
        run, approval = await asked(atom)
        done = (await approve(atom, approval, arguments=BETTER, note="rather there")).json()
        assert (done["status"], done["arguments"], done["edited_by"]) == ("approved", BETTER, "admin:admin")
        assert done["digest"] == digest(1, "write_file", BETTER)
        original = {"path": "a.txt", "content": "hello\n"}
        assert done["edited_from"] == {"digest": approval["digest"], "arguments": original}
        assert (await atom.settled(run["id"]))["answer"] == "Written."
        assert (folder(atom, run) / "b.txt").read_text() == "better\n"
        assert not (folder(atom, run) / "a.txt").exists()
        [step] = [one for one in await atom.steps(run["id"]) if one["kind"] == "tool"]
        [request] = [row[0] for row in await rows(atom, "SELECT request FROM execution_step WHERE kind = 'tool'")]
        assert (request["arguments"], request["edited_from"]) == (BETTER, original), step
        told = model.asked[1].messages[-1].content
        assert told.startswith('[A person changed the arguments of this call to {"content":"better\\n","path":"b.txt"}')
        assert await rows(atom, AUDITED) == [
            ("ask", approval["digest"], None),
            ("edited", done["digest"], approval["digest"]),
            ("allow", done["digest"], approval["digest"]),
        ]
        evidence = await rows(atom, "SELECT kind, action_class, approval_id::text, by FROM evidence")
        assert evidence == [("edited", "write", approval["id"], "admin:admin")]
        counts = (await atom.http.get("/api/agents/worker/readiness")).json()["counts"]
        assert (counts["approved"], counts["edited"], counts["judged"], counts["intervened"]) == (0, 1, 1, 1)


async def test_arguments_that_do_not_fit_the_tool_are_refused_and_nothing_is_decided(start: Start) -> None:
    async with start(WRITE, "end") as atom:
        _, approval = await asked(atom)
        for wrong in (
            {"path": 7, "content": "x"},
            {"path": "b.txt"},
            {**BETTER, "mode": "x"},
            {"path": "a\0", "content": ""},
        ):
            answer = await approve(atom, approval, arguments=wrong)
            assert (answer.status_code, answer.json()["code"]) == (422, "approval_arguments_invalid"), wrong
        assert await rows(atom, "SELECT status, edited_from FROM approval") == [("pending", None)]


async def test_an_edit_that_changes_nothing_is_none(start: Start) -> None:
    async with start(WRITE, "end") as atom:
        _, approval = await asked(atom)
        done = (await approve(atom, approval, arguments={"content": "hello\n", "path": "a.txt"})).json()
        assert (done["status"], done["edited_from"], done["digest"]) == ("approved", None, approval["digest"])


async def test_a_policy_judges_the_edited_call_and_not_the_one_before(start: Start) -> None:
    model = ScriptedModel(WRITE, "Not there.")
    async with start(model=model) as atom:
        worker = atom.atom.worker
        worker.governance = replace(worker.governance, speakers=(Forbids("b.txt"),))
        run, approval = await asked(atom)
        await approve(atom, approval, arguments=BETTER)
        assert (await atom.settled(run["id"]))["answer"] == "Not there."
        assert list(folder(atom, run).glob("*.txt")) == []
        assert "A policy of this deployment says so" in model.asked[1].messages[-1].content


@pytest.mark.parametrize(
    ("effect", "reason"), [("effect: forbid", "policy"), ("effect: raise\n    risk: 4", "far_above_maturity")]
)
@pytest.mark.parametrize("before", [True, False])
async def test_a_policy_in_force_denies_the_edited_call_and_the_agent_is_not_to_blame(
    start: Start, effect: str, reason: str, before: bool
) -> None:
    """Whether it was there when the agent asked or came after the person's word: the door looks at the edited call."""
    model = ScriptedModel(WRITE, "Not there.")
    async with start(model=model) as atom:
        source = {"source": f"{POLICY}    {effect}\n"}
        if before:
            assert (await atom.http.post("/api/governance/policies", json=source)).status_code == 200
        run, approval = await asked(atom)
        atom.atom.worker.control.drain()
        done = (await approve(atom, approval, arguments=BETTER)).json()
        if not before:
            assert (await atom.http.post("/api/governance/policies", json=source)).status_code == 200
        atom.atom.worker.control.draining = False
        assert (await atom.settled(run["id"], "completed"))["answer"] == "Not there."
        assert list(folder(atom, run).glob("*.txt")) == []
        last = "SELECT decision, reason, data->>'digest', data->'rules' FROM audit_entry WHERE action = 'write_file'"
        denied = (await rows(atom, f"{last} ORDER BY id DESC LIMIT 1"))[0]
        assert denied == ("deny", reason, done["digest"], ["paths/not-there"])
        assert "A person had changed its arguments to" in model.asked[1].messages[-1].content
        assert await rows(atom, "SELECT kind FROM evidence") == [("edited",)]
        assert (await atom.http.get("/api/agents/worker")).json()["maturity"] == "intern"


async def test_a_policy_on_the_edited_call_asks_for_the_second_person(start: Start) -> None:
    async with start(WRITE, "Written.") as atom:
        source = {"source": f"{POLICY}    effect: ask\n    eyes: two\n"}
        assert (await atom.http.post("/api/governance/policies", json=source)).status_code == 200
        run, approval = await asked(atom)
        assert approval["eyes"] == "any"
        atom.atom.worker.control.drain()
        assert (await approve(atom, approval, arguments=BETTER)).json()["status"] == "approved"
        atom.atom.worker.control.draining = False
        await atom.settled(run["id"], "waiting")
        [again] = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
        assert (again["id"], again["eyes"], len(again["approvals"])) == (approval["id"], "two", 1)
        token = (await atom.http.post("/api/tokens", json={"name": "bob", "role": "operator"})).json()["token"]
        path, bob = f"/api/approvals/{approval['id']}/approve", {"Authorization": f"Bearer {token}"}
        assert (await atom.http.post(path, json={}, headers=bob)).json()["status"] == "approved"
        assert (await atom.settled(run["id"], "completed"))["answer"] == "Written."
        assert [path.name for path in folder(atom, run).glob("*.txt")] == ["b.txt"]


async def test_an_edit_counts_for_the_call_it_was_made_for_only(start: Start) -> None:
    """A digest that does not fit what is stored: asked anew, not done."""
    async with start(WRITE, "end") as atom:
        run, approval = await asked(atom)
        atom.atom.worker.control.drain()
        await approve(atom, approval, arguments=BETTER)
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            await session.execute(text("""UPDATE approval SET arguments = '{"path": "c.txt", "content": "evil"}'"""))
        atom.atom.worker.control.draining = False
        assert (await atom.settled(run["id"], "waiting", "completed"))["status"] == "waiting"
        assert list(folder(atom, run).glob("*.txt")) == []


async def test_who_looked_at_another_call_does_not_approve_this_one(start: Start) -> None:
    async with start(WRITE, "end") as atom:
        _, approval = await asked(atom)
        stale = await approve(atom, approval, digest="0" * 64)
        assert (stale.status_code, stale.json()["code"]) == (409, "approval_changed")
        assert (await approve(atom, approval, digest=approval["digest"])).status_code == 200


async def test_a_call_cut_off_after_the_edit_is_repeated_with_the_edit(start: Start) -> None:
    """The worker died in the middle, a person says once more: it is the edited call again, and the model is told."""
    model = ScriptedModel(WRITE, "Written.")
    async with start(model=model) as atom:
        run, approval = await asked(atom)
        atom.atom.worker.control.drain()
        await approve(atom, approval, arguments=BETTER)
        request = (
            '{"id": "c", "arguments": {"path": "b.txt", "content": "better\\n"}, "edited_from": {"path": "a.txt"}}'
        )
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            await session.execute(text("UPDATE approval SET status = 'used'"))
            await session.execute(
                text(
                    "INSERT INTO execution_step (execution_id, step_no, key, kind, name, status, epoch, request)"
                    " VALUES (:run, 2, 'turn-0.call-0', 'tool', 'write_file', 'started', 1, CAST(:request AS jsonb))"
                ),
                {"run": run["id"], "request": request},
            )
        atom.atom.worker.control.draining = False
        waiting = await atom.settled(run["id"], "waiting", "completed", "failed")
        if waiting["status"] == "waiting":
            assert waiting["wait_reason"] == "review"
            body = {"decision": "retry", "step": "turn-0.call-0"}
            assert (await atom.http.post(f"/api/runs/{run['id']}/review", json=body)).status_code == 200
        assert (await atom.settled(run["id"], "completed"))["answer"] == "Written."
        assert [path.name for path in folder(atom, run).glob("*.txt")] == ["b.txt"]
        assert model.asked[1].messages[-1].content.startswith("[A person changed the arguments")


@pytest.mark.parametrize("edit", [True, False])
async def test_a_persons_word_holds_also_when_the_agent_would_not_be_asked_any_more(
    start: Start, *, edit: bool
) -> None:
    """Promoted while the question was open: a no is a no, and what was edited is not made as it was before."""
    async with start(model=ScriptedModel(WRITE, "Done.")) as atom:
        run, approval = await asked(atom)
        changed = await atom.http.patch("/api/agents/worker", json={"maturity": "supervised"})
        assert changed.status_code == 200, changed.text
        if edit:
            assert (await approve(atom, approval, arguments=BETTER)).status_code == 200

            async def asked_again() -> dict[str, Any] | None:
                found = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
                return found[0] if found and found[0]["id"] != approval["id"] else None

            again = await eventually(asked_again)
            assert (await approve(atom, again, arguments=BETTER)).status_code == 200
        else:
            assert (await atom.http.post(f"/api/approvals/{approval['id']}/reject", json={})).status_code == 200
        await atom.settled(run["id"])
        assert not (folder(atom, run) / "a.txt").exists()
        assert (folder(atom, run) / "b.txt").exists() is edit
