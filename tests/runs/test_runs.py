"""Runs from their start to their end, on a whole Atom with a scripted model."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from sqlalchemy import text

from atom.infra.db import unit_of_work
from atom.llm.adapters.script import Reply
from atom.llm.errors import ModelUnavailableError
from atom.llm.ports import Role, ToolCall, Usage
from atom.llm.testing import ScriptedModel, call
from atom.settings import LlmSettings, RunSettings
from atom.web.testing import RunningAtom

FAST: dict[str, Any] = {"lease_seconds": 2, "sweep_seconds": 0.2}
Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]


async def rows(atom: RunningAtom, query: str, **values: Any) -> list[Any]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        return list((await session.execute(text(query), values)).all())


async def test_run_calls_a_tool_and_answers_with_checked_sources(start: Start) -> None:
    async with start(call("read_file", path="notes.txt"), "The pool has 20 connections (notes.txt:2).") as atom:
        agent = await atom.agent(tools=["read_file"])
        folder = atom.workspaces / agent["id"]
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("Settings\npool_size = 20\n")
        run = await atom.done("worker", "How large is the pool?")
        assert run["status"] == "completed"
        assert run["answer"] == "The pool has 20 connections (notes.txt:2)."
        assert run["sources"] == [{"path": "notes.txt", "line": 2, "quote": "pool_size = 20", "cited": True}]
        assert [step["key"] for step in await atom.steps(run["id"])] == ["turn-0", "turn-0.call-0", "turn-1"]
        assert run["usage"]["model_calls"] == 2
        assert run["usage"]["tool_calls"] == 1
        assert await rows(atom, "SELECT action, decision, reason FROM audit_entry") == [
            ("read_file", "allow", "within_maturity")
        ]
        calls = await rows(atom, "SELECT step_key, outcome FROM llm_call ORDER BY step_key")
        assert calls == [("turn-0", "ok"), ("turn-1", "ok")]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (ToolCall("c1", "calculate", "{not json"), "tool_arguments"),
        (ToolCall("c1", "calculate", '{"expression": 7}'), "tool_arguments"),
        (ToolCall("c1", "launch_rocket", "{}"), "unknown_tool"),
        (
            ToolCall("c1", "write_file", '{"path": "a", "content": "b"}'),
            "unknown_tool",
        ),  # there is one, not for this agent
    ],
)
async def test_bad_call_goes_back_to_the_model_as_a_clear_error(start: Start, reply: ToolCall, code: str) -> None:
    model = ScriptedModel(reply, "I could not do that.")
    async with start(model=model) as atom:
        await atom.agent(tools=["calculate"])
        run = await atom.done("worker", "go")
        assert run["status"] == "completed"
        told = model.asked[1].messages[-1]
        assert told.role is Role.TOOL
        assert told.content.startswith("Error: ")
        assert (await atom.steps(run["id"]))[1]["result"]["code"] == code


async def test_model_that_never_calls_right_fails_the_run_after_a_bounded_number_of_tries(start: Start) -> None:
    model = ScriptedModel(*[ToolCall(f"c{n}", "nonsense", "{}") for n in range(10)])
    async with start(model=model, runs=RunSettings(max_invalid_calls=3, **FAST)) as atom:
        await atom.agent(tools=["calculate"])
        run = await atom.done("worker", "go")
        assert run["status"] == "failed"
        assert run["error"]["code"] == "model_misbehaved"
        assert len(model.asked) == 3


async def test_empty_replies_are_nudged_then_fail_the_run(start: Start) -> None:
    model = ScriptedModel("", "  ", "", "never reached")
    async with start(model=model) as atom:
        await atom.agent()
        run = await atom.done("worker", "go")
        assert run["error"]["code"] == "model_misbehaved"
        assert "empty" in model.asked[1].messages[-1].content


async def test_model_that_calls_tools_forever_reaches_the_turn_limit(start: Start) -> None:
    model = ScriptedModel(*[call("current_time") for _ in range(20)])
    async with start(model=model, runs=RunSettings(max_turns=4, **FAST)) as atom:
        await atom.agent(tools=["current_time"])
        run = await atom.done("worker", "go")
        assert run["error"]["code"] == "turn_limit"
        assert len(model.asked) == 4


async def test_tool_call_limit_counts_calls_inside_one_reply(start: Start) -> None:
    async with start([call("current_time") for _ in range(9)], runs=RunSettings(max_tool_calls=5, **FAST)) as atom:
        await atom.agent(tools=["current_time"])
        run = await atom.done("worker", "go")
        assert run["error"]["code"] == "tool_call_limit"
        assert run["usage"]["tool_calls"] == 5


async def test_token_limit_ends_the_run(start: Start) -> None:
    greedy = Reply(tool_calls=(call("current_time"),), usage=Usage(900, 200))
    async with start(greedy, "late", runs=RunSettings(max_tokens=1000, **FAST)) as atom:
        await atom.agent(tools=["current_time"])
        assert (await atom.done("worker", "go"))["error"]["code"] == "token_limit"


async def test_model_that_hangs_ends_at_the_wall_time(start: Start) -> None:
    async with start(Reply("late", delay=30), runs=RunSettings(wall_seconds=0.5, **FAST)) as atom:
        await atom.agent()
        run = await atom.done("worker", "go")
        assert run["error"]["code"] == "wall_time_limit"


DOWN = ModelUnavailableError("The provider does not answer.", provider="scripted", model="scripted")


def impatient(**changes: object) -> LlmSettings:
    return LlmSettings.model_validate({"provider": "scripted", "scripted_path": "unused.json", "attempts": 2} | changes)


async def test_run_whose_provider_is_down_waits_and_goes_on_by_itself(start: Start) -> None:
    async with start(DOWN, DOWN, "back again", llm=impatient()) as atom:
        await atom.agent()
        run = await atom.done("worker", "go")
        assert (run["status"], run["wait_reason"]) == ("waiting", "provider")
        assert "The provider does not answer." in run["wait_detail"]
        run = await atom.until(run["id"], "completed")
        assert run["answer"] == "back again"
        calls = await rows(atom, "SELECT outcome, attempt FROM llm_call ORDER BY id")
        assert calls == [("llm_unavailable", 1), ("llm_unavailable", 2), ("ok", 101)]


async def test_provider_that_stays_down_fails_the_run_with_its_code(start: Start) -> None:
    async with start(DOWN, DOWN, llm=impatient(provider_wait_seconds=0)) as atom:
        await atom.agent()
        run = await atom.done("worker", "go")
        assert run["status"] == "failed"
        assert run["error"]["code"] == "llm_unavailable"
        assert await rows(atom, "SELECT outcome FROM llm_call") == [("llm_unavailable",), ("llm_unavailable",)]


async def test_student_asks_for_a_risk_above_it_and_the_run_parks_without_a_worker(start: Start) -> None:
    async with start(call("http_get", url="https://example.com/"), "never") as atom:
        await atom.agent(tools=["http_get"], maturity="intern")
        run = await atom.done("worker", "go")
        assert (run["status"], run["wait_reason"]) == ("waiting", "approval")
        [asked] = await rows(atom, "SELECT action, status, reason, length(digest) FROM approval")
        assert asked == ("http_get", "pending", "above_maturity", 64)
        [lease] = await rows(atom, "SELECT lease_owner, lease_expires_at FROM agent_execution")
        assert lease == (None, None)
        assert await atom.atom.sweep.once() == 0
        cancelled = await atom.http.post(f"/api/runs/{run['id']}/cancel")
        assert cancelled.json()["status"] == "cancelled"
        assert await rows(atom, "SELECT status FROM approval") == [("cancelled",)]


async def test_denied_call_is_told_to_the_model_and_never_runs(start: Start) -> None:
    model = ScriptedModel(call("write_file", path="a.txt", content="x"), "Then not.")
    async with start(model=model) as atom:
        agent = await atom.agent(tools=["write_file"])
        run = await atom.done("worker", "go")
        assert run["status"] == "completed"
        assert "refused" in model.asked[1].messages[-1].content
        assert not (atom.workspaces / agent["id"] / "a.txt").exists()
        assert await rows(atom, "SELECT decision, reason FROM audit_entry") == [("deny", "far_above_maturity")]


async def test_agent_paused_in_the_middle_of_a_run_may_do_nothing_more(start: Start) -> None:
    async with start([call("current_time"), call("current_time")], Reply("x", delay=0.2), "end") as atom:
        await atom.agent(tools=["current_time"])
        started = await atom.start("worker", "go")
        await atom.http.post("/api/agents/worker/pause")
        run = await atom.settled(started["id"])
        decisions = await rows(atom, "SELECT decision FROM audit_entry WHERE action <> 'maturity' ORDER BY id")
        assert run["status"] == "completed"
        assert decisions in ([("deny",), ("deny",)], [("allow",), ("deny",)], [("allow",), ("allow",)])
        refused = await atom.http.post("/api/agents/worker/runs", json={"task": "again"})
        assert refused.json()["code"] == "agent_not_active"


async def test_cancel_stops_a_streaming_model_within_a_second(start: Start) -> None:
    model = ScriptedModel(Reply(chunks=tuple("word " for _ in range(500)), chunk_delay=0.05))
    async with start(model=model) as atom:
        await atom.agent()
        started = await atom.start("worker", "talk")
        await atom.settled(started["id"], "running")
        while not model.asked:
            await asyncio.sleep(0.01)
        before = asyncio.get_running_loop().time()
        await atom.http.post(f"/api/runs/{started['id']}/cancel")
        await atom.settled(started["id"], "cancelled")
        assert asyncio.get_running_loop().time() - before < 1.0
        assert model.closed == 1
        again = await atom.http.post(f"/api/runs/{started['id']}/cancel")
        assert again.status_code == 200


async def test_ended_run_cannot_be_cancelled(start: Start) -> None:
    async with start("done") as atom:
        await atom.agent()
        run = await atom.done("worker", "go")
        assert (await atom.http.post(f"/api/runs/{run['id']}/cancel")).json()["code"] == "run_ended"


async def test_conversation_carries_earlier_exchanges(start: Start) -> None:
    model = ScriptedModel("Blue.", "You asked for a colour.")
    async with start(model=model) as atom:
        await atom.agent()
        first = await atom.done("worker", "Name a colour")
        second = await atom.done("worker", "What did I ask?", conversation_id=first["conversation_id"])
        assert second["conversation_id"] == first["conversation_id"]
        said = [(m.role, m.content) for m in model.asked[1].messages[1:]]
        assert said == [(Role.USER, "Name a colour"), (Role.ASSISTANT, "Blue."), (Role.USER, "What did I ask?")]
        shown = (await atom.http.get(f"/api/conversations/{first['conversation_id']}")).json()
        assert [m["content"] for m in shown["messages"]] == [
            "Name a colour", "Blue.", "What did I ask?", "You asked for a colour."
        ]  # fmt: skip


async def test_conversation_of_another_agent_is_not_found(start: Start) -> None:
    async with start("x") as atom:
        await atom.agent("one")
        await atom.agent("two")
        run = await atom.done("one", "hi")
        body = {"task": "hi", "conversation_id": run["conversation_id"]}
        assert (await atom.http.post("/api/agents/two/runs", json=body)).json()["code"] == "conversation_not_found"


async def test_same_idempotency_key_starts_one_run(start: Start) -> None:
    async with start("a", "b") as atom:
        await atom.agent()

        async def post(task: str, key: str) -> Any:
            return await atom.http.post(
                "/api/agents/worker/runs", json={"task": task}, headers={"Idempotency-Key": key}
            )

        answers = await asyncio.gather(*(post("go", "k1") for _ in range(6)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert (await post("other", "k1")).json()["code"] == "idempotency_mismatch"
        assert (await post("go", "k2")).json()["id"] != answers[0].json()["id"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"task": "   "}, 422, "task_invalid"),
        ({"task": "x" * 200_000}, 413, "task_too_large"),
        ({"task": "x", "files": ["../../etc/passwd"]}, 422, "file_missing"),
        ({"task": "x", "files": ["nothing.txt"]}, 422, "file_missing"),
        ({"task": "x", "model": "nobody/model"}, 422, "llm_not_configured"),
        ({"task": "x", "surprise": 1}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
    ],
)
async def test_bad_start_is_refused_and_leaves_nothing(
    start: Start, body: dict[str, Any], status: int, code: str
) -> None:
    async with start() as atom:
        await atom.agent()
        answer = await atom.http.post("/api/agents/worker/runs", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert await rows(atom, "SELECT count(*) FROM agent_execution") == [(0,)]
        assert (await atom.http.post("/api/agents/nobody/runs", json={"task": "x"})).json()["code"] == "agent_not_found"


async def test_text_that_postgres_cannot_store_is_cleaned_not_lost(start: Start) -> None:
    async with start("nul \x00 and \ud800 surrogate") as atom:
        await atom.agent()
        run = await atom.done("worker", "with \x00 nul")
        assert run["status"] == "completed"
        assert run["answer"] == "nul \ufffd and ? surrogate"
        assert run["task"] == "with \ufffd nul"


async def test_uploaded_file_is_named_to_the_model_and_readable(start: Start) -> None:
    model = ScriptedModel("seen")
    async with start(model=model) as atom:
        await atom.agent(tools=["read_file"])
        sent = await atom.http.post("/api/agents/worker/files", files={"file": ("../../evil name.txt", b"hello\n")})
        path = sent.json()["path"]
        assert path.startswith("uploads/")
        assert path.endswith("/evil name.txt")
        await atom.done("worker", "read it", files=[path])
        assert path in model.asked[0].messages[-1].content
