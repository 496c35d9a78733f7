"""Both SDK adapters over real HTTP: what arrives, and the class of every failure."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, cast

import pytest
from llmock.scenarios import Fail, Reply, StreamFault, ToolCall, ToolFault
from llmock.testing import LLMockServer

from atom.llm.errors import (
    MalformedReplyError,
    ModelAuthError,
    ModelError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
    TruncatedReplyError,
)
from atom.llm.ports import ChatModel, ChatRequest, Completion, FinishReason, Message, Role, TextDelta, ToolSpec, Usage
from atom.llm.testing import CannedProvider, ask, http, sse
from atom.settings import Provider

SDKS = [Provider.OPENAI, Provider.ANTHROPIC]
LOOKUP = ToolSpec(
    "search_text",
    "Searches the files.",
    {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)
Build = Callable[..., ChatModel]
Check = Callable[[ModelError], None]


async def read(model: ChatModel, request: ChatRequest) -> tuple[list[str], Completion]:
    items = [item async for item in model.stream(request)]
    assert isinstance(items[-1], Completion)
    return [item.text for item in items[:-1] if isinstance(item, TextDelta)], items[-1]


def sent(mock: LLMockServer) -> dict[str, Any]:
    return cast("dict[str, Any]", mock.state.journal.records(wait=2)[-1].body)


@pytest.mark.parametrize("provider", SDKS)
async def test_text_arrives_in_pieces_with_usage(provider: Provider, mock: LLMockServer, adapter: Build) -> None:
    mock.state.scenarios.add(Reply(text="The port is 8000 on every host."))
    pieces, reply = await read(adapter(provider, mock.url), ask("Which port is it?", model="m-1"))
    assert "".join(pieces) == reply.text == "The port is 8000 on every host."
    assert len([piece for piece in pieces if piece]) > 3
    assert (reply.finish_reason, reply.tool_calls, reply.provider, reply.model) == (
        FinishReason.STOP,
        (),
        provider,
        "m-1",
    )
    assert reply.usage == Usage(input_tokens=4, output_tokens=7, cached_tokens=None)
    assert reply.request_id


@pytest.mark.parametrize("provider", SDKS)
async def test_tool_calls_are_put_together_from_fragments(
    provider: Provider, mock: LLMockServer, adapter: Build
) -> None:
    arguments = [{"query": "a long query that is cut into fragments"}, {"query": "second"}]
    calls = tuple(ToolCall("search_text", values) for values in arguments)
    mock.state.scenarios.add(Reply(text="Looking.", tool_calls=calls))
    request = ChatRequest("m-1", (Message(Role.USER, "Find it"),), tools=(LOOKUP,))
    _, reply = await read(adapter(provider, mock.url), request)
    assert [(call.name, json.loads(call.arguments)) for call in reply.tool_calls] == [
        ("search_text", values) for values in arguments
    ]
    assert len({call.id for call in reply.tool_calls}) == 2
    assert (reply.text, reply.finish_reason) == ("Looking.", FinishReason.TOOL_CALLS)


@pytest.mark.parametrize("provider", SDKS)
async def test_garbage_arguments_reach_the_loop_as_the_model_wrote_them(
    provider: Provider, mock: LLMockServer, adapter: Build
) -> None:
    mock.state.scenarios.add(ToolFault("malformed_arguments"))
    request = ChatRequest("m-1", (Message(Role.USER, "search"),), tools=(LOOKUP,))
    _, reply = await read(adapter(provider, mock.url), request)
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.tool_calls[0].arguments)


@pytest.mark.parametrize("provider", SDKS)
async def test_cut_off_reply_keeps_no_tool_call(provider: Provider, mock: LLMockServer, adapter: Build) -> None:
    calls = (ToolCall("delete_file", {"path": "a"}),)
    mock.state.scenarios.add(Reply(tool_calls=calls, finish_reason="length"))
    _, reply = await read(adapter(provider, mock.url), ask("x"))
    assert (reply.tool_calls, reply.finish_reason) == ((), FinishReason.LENGTH)
    assert reply.notes["dropped_tool_calls"] == 1


@pytest.mark.parametrize("provider", SDKS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ModelRequestError),
        (401, ModelAuthError),
        (402, ModelAuthError),
        (403, ModelAuthError),
        (404, ModelRequestError),
        (408, ModelUnavailableError),
        (409, ModelUnavailableError),
        (413, ModelRequestError),
        (422, ModelRequestError),
        (429, ModelRateLimitedError),
        (500, ModelUnavailableError),
        (503, ModelUnavailableError),
        (529, ModelUnavailableError),
    ],
)
async def test_status_becomes_its_class(
    provider: Provider,
    status: int,
    kind: type[ModelError],
    mock: LLMockServer,
    adapter: Build,
    canary: str,
    no_leak: Check,
) -> None:
    said = f"Incorrect API key provided: {canary}, or {canary[:7]}****{canary[-4:]}. " + "blah " * 200
    mock.state.scenarios.add(Fail(status, message=said, times=None))
    with pytest.raises(ModelError) as caught:
        await read(adapter(provider, mock.url), ask("x", model="m-1"))
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.provider, error.model) == (status, provider, "m-1")
    assert len(error.message) < 400
    assert len(mock.state.journal.records(wait=2)) == 1  # the SDK's own retries are off
    no_leak(error)


@pytest.mark.parametrize("provider", SDKS)
async def test_rate_limit_says_when_to_come_back(provider: Provider, mock: LLMockServer, adapter: Build) -> None:
    mock.state.scenarios.add(Fail(429, retry_after=2.5))
    with pytest.raises(ModelRateLimitedError) as caught:
        await read(adapter(provider, mock.url), ask("x"))
    assert caught.value.retry_after == 2.5


@pytest.mark.parametrize("provider", SDKS)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (StreamFault("disconnect", after_chunks=2), ModelUnavailableError),
        (StreamFault("disconnect", after_chunks=0), ModelUnavailableError),
        (StreamFault("truncate", after_chunks=3), TruncatedReplyError),
        (StreamFault("malformed", after_chunks=2), MalformedReplyError),
    ],
)
async def test_broken_stream_is_a_failed_attempt(
    provider: Provider, fault: StreamFault, kind: type[ModelError], mock: LLMockServer, adapter: Build, no_leak: Check
) -> None:
    mock.state.scenarios.add(Reply(text="one two three four five six"), fault)
    with pytest.raises(ModelError) as caught:
        await read(adapter(provider, mock.url), ask("x"))
    assert type(caught.value) is kind
    assert caught.value.failover
    no_leak(caught.value)


@pytest.mark.parametrize("provider", SDKS)
async def test_silent_connection_times_out(provider: Provider, adapter: Build, no_leak: Check) -> None:
    async with CannedProvider([[5.0]]) as canned:
        model = adapter(provider, canned.url, first_byte_timeout=0.2, idle_timeout=0.2)
        with pytest.raises(ModelTimeoutError) as caught:
            await read(model, ask("x"))
    no_leak(caught.value)


@pytest.mark.parametrize("provider", SDKS)
async def test_refused_connection_names_the_host(provider: Provider, adapter: Build, no_leak: Check) -> None:
    async with CannedProvider([[]]) as canned:
        url = canned.url
    with pytest.raises(ModelUnavailableError, match=r"127\.0\.0\.1:\d+") as caught:
        await read(adapter(provider, url), ask("x"))
    no_leak(caught.value)


@pytest.mark.parametrize("provider", SDKS)
async def test_redirect_does_not_carry_the_key_away(provider: Provider, adapter: Build) -> None:
    async with CannedProvider([[http(200)]]) as elsewhere:
        away = http(307, headers={"location": f"{elsewhere.url}/v1/chat/completions"})
        async with CannedProvider([[away]]) as canned:
            with pytest.raises(ModelRequestError, match="_BASE_URL"):
                await read(adapter(provider, canned.url), ask("x"))
        assert elsewhere.headers == []


@pytest.mark.parametrize("provider", SDKS)
@pytest.mark.parametrize("body", [b"<html>502 Bad Gateway</html>" * 5000, b"\xff\xfe", b"", {"error": "plain"}, [1, 2]])
async def test_odd_error_bodies_still_have_their_class(provider: Provider, body: object, adapter: Build) -> None:
    async with CannedProvider([[http(502, body)]]) as canned:
        with pytest.raises(ModelUnavailableError) as caught:
            await read(adapter(provider, canned.url), ask("x"))
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("provider", SDKS)
@pytest.mark.parametrize("wire", [http(200, b"<html>hello</html>"), http(200, {"ok": True}), sse()])
async def test_answer_that_is_no_stream_is_no_reply(provider: Provider, wire: bytes, adapter: Build) -> None:
    async with CannedProvider([[wire]]) as canned:
        with pytest.raises(TruncatedReplyError):
            await read(adapter(provider, canned.url), ask("x"))


@pytest.mark.parametrize("provider", SDKS)
@pytest.mark.parametrize(
    "event", ["data: 7\n\n", "data: [1]\n\n", "data: \xff{\n\n", 'data: {"choices": 3, "type": 4}\n\n']
)
async def test_events_of_another_shape_are_malformed(provider: Provider, event: str, adapter: Build) -> None:
    async with CannedProvider([[sse(f"event: message_start\n{event}")]]) as canned:
        with pytest.raises(MalformedReplyError):
            await read(adapter(provider, canned.url), ask("x"))


@pytest.mark.parametrize("provider", SDKS)
async def test_endless_event_is_cut_off(provider: Provider, adapter: Build) -> None:
    wire = sse("event: message_start\ndata: " + "x" * 9_000_000)
    async with CannedProvider([[wire]]) as canned:
        with pytest.raises(MalformedReplyError, match="bytes"):
            await read(adapter(provider, canned.url), ask("x"))


@pytest.mark.parametrize("provider", SDKS)
async def test_cancelling_the_reader_hangs_up(provider: Provider, adapter: Build) -> None:
    async with CannedProvider([[sse(": hello\n\n"), 20.0]]) as canned:
        task = asyncio.create_task(read(adapter(provider, canned.url), ask("x")))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(canned.gone.wait(), 2)


@pytest.mark.parametrize("provider", SDKS)
async def test_stopping_to_read_hangs_up(provider: Provider, adapter: Build) -> None:
    opening = {
        Provider.OPENAI: {"choices": [{"delta": {"content": "a"}}]},
        Provider.ANTHROPIC: {"type": "message_start", "message": {}},
    }[provider]
    async with CannedProvider([[sse(opening), 20.0]]) as canned:
        stream = adapter(provider, canned.url).stream(ask("x"))
        async with aclosing(cast("Any", stream)) as items:
            assert isinstance(await anext(items), TextDelta)
        await asyncio.wait_for(canned.gone.wait(), 2)


@pytest.mark.parametrize("provider", SDKS)
async def test_structured_output_is_asked_for(provider: Provider, mock: LLMockServer, adapter: Build) -> None:
    mock.state.scenarios.add(Reply(text='{"port": 8000}'))
    schema = {
        "type": "object",
        "properties": {"port": {"type": "integer"}},
        "required": ["port"],
        "additionalProperties": False,
    }
    request = ChatRequest("m-1", (Message(Role.USER, "x"),), response_schema=schema, temperature=0.0)
    _, reply = await read(adapter(provider, mock.url), request)
    assert json.loads(reply.text) == {"port": 8000}
    body = sent(mock)
    assert body["temperature"] == 0.0
    if provider is Provider.OPENAI:
        wanted = {"name": "reply", "schema": schema, "strict": True}
        assert body["response_format"] == {"type": "json_schema", "json_schema": wanted}
    else:
        assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize("provider", SDKS)
async def test_only_the_configured_key_and_address_are_used(
    provider: Provider, adapter: Build, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/elsewhere")
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "another-key")
    async with CannedProvider([[http(503)]]) as canned:
        with pytest.raises(ModelUnavailableError):
            await read(adapter(provider, canned.url), ask("x"))
    assert [name for name, value in canned.headers[0].items() if canary in value] == ["authorization"]
    assert "another-key" not in repr(canned.headers)
    assert canary not in repr(canned.requests)
