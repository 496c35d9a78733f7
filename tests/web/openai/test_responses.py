"""The newer protocol: the same run, told as items."""

import asyncio
import json
from typing import Any

import openai
import pytest

from atom.infra.db import unit_of_work
from atom.llm.adapters.script import Reply
from atom.llm.errors import TruncatedReplyError
from atom.llm.ports import Completion, FinishReason, Role, Usage
from atom.llm.testing import ScriptedModel, call
from tests.support.polling import eventually
from tests.web.openai.conftest import Open

LOOK = Reply(chunks=("Let me look.",), tool_calls=(call("current_time"),))
TOOLS = {"tools": ["current_time"]}


async def test_answer_with_usage(door: Open) -> None:
    said = Completion("42.", (), FinishReason.STOP, Usage(7, 3), "scripted", "scripted")
    async with door(said) as d:
        made = await d.openai.responses.create(model="worker", input="What is it?")
        shown = await d.openai.responses.retrieve(made.id)
    assert (made.output_text, made.status, made.model) == ("42.", "completed", "worker")
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (7, 3, 10)
    assert (shown.output_text, shown.status, shown.id) == ("42.", "completed", made.id)


async def test_items_of_the_input_are_the_context(door: Open) -> None:
    model = ScriptedModel("Paul.")
    async with door(model=model) as d:
        await d.openai.responses.create(
            model="worker",
            instructions="Be brief.",
            input=[
                {"role": "user", "content": "I am Paul."},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]},
                {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "a cat"},
                {"role": "user", "content": [{"type": "input_text", "text": "Who am I?"}]},
            ],
        )
    system, *turns = model.asked[0].messages
    assert system.content.endswith("Be brief.")
    assert [(turn.role, turn.content) for turn in turns] == [
        (Role.USER, "I am Paul."),
        (Role.ASSISTANT, "Hello."),
        (Role.ASSISTANT, "[Called the tool look with {}]"),
        (Role.USER, "[Result of a tool: a cat]"),
        (Role.USER, "Who am I?"),
    ]


async def test_previous_response_continues_its_conversation(door: Open) -> None:
    model = ScriptedModel("Noted.", "Paul.")
    async with door(model=model) as d:
        first = await d.openai.responses.create(model="worker", input="I am Paul.")
        second = await d.openai.responses.create(model="worker", input="Who am I?", previous_response_id=first.id)
        with pytest.raises(openai.NotFoundError):
            await d.openai.responses.create(
                model="worker", input="x", previous_response_id="resp_01a20a0d-8e88-7117-9c08-46edfd98777f"
            )
        with pytest.raises(openai.BadRequestError):
            await d.openai.responses.create(model="worker", input="x", previous_response_id="resp_nonsense")
    assert second.previous_response_id == first.id
    assert [turn.content for turn in model.asked[1].messages[1:]] == ["I am Paul.", "Noted.", "Who am I?"]


async def test_events_build_the_response_that_ends_them(door: Open) -> None:
    async with door(LOOK, ["It is ", "late."], agent=TOOLS) as d:
        stream = await d.openai.responses.create(model="worker", input="What time is it?", stream=True)
        events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    texts: dict[int, str] = {}
    done: dict[int, Any] = {}
    for event in events:
        if event.type == "response.output_text.delta":
            texts[event.output_index] = texts.get(event.output_index, "") + event.delta
        elif event.type == "response.output_item.done":
            done[event.output_index] = event.item
    last = events[-1]
    assert last.type == "response.completed"
    assert [done[index] for index in sorted(done)] == last.response.output
    assert texts == {0: "Let me look.", 2: "It is late."}
    assert [(item.type, getattr(item, "status", None)) for item in last.response.output] == [
        ("message", "completed"),
        ("mcp_call", "completed"),
        ("message", "completed"),
    ]


async def test_whole_response_shows_the_tools_that_were_used(door: Open) -> None:
    async with door(LOOK, "It is late.", agent=TOOLS) as d:
        made = await d.openai.responses.create(model="worker", input="What time is it?")
    first, used, last = made.output
    assert (first.type, used.type, last.type) == ("message", "mcp_call", "message")
    assert used.type == "mcp_call"
    assert (used.name, used.server_label, used.status) == ("current_time", "atom", "completed")
    assert used.output
    assert made.output_text.endswith("It is late.")


