"""What another worker finds: leases, epochs, calls of unknown outcome, connections that nobody may hold."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from atom.durable import lease
from atom.durable.lease import FencedError
from atom.governance.models import Action, EffectClass, Risk
from atom.infra.db import unit_of_work
from atom.llm.adapters.script import Reply
from atom.llm.ports import ChatRequest, Completion, TextDelta
from atom.llm.testing import ScriptedModel, call
from atom.runs.models import Run
from atom.settings import RunSettings
from atom.tools.ports import Tool, ToolContext, ToolOutput
from atom.web.testing import RunningAtom

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]


def in_use(atom: RunningAtom) -> int:
    pool: Any = atom.atom.parts.base.engine.pool
    return int(pool.checkedout())


async def execute(atom: RunningAtom, statement: str, **values: Any) -> None:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        await session.execute(text(statement), values)


async def row(atom: RunningAtom, query: str, **values: Any) -> Any:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        return (await session.execute(text(query), values)).one()


class Watching:
    """A scripted model that looks at the pool in the middle of each reply."""

    provider = "scripted"

    def __init__(self, inner: ScriptedModel) -> None:
        self.inner = inner
        self.look: Callable[[], int] = lambda: 0
        self.seen: list[int] = []

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        async for item in self.inner.stream(request):
            await asyncio.sleep(0.05)  # whatever was being given back is back now
            self.seen.append(self.look())
            yield item

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_no_connection_is_checked_out_while_a_model_a_tool_or_a_stream_is_in_progress(start: Start) -> None:
    model = Watching(
        ScriptedModel(
            Reply("Let me compute.", tool_calls=(call("calculate", expression="6*7"),)), Reply("It is 42.", delay=0.2)
        )
    )
    quiet = RunSettings(lease_seconds=60, sweep_seconds=60)  # no heartbeat and no sweep in the picture
    async with start(model=model, runs=quiet) as atom:
        await atom.agent(tools=["calculate"])
        tool = atom.atom.parts.tools.get("calculate")
        during_tool: list[int] = []

        async def watched(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
            for _ in range(5):
                await asyncio.sleep(0.02)
                during_tool.append(in_use(atom))
            return await tool.run(arguments, context)

        replaced = Tool(tool.action, tool.description, tool.parameters, tool.timeout, watched)
        atom.atom.worker.registry._tools["calculate"] = replaced
        model.look = lambda: in_use(atom)
        started = await atom.start("worker", "compute")
        during_stream: list[int] = []
        async with atom.http.stream("GET", f"/api/runs/{started['id']}/events") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("event: delta"):
                    during_stream.append(in_use(atom))
                if line.startswith("event: run.completed"):
                    break
        # The sequencer's and the feed's own short reads may cross one sample; a session held by the work is in all.
        for seen in (model.seen, during_tool, during_stream):
            assert seen
            assert min(seen) == 0


async def test_a_worker_that_lost_its_run_writes_nothing_more(start: Start) -> None:
    """What a stopped and continued process meets: another has claimed, its reply is discarded."""
    slow = Reply("too late", delay=1.0)
    async with start(slow, "second owner's answer", runs=RunSettings(lease_seconds=60, sweep_seconds=60)) as atom:
        await atom.agent()
        run_id = (await atom.start("worker", "go"))["id"]
        await atom.settled(run_id, "running")
        await execute(atom, "UPDATE agent_execution SET lease_expires_at = now() - interval '1 second'")
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            epoch = await lease.claim(
                session, Run, UUID(run_id), owner="other", seconds=60, also=Run.status == "running"
            )
        assert epoch == 2
        await asyncio.sleep(1.3)
        found = await row(atom, "SELECT status, answer, lease_owner, lease_epoch, crashes FROM agent_execution")
        assert tuple(found) == ("running", None, "other", 2, 1)
        assert (await row(atom, "SELECT count(*) FROM execution_step"))[0] == 0
        assert (await atom.http.get("/metrics")).text.count("atom_fenced_writes_total 1.0") == 1


async def test_released_lease_is_not_counted_as_a_crash(start: Start) -> None:
    async with start("x") as atom:
        await atom.agent()
        await atom.done("worker", "go")
        assert tuple(await row(atom, "SELECT crashes, lease_epoch FROM agent_execution")) == (0, 1)


async def abandoned(atom: RunningAtom, tool: str, result: str | None) -> str:
    """A run whose worker died after it had begun (or ended) its first tool call."""
    await atom.agent(tools=[tool], maturity="autonomous")
    atom.atom.worker.control.drain()  # nobody takes it while the journal is being written
    run_id: str = (await atom.start("worker", "go"))["id"]
    reply = {
        "v": 1, "text": "", "finish_reason": "tool_calls", "provider": "scripted", "model": "scripted", "attempt": 1,
        "tool_calls": [{"id": "c1", "name": tool, "arguments": "{\"path\": \"a.txt\", \"content\": \"x\"}"}],
        "usage": {"input_tokens": 1, "output_tokens": 1, "cached_tokens": None},
    }  # fmt: skip
    step = (
        "INSERT INTO execution_step (execution_id, step_no, key, kind, name, status, epoch, request, result) VALUES"
        " (:run, :no, :key, :kind, :name, :status, 1, '{}', cast(:result as jsonb))"
    )
    await execute(
        atom, step, run=run_id, no=1, key="turn-0", kind="model", name="m", status="done", result=json.dumps(reply)
    )
    await execute(
        atom, step, run=run_id, no=2, key="turn-0.call-0", kind="tool", name=tool,
        status="done" if result else "started", result=result,
    )  # fmt: skip
    await execute(
        atom,
        "UPDATE agent_execution SET status = 'running', lease_epoch = 1, lease_owner = 'dead', started_at = now(),"
        " lease_expires_at = now() - interval '1 second'",
    )
    atom.atom.worker.control.draining = False
    return run_id


async def test_effect_with_unknown_outcome_goes_to_a_person_and_is_not_repeated(start: Start) -> None:
    model = ScriptedModel("never asked")
    async with start(model=model) as atom:
        run_id = await abandoned(atom, "write_file", None)
        run = await atom.settled(run_id)
        assert (run["status"], run["wait_reason"]) == ("waiting", "review")
        assert model.asked == []
        assert not list(atom.workspaces.rglob("a.txt"))


async def test_recorded_steps_are_not_repeated_after_a_crash(start: Start) -> None:
    model = ScriptedModel("Only the second turn is asked for.")
    done = '{"v": 1, "ok": true, "code": null, "content": "written", "sources": []}'
    async with start(model=model) as atom:
        run_id = await abandoned(atom, "write_file", done)
        run = await atom.settled(run_id)
        assert run["answer"] == "Only the second turn is asked for."
        assert [m.content for m in model.asked[0].messages][-1] == "written"
        assert not list(atom.workspaces.rglob("a.txt"))
        found = await row(atom, "SELECT crashes, lease_epoch FROM agent_execution")
        assert tuple(found) == (0, 2)  # it got on: what counts are crashes in a row


async def test_repeatable_call_is_repeated_with_the_same_key(start: Start) -> None:
    keys: list[str] = []

    async def note(_: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        keys.append(context.idempotency_key)
        return ToolOutput("noted")

    schema = {"type": "object", "properties": {"path": {}, "content": {}}, "additionalProperties": False}
    async with start("end") as atom:
        tool = Tool(Action("list_files", Risk.LOW, EffectClass.IDEMPOTENT), "d", schema, 5, note)
        atom.atom.worker.registry._tools["list_files"] = tool
        atom.atom.worker.registry._validators["list_files"] = type(atom.atom.worker.registry._validators["calculate"])(
            schema
        )
        run_id = await abandoned(atom, "list_files", None)
        run = await atom.settled(run_id)
        assert run["status"] == "completed"
        assert keys == [f"{run_id}:turn-0.call-0"]


async def test_run_whose_worker_dies_again_and_again_fails_and_blocks_nobody(start: Start) -> None:
    async with start("other run's answer") as atom:
        await atom.agent()
        atom.atom.worker.control.drain()
        poison = (await atom.start("worker", "poison"))["id"]
        await execute(
            atom,
            "UPDATE agent_execution SET status = 'running', crashes = 2, lease_epoch = 3, lease_owner = 'dead',"
            " lease_expires_at = now() - interval '1 second'",
        )
        atom.atom.worker.control.draining = False
        assert (await atom.settled(poison))["error"]["code"] == "crash_loop"
        assert (await atom.done("worker", "go"))["status"] == "completed"


async def test_drain_hands_the_run_over_at_a_step_boundary(start: Start) -> None:
    model = ScriptedModel(Reply(tool_calls=(call("current_time"),), delay=0.3), "continued")
    async with start(model=model) as atom:
        await atom.agent(tools=["current_time"])
        run_id = (await atom.start("worker", "go"))["id"]
        await atom.settled(run_id, "running")
        atom.atom.worker.control.drain()
        async with asyncio.timeout(5):
            while (await row(atom, "SELECT lease_owner FROM agent_execution"))[0] is not None:
                await asyncio.sleep(0.02)
        found = await row(atom, "SELECT status, crashes, (SELECT count(*) FROM execution_step) FROM agent_execution")
        assert tuple(found) == ("running", 0, 1)
        atom.atom.worker.control.draining = False
        assert (await atom.settled(run_id))["answer"] == "continued"


@pytest.mark.parametrize("epoch", [0, 2])
async def test_write_of_any_other_epoch_is_refused(start: Start, epoch: int) -> None:
    async with start(Reply("x", delay=5)) as atom:
        await atom.agent()
        run_id = (await atom.start("worker", "go"))["id"]
        await atom.settled(run_id, "running")
        with pytest.raises(FencedError):
            async with unit_of_work(atom.atom.parts.base.sessions) as session:
                await lease.write(session, Run, UUID(run_id), epoch=epoch, seconds=5, values={"answer": "forged"})
        await atom.http.post(f"/api/runs/{run_id}/cancel")
        assert (await atom.settled(run_id))["answer"] is None
