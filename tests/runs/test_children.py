"""Agents that call agents: runs of their own, parked callers, one end for all, no circles, no borrowed maturity."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from sqlalchemy import text

from atom.infra.db import unit_of_work
from atom.llm.adapters.script import Reply
from atom.llm.ports import ChatRequest
from atom.llm.testing import ScriptedModel, call
from atom.settings import RunSettings
from atom.web.testing import RunningAtom

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]


def ask(agent: str, task: str = "part") -> Reply:
    return Reply(tool_calls=(call("call_agent", agent=agent, task=task),))


class ByTask:
    """A model that answers each task from a script of its own, so that several runs do not mix."""

    provider = "scripted"

    def __init__(self, **scripts: list[Reply | str]) -> None:
        self.models = {task: ScriptedModel(*replies) for task, replies in scripts.items()}

    def stream(self, request: ChatRequest) -> Any:
        task = next(m.content for m in request.messages if m.role == "user")
        return self.models[task].stream(request)

    async def aclose(self) -> None:
        for model in self.models.values():
            await model.aclose()


async def agents(atom: RunningAtom, *names: str, **fields: Any) -> None:
    for name in names:
        given = {"tools": ["call_agent", "write_file"], "maturity": "autonomous"} | fields
        await atom.agent(name, **given)


async def rows(atom: RunningAtom, query: str, **values: Any) -> list[tuple[Any, ...]]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        return [tuple(row) for row in (await session.execute(text(query), values)).all()]


async def child_of(atom: RunningAtom, run_id: str, *statuses: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            found = await rows(atom, "SELECT id FROM agent_execution WHERE parent_id = cast(:run AS uuid)", run=run_id)
            if found:
                return await atom.settled(str(found[0][0]), *statuses)
            await asyncio.sleep(0.02)


async def test_caller_is_told_the_answer_and_each_run_has_its_own_journal(start: Start) -> None:
    model = ByTask(whole=[ask("helper"), "all done"], part=["the part"])
    async with start(model=model, runs=RunSettings(max_concurrent=1, lease_seconds=30)) as atom:
        await agents(atom, "boss", "helper")
        run = await atom.settled((await atom.start("boss", "whole", priority="high"))["id"], "completed")
        assert run["answer"] == "all done"
        assert model.models["whole"].asked[1].messages[-1].content == "the part"
        child = await child_of(atom, run["id"])
        assert (child["agent"], child["parent_id"], child["requested_by"]) == ("helper", run["id"], "agent:boss")
        assert child["priority"] == "high"
        assert [step["key"] for step in await atom.steps(child["id"])] == ["turn-0"]
        assert [step["key"] for step in await atom.steps(run["id"])] == ["turn-0", "turn-0.call-0", "turn-1"]
        assert (await rows(atom, "SELECT count(*) FROM agent_execution"))[0][0] == 2


async def test_caller_waits_without_a_worker(start: Start) -> None:
    model = ByTask(whole=[ask("helper"), "end"], part=[Reply("slow", delay=1)])
    async with start(model=model) as atom:
        await agents(atom, "boss", "helper")
        run_id = (await atom.start("boss", "whole"))["id"]
        await child_of(atom, run_id, "running")
        run = await atom.run(run_id)
        assert (run["status"], run["wait_reason"]) == ("waiting", "child")
        query = "SELECT lease_owner FROM agent_execution WHERE id = cast(:run AS uuid)"
        assert await rows(atom, query, run=run_id) == [(None,)]
        assert (await atom.settled(run_id, "completed"))["answer"] == "end"


async def test_cancelled_with_its_caller(start: Start) -> None:
    model = ByTask(whole=[ask("middle", "half")], half=[ask("low")], part=[Reply("slow", delay=20)])
    async with start(model=model) as atom:
        await agents(atom, "boss", "middle", "low")
        run_id = (await atom.start("boss", "whole"))["id"]
        middle = await child_of(atom, run_id, "waiting")
        low = await child_of(atom, middle["id"], "running")
        await atom.http.post(f"/api/runs/{run_id}/cancel")
        for one in (run_id, middle["id"], low["id"]):
            assert (await atom.settled(one, "cancelled", "completed", "failed"))["status"] == "cancelled"


async def test_paused_and_resumed_with_its_caller(start: Start) -> None:
    half = Reply(tool_calls=(call("current_time"),), delay=0.4)
    model = ByTask(whole=[ask("helper"), "end"], part=[half, "part done"])
    async with start(model=model) as atom:
        await agents(atom, "boss", "helper", tools=["call_agent", "current_time"])
        run_id = (await atom.start("boss", "whole"))["id"]
        child = await child_of(atom, run_id, "running")
        await atom.http.post(f"/api/runs/{run_id}/pause")
        assert (await atom.settled(child["id"], "paused", "completed"))["status"] == "paused"
        assert (await atom.run(run_id))["status"] == "paused"
        await atom.http.post(f"/api/runs/{run_id}/resume")
        assert (await atom.settled(run_id, "completed"))["answer"] == "end"


async def test_caller_goes_on_when_its_child_fails_or_is_cancelled(start: Start) -> None:
    model = ByTask(whole=[ask("helper"), "did it alone"], part=[Reply("slow", delay=20)])
    async with start(model=model) as atom:
        await agents(atom, "boss", "helper")
        run_id = (await atom.start("boss", "whole"))["id"]
        child = await child_of(atom, run_id, "running")
        await atom.http.post(f"/api/runs/{child['id']}/cancel")
        assert (await atom.settled(run_id, "completed"))["answer"] == "did it alone"
        assert "was cancelled" in model.models["whole"].asked[1].messages[-1].content


async def test_circle_is_refused_and_the_model_is_told(start: Start) -> None:
    model = ByTask(whole=[ask("helper"), "end"], part=[ask("boss"), ask("helper"), ask("nobody"), "part done"])
    async with start(model=model) as atom:
        await agents(atom, "boss", "helper")
        run = await atom.settled((await atom.start("boss", "whole"))["id"], "completed")
        assert run["answer"] == "end"
        told = [request.messages[-1].content for request in model.models["part"].asked[1:]]
        assert "waiting for this very run" in told[0]
        assert "waiting for this very run" in told[1]
        assert "no agent 'nobody'" in told[2]
        assert (await rows(atom, "SELECT count(*) FROM agent_execution"))[0][0] == 2


async def test_nesting_has_a_bound(start: Start) -> None:
    model = ByTask(t0=[ask("a1", "t1"), "end"], t1=[ask("a2", "t2"), "1"], t2=[ask("a3", "t3"), "2"])
    async with start(model=model, runs=RunSettings(max_depth=2, sweep_seconds=0.2)) as atom:
        await agents(atom, "a0", "a1", "a2", "a3")
        await atom.settled((await atom.start("a0", "t0"))["id"], "completed")
        assert "2 deep already" not in str(model.models["t1"].asked)
        assert "nest 3 deep" in model.models["t2"].asked[1].messages[-1].content


async def test_maturity_cannot_be_borrowed(start: Start) -> None:
    """A supervised agent may write on its own; called by an intern, it has to ask as the intern would."""
    write = Reply(tool_calls=(call("write_file", path="a.txt", content="x"),))
    model = ByTask(whole=[ask("able"), "end"], part=[write, "wrote"])
    async with start(model=model) as atom:
        await agents(atom, "low", maturity="intern")
        await agents(atom, "able", maturity="supervised")
        run_id = (await atom.start("low", "whole"))["id"]
        child = await child_of(atom, run_id, "waiting")
        assert child["wait_reason"] == "approval"
        audited = await rows(atom, "SELECT data ->> 'maturity' FROM audit_entry WHERE action = 'write_file'")
        assert audited == [("intern",)]
        approval = (await atom.http.get("/api/approvals?status=pending")).json()["items"][0]["id"]
        await atom.http.post(f"/api/approvals/{approval}/approve", json={})
        assert (await atom.settled(run_id, "completed"))["answer"] == "end"


async def test_caller_that_is_retired_meanwhile_lends_nothing(start: Start) -> None:
    write = Reply(tool_calls=(call("write_file", path="a.txt", content="x"),), delay=0.5)
    model = ByTask(whole=[ask("able"), "end"], part=[write, "could not"])
    async with start(model=model) as atom:
        await agents(atom, "boss", "able")
        run_id = (await atom.start("boss", "whole"))["id"]
        child = await child_of(atom, run_id, "running")
        await atom.http.post("/api/agents/boss/retire")
        assert (await atom.settled(child["id"], "completed", "waiting"))["answer"] == "could not"
        assert await rows(atom, "SELECT reason FROM audit_entry WHERE action = 'write_file'") == [("agent_not_active",)]


async def test_dead_workers_of_caller_and_child_start_no_second_child(start: Start) -> None:
    model = ByTask(whole=[ask("helper"), "end"], part=[Reply("slow", delay=0.5), "again"])
    async with start(model=model) as atom:
        await agents(atom, "boss", "helper")
        run_id = (await atom.start("boss", "whole"))["id"]
        child = await child_of(atom, run_id, "running")
        # The caller's worker died before it could park: its lease ran out in the middle of the call.
        await rows(
            atom,
            "UPDATE agent_execution SET status = 'running', wait_reason = NULL, lease_owner = 'dead',"
            " lease_expires_at = now() - interval '1 second' WHERE id = cast(:run AS uuid) RETURNING id",
            run=run_id,
        )
        assert (await atom.settled(run_id, "completed"))["answer"] == "end"
        assert (await rows(atom, "SELECT count(*) FROM agent_execution"))[0][0] == 2
        assert (await atom.run(child["id"]))["status"] == "completed"