async def test_message_that_begins_again_is_closed_as_incomplete(door: Open) -> None:
    cut = TruncatedReplyError("cut", provider="scripted", model="scripted")
    async with door(Reply(chunks=("The answer is sev",), error=cut), "It is 42.") as d:
        stream = await d.openai.responses.create(model="worker", input="What?", stream=True)
        events = [event async for event in stream]
    last = events[-1]
    assert last.type == "response.completed"
    assert [(item.status, item.content[0].text) for item in last.response.output if item.type == "message"] == [
        ("incomplete", "The answer is sev"),
        ("completed", "It is 42."),
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_structured_answer_is_the_only_text(door: Open, stream: bool) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form: Any = {"format": {"type": "json_schema", "name": "number", "schema": schema}}
    async with door(LOOK, "forty-two", '{"n": 42}', agent=TOOLS) as d:
        if stream:
            events = await d.openai.responses.create(model="worker", input="?", text=form, stream=True)
            last = [event async for event in events][-1]
            assert last.type == "response.completed"
            text = last.response.output_text
        else:
            text = (await d.openai.responses.create(model="worker", input="?", text=form)).output_text
    assert json.loads(text) == {"n": 42}


async def test_background_response_is_followed_and_cancelled(door: Open) -> None:
    async with door("first", Reply("never", delay=60)) as d:
        made = await d.openai.responses.create(model="worker", input="a", background=True)
        assert made.status == "queued"
        await d.atom.settled(made.id.removeprefix("resp_"), "completed")
        assert (await d.openai.responses.retrieve(made.id)).output_text == "first"
        second = await d.openai.responses.create(model="worker", input="b", background=True)
        await d.atom.until(second.id.removeprefix("resp_"), "running")
        assert (await d.openai.responses.retrieve(second.id)).status == "in_progress"
        await d.openai.responses.cancel(second.id)
        await d.atom.settled(second.id.removeprefix("resp_"), "cancelled")
        assert (await d.openai.responses.retrieve(second.id)).status == "cancelled"


async def test_failed_run_is_an_error_at_once_and_a_failed_response_later(door: Open) -> None:
    async with door() as d:
        with pytest.raises(openai.APIStatusError) as caught:
            await d.openai.responses.create(model="worker", input="a")
        [run] = (await d.atom.http.get("/api/runs")).json()["items"]
        shown = await d.openai.responses.retrieve(f"resp_{run['id']}")
        stream = await d.openai.responses.create(model="worker", input="b", stream=True)
        last = [event async for event in stream][-1]
    assert caught.value.status_code == 502
    assert (shown.status, shown.error is not None) == ("failed", True)
    assert last.type == "response.failed"


async def test_approval_is_told_in_band_and_waits_in_the_background(door: Open) -> None:
    agent = {"tools": ["write_file"], "maturity": "intern"}
    async with door(call("write_file", path="a.txt", content="x"), "Written.", agent=agent) as d:
        made = await d.openai.responses.create(model="worker", input="write")
        more: Any = made.atom
        assert more["approval_id"] in made.output_text
        assert (await d.openai.responses.retrieve(made.id)).status == "in_progress"
        await d.atom.http.post(f"/api/approvals/{more['approval_id']}/approve", json={})
        await d.atom.settled(more["run_id"], "completed")
        assert (await d.openai.responses.retrieve(made.id)).output_text == "Written."


async def test_client_that_hangs_up_in_a_stream_ends_its_run(door: Open) -> None:
    async with door(Reply(chunks=("one ", "two ", "three"), chunk_delay=30)) as d:
        stream = await d.openai.responses.create(model="worker", input="count", stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        [run] = (await d.atom.http.get("/api/runs")).json()["items"]
        assert (await d.atom.settled(run["id"], "cancelled"))["status"] == "cancelled"


async def test_server_that_goes_away_says_so_and_the_run_goes_on(door: Open) -> None:
    async with door(Reply(chunks=("one ", "two"), chunk_delay=30)) as d:
        body = {"model": "worker", "input": "count", "stream": True}

        async def read() -> str:
            answer = await d.atom.http.post("/v1/responses", json=body)
            return answer.text

        reading = asyncio.create_task(read())
        sessions = d.atom.atom.parts.base.sessions
        await eventually(lambda: d.atom.atom.parts.hub.subscribers)
        d.atom.server.leave()
        text = await reading
        async with unit_of_work(sessions) as session:
            [(run, _)] = await d.atom.atom.parts.runs.page(session, agent=None, status=None, before=None, limit=1)
    assert "going away" in text
    assert run.status in {"running", "queued"}
    assert run.cancel_requested_at is None
