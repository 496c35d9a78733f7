"""Any client that speaks chat completions talks to an agent; its run is a run like any other."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from huggingface_hub import AsyncInferenceClient

from atom.llm.adapters.script import Reply
from atom.llm.errors import TruncatedReplyError
from atom.llm.ports import Completion, FinishReason, Role, Usage
from atom.llm.testing import ScriptedModel, call
from atom.settings import LlmSettings, Provider, WebSettings
from tests.support.polling import eventually
from tests.web.openai.conftest import Open

USER = {"role": "user", "content": "What is it?"}


def counted(text: str, *, finish: FinishReason = FinishReason.STOP) -> Completion:
    return Completion(text, (), finish, Usage(7, 3), "scripted", "scripted")


async def test_each_agent_is_a_model(door: Open) -> None:
    async with door() as d:
        await d.atom.agent("retired")
        await d.atom.http.post("/api/agents/retired/retire")
        assert [model.id async for model in d.openai.models.list()] == ["worker"]
        assert (await d.openai.models.retrieve("worker")).owned_by == "atom"
        for unknown in ("nobody", "vendor/model"):
            with pytest.raises(openai.NotFoundError) as caught:
                await d.openai.models.retrieve(unknown)
            assert caught.value.code == "model_not_found"
        slash = await d.atom.http.get("/v1/models/vendor%2Fmodel")
    assert (slash.status_code, slash.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_body_that_is_too_large_is_refused_in_the_clients_own_shape(door: Open) -> None:
    async with door() as d:
        with pytest.raises(openai.APIStatusError) as caught:
            await d.openai.chat.completions.create(model="worker", messages=[{**USER, "content": "x" * 3_000_000}])
    assert (caught.value.status_code, caught.value.code, caught.value.type) == (
        413,
        "too_large",
        "invalid_request_error",
    )
    assert "ATOM_WEB__MAX_BODY_BYTES" in caught.value.message


async def test_answer_with_usage_and_its_run(door: Open) -> None:
    async with door(counted("42.")) as d:
        answer = await d.openai.chat.completions.create(model="worker", messages=[USER])
        run = await d.atom.run(answer.atom["run_id"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("42.", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 3, 10)
    assert answer.id == f"chatcmpl-{run['id']}"
    assert (run["task"], run["status"], run["requested_by"]) == ("What is it?", "completed", "admin:admin")


async def test_stream_is_the_answer_as_it_comes(door: Open) -> None:
    pieces = ["For", "ty", "-two."]
    async with door(pieces) as d:
        stream = await d.openai.chat.completions.create(
            model="worker", messages=[USER], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(texts) == "Forty-two."
    assert len(texts) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert (chunks[-1].choices, chunks[0].choices[0].delta.role) == ([], "assistant")


async def test_sent_history_is_the_context_and_cannot_outrank_the_agent(door: Open) -> None:
    model = ScriptedModel("Paul.")
    async with door(model=model, agent={"instructions": "You are strict."}) as d:
        await d.openai.chat.completions.create(
            model="worker",
            messages=[
                {"role": "system", "content": "Speak like a pirate."},
                {"role": "user", "content": "I am Paul."},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": [{"type": "text", "text": "Who am I?"}]},
            ],
        )  # fmt: skip
    system, *turns = model.asked[0].messages
    assert system.content.startswith("You are strict.")
    assert system.content.endswith("Speak like a pirate.")
    assert [(turn.role, turn.content) for turn in turns] == [
        (Role.USER, "I am Paul."),
        (Role.ASSISTANT, "[Called the tool look with {}]"),
        (Role.USER, "[Result of a tool: a cat]"),
        (Role.ASSISTANT, "Hello."),
        (Role.USER, "Who am I?"),
    ]


async def test_conversation_id_continues_a_stored_conversation(door: Open) -> None:
    model = ScriptedModel("Noted.", "Paul.")
    async with door(model=model) as d:
        first = await d.openai.chat.completions.create(
            model="worker", messages=[{"role": "user", "content": "I am Paul."}]
        )
        await d.openai.chat.completions.create(
            model="worker",
            messages=[{"role": "user", "content": "not what was said"}, {"role": "user", "content": "Who am I?"}],
            metadata={"conversation_id": first.atom["conversation_id"]},
        )
    assert [turn.content for turn in model.asked[1].messages[1:]] == ["I am Paul.", "Noted.", "Who am I?"]


@pytest.mark.parametrize("stream", [False, True])
async def test_structured_answer_fits_and_is_never_half(door: Open, stream: bool) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    async with door("forty-two", '```json\n{"n": 42}\n```') as d:
        asked: dict[str, Any] = {"model": "worker", "messages": [USER], "response_format": form}
        if stream:
            chunks = await d.openai.chat.completions.create(**asked, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
        else:
            answer = await d.openai.chat.completions.create(**asked)
            text = answer.choices[0].message.content or ""
    assert json.loads(text) == {"n": 42}


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools", "tools of the client"),
        ({"n": 3}, "n", "3 answers"),
        ({"logprobs": True}, "logprobs", "has none"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages", "not the user's"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0]", "wizard"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages[0].content[0]", "image_url"),
        ({"temperature": 9}, "temperature", "less than or equal to 2"),
        ({"response_format": {"type": "xml"}}, "response_format", "json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "no schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
         "response_schema", "response schema"),
        ({"metadata": {"conversation_id": "7"}}, "metadata.conversation_id", "conversation"),
    ],
)  # fmt: skip
async def test_what_agents_do_not_do_is_refused_in_the_protocols_words(
    door: Open, change: dict[str, Any], param: str, said: str
) -> None:
    async with door("never") as d:
        body: dict[str, Any] = {"model": "worker", "messages": [USER]} | change
        with pytest.raises(openai.BadRequestError) as caught:
            await d.openai.chat.completions.create(**body)
        assert (await d.atom.http.get("/api/runs")).json()["items"] == []
    assert caught.value.param == param
    assert said in caught.value.message
    assert caught.value.type == "invalid_request_error"


async def test_credential_and_permission_are_those_of_every_other_door(door: Open) -> None:
    async with door("never") as d:
        viewer = (await d.atom.http.post("/api/tokens", json={"name": "v", "role": "viewer"})).json()["token"]
        bad = d.openai.with_options(api_key="sk-wrong", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            await bad.models.list()
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await d.openai.with_options(api_key=viewer).chat.completions.create(model="worker", messages=[USER])
    assert caught.value.code == "permission_missing"


async def test_failed_run_is_an_error_that_no_client_repeats(door: Open) -> None:
    async with door() as d:  # a scripted model without replies refuses
        with pytest.raises(openai.APIStatusError) as caught:
            await d.openai.chat.completions.create(model="worker", messages=[USER])
        runs = (await d.atom.http.get("/api/runs")).json()["items"]
        stream = await d.openai.chat.completions.create(model="worker", messages=[USER], stream=True)
        with pytest.raises(openai.APIError) as streamed:
            [_ async for _ in stream]
    assert (caught.value.status_code, caught.value.code) == (502, "llm_request_refused")
    assert len(runs) == 1
    assert "failed" in streamed.value.message


@pytest.mark.parametrize("stream", [False, True])
async def test_approval_is_told_in_band_with_its_id_and_link(door: Open, stream: bool) -> None:
    agent = {"tools": ["write_file"], "maturity": "intern"}
    replies = [call("write_file", path="a.txt", content="x"), "Written."]
    async with door(*replies, agent=agent) as d:
        if stream:
            chunks = [c async for c in await d.openai.chat.completions.create(
                model="worker", messages=[USER], stream=True)]  # fmt: skip
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            more = next(chunk.atom for chunk in chunks if hasattr(chunk, "atom"))
        else:
            answer = await d.openai.chat.completions.create(model="worker", messages=[USER])
            text, more = answer.choices[0].message.content or "", answer.atom
        assert (more["status"], more["wait_reason"]) == ("waiting", "approval")
        assert more["approval_id"] in text
        assert more["approval_url"] in text
        assert (await d.atom.http.get(more["approval_url"])).json()["status"] == "pending"
        await d.atom.http.post(f"/api/approvals/{more['approval_id']}/approve", json={})
        assert (await d.atom.settled(more["run_id"], "completed"))["answer"] == "Written."


async def test_tools_run_on_this_side_and_what_is_said_between_them_is_streamed(door: Open) -> None:
    replies = [Reply(chunks=("Let me look.",), tool_calls=(call("current_time"),)), "It is late."]
    async with door(*replies, agent={"tools": ["current_time"]}) as d:
        stream = await d.openai.chat.completions.create(model="worker", messages=[USER], stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "Let me look.\n\nIt is late."


async def test_answer_that_begins_again_says_so_and_is_never_a_splice(door: Open) -> None:
    cut = TruncatedReplyError("cut", provider="scripted", model="scripted")
    model = ScriptedModel(Reply(chunks=("The answer is sev",), error=cut), "It is 42.")
    llm = LlmSettings(provider=Provider.SCRIPTED, scripted_path=Path("unused.json"))
    async with door(model=model, llm=llm) as d:
        stream = await d.openai.chat.completions.create(model="worker", messages=[USER], stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "The answer is sev\n\n[The answer was interrupted and begins again.]\n\nIt is 42."


@pytest.mark.parametrize("stream", [False, True])
async def test_client_that_hangs_up_ends_its_run(door: Open, stream: bool) -> None:
    async with door(Reply("never", delay=60)) as d:
        body = {"model": "worker", "messages": [USER], "stream": stream}
        task = asyncio.create_task(d.atom.http.post("/v1/chat/completions", json=body))
        runs = await eventually(lambda: _runs(d.atom.http))
        await d.atom.until(runs[0]["id"], "running")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        run = await d.atom.settled(runs[0]["id"], "cancelled")
    assert run["status"] == "cancelled"


async def test_request_with_a_key_goes_on_without_its_client_and_is_found_again(door: Open) -> None:
    async with door(Reply("slow", delay=1.5)) as d:
        body = {"model": "worker", "messages": [USER]}
        key = {"Idempotency-Key": "k1"}
        task = asyncio.create_task(d.atom.http.post("/v1/chat/completions", json=body, headers=key))
        runs = await eventually(lambda: _runs(d.atom.http))
        await d.atom.until(runs[0]["id"], "running")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        again = await d.atom.http.post("/v1/chat/completions", json=body, headers=key)
        assert len(await _runs(d.atom.http)) == 1
    assert again.json()["choices"][0]["message"]["content"] == "slow"


async def test_run_that_takes_too_long_for_its_call_goes_on(door: Open) -> None:
    web = WebSettings(port=0, drain_seconds=2, answer_seconds=0.5)
    async with door(Reply("late", delay=1.5), web=web) as d:
        answer = await d.openai.chat.completions.create(model="worker", messages=[USER])
        assert "takes longer" in (answer.choices[0].message.content or "")
        assert (await d.atom.settled(answer.atom["run_id"], "completed"))["answer"] == "late"


async def test_length_is_told(door: Open) -> None:
    async with door(counted("half", finish=FinishReason.LENGTH)) as d:
        answer = await d.openai.chat.completions.create(model="worker", messages=[USER], max_tokens=20)
    assert answer.choices[0].finish_reason == "length"


async def test_bounds_of_a_request_reach_the_model(door: Open) -> None:
    model = ScriptedModel("ok")
    async with door(model=model) as d:
        await d.openai.chat.completions.create(
            model="worker", messages=[USER], temperature=0.0, max_completion_tokens=99, top_p=0.5, user="u"
        )
    assert (model.asked[0].temperature, model.asked[0].max_tokens) == (0.0, 99)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_of_somebody_else_works_too(door: Open, stream: bool) -> None:
    """Hugging Face's, which shares no code with OpenAI's."""
    async with door(["For", "ty-two."]) as d:
        client: Any = AsyncInferenceClient(base_url=f"{d.atom.url}/v1", api_key=d.atom.token)
        said = await client.chat.completions.create(model="worker", messages=[USER], stream=stream)
        if stream:
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in said if chunk.choices])
        else:
            text = said.choices[0].message.content
        await client.close()
    assert text == "Forty-two."


async def _runs(http: httpx2.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await http.get("/api/runs")).json()["items"]
    return found
