"""Answers that come whole, on the three wires: the same rules as for a stream, and no bound but the total one."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from llmock.scenarios import Fail, Reply, ToolCall
from llmock.testing import LLMockServer

from atom.llm.errors import (
    MalformedReplyError,
    ModelAuthError,
    ModelError,
    ModelRateLimitedError,
    ModelTimeoutError,
    ModelUnavailableError,
    TruncatedReplyError,
)
from atom.llm.ports import ChatModel, ChatRequest, Completion, FinishReason, TextDelta, Usage
from atom.llm.testing import CannedProvider, ask, http, sse
from atom.settings import Provider
from tests.support.fault_catalogue import WIRES, wire_answer

Build = Callable[..., ChatModel]
Check = Callable[[ModelError], None]
BODIES = [
    b"", b"<html>", b"\xff\xfe", b"3", b"null", b"[1, 2]", b'"x"', b"{}", b"[" * 100_000,
    b"9" * 5_000, b'{"a":' * 50_000,
    b'{"choices": 3, "content": 3, "candidates": 3}', b'{"choices": [3], "content": [3], "candidates": [3]}',
    b'{"error": "plain"}', b'{"error": {}}', b'{"error": {"code": null}}', b'{"type": "error", "error": {"type": 7}}',
    b'{"usage": {"prompt_tokens": 1e400, "input_tokens": "x"}, "usageMetadata": {"promptTokenCount": "x"}}',
    b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": [1]}}]}, "finishReason": "STOP"}]}',
    b'{"candidates": [{"content": "x", "finishReason": 7}]}', b'{"candidates": [{"content": {"parts": "x"}}]}',
]  # fmt: skip
WRITTEN_TO_CACHE = {"cache_creation_input_tokens": 1}
CACHED: dict[Provider, dict[str, object]] = {
    Provider.OPENAI: {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}},
    Provider.ANTHROPIC: {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 5, **WRITTEN_TO_CACHE},
    Provider.GEMINI: {
        "promptTokenCount": 9,
        "candidatesTokenCount": 1,
        "thoughtsTokenCount": 1,
        "cachedContentTokenCount": 5,
    },
}


async def read(model: ChatModel, request: ChatRequest, *, stream: bool = False) -> tuple[list[str], Completion]:
    items = [item async for item in model.stream(replace(request, stream=stream))]
    assert isinstance(items[-1], Completion)
    return [item.text for item in items[:-1] if isinstance(item, TextDelta)], items[-1]


@pytest.mark.parametrize("provider", WIRES)
async def test_a_whole_answer_is_one_piece(provider: Provider, mock: LLMockServer, adapter: Build) -> None:
    calls = (ToolCall("search_text", {"query": "a"}), ToolCall("search_text", {"query": "b"}))
    mock.state.scenarios.add(Reply(text="Looking for it.", tool_calls=calls))
    pieces, reply = await read(adapter(provider, mock.url), ask("Find it", model="m-1"))
    assert pieces == ["Looking for it."]
    assert [json.loads(call.arguments) for call in reply.tool_calls] == [{"query": "a"}, {"query": "b"}]
    assert len({call.id for call in reply.tool_calls}) == 2
    assert (reply.text, reply.finish_reason, reply.provider) == (pieces[0], FinishReason.TOOL_CALLS, provider)
    assert reply.usage.input_tokens is not None
    assert reply.usage.output_tokens is not None
    (record,) = mock.state.journal.records(wait=2)
    assert not record.stream
    assert "stream_options" not in record.body


@pytest.mark.parametrize("provider", WIRES)
async def test_calls_without_ids_stay_apart(provider: Provider, adapter: Build) -> None:
    answer = json.loads(json.dumps(wire_answer(provider, "x", finish=True)).replace('"id": "c1", ', ""))
    for calls in _lists_of_calls(answer):
        calls.append(calls[-1])
    async with CannedProvider([[http(200, answer)]]) as canned:
        _, reply = await read(adapter(provider, canned.url), ask("x"))
    assert len(reply.tool_calls) == 2
    assert len({call.id for call in reply.tool_calls}) == 2


@pytest.mark.parametrize("provider", WIRES)
async def test_no_text_is_no_piece(provider: Provider, adapter: Build) -> None:
    async with CannedProvider([[http(200, wire_answer(provider, "", finish=True))]]) as canned:
        pieces, reply = await read(adapter(provider, canned.url), ask("x"))
    assert pieces == []
    assert [call.name for call in reply.tool_calls] == ["write_file"]


@pytest.mark.parametrize("provider", WIRES)
async def test_nothing_is_shown_of_a_whole_answer_that_cannot_be_used(provider: Provider, adapter: Build) -> None:
    async with CannedProvider([[http(200, wire_answer(provider, "half", finish=False))]]) as canned:
        stream = adapter(provider, canned.url).stream(replace(ask("x"), stream=False))
        with pytest.raises(TruncatedReplyError):
            await anext(aiter(stream))


@pytest.mark.parametrize("provider", WIRES)
@pytest.mark.parametrize("stream", [True, False])
async def test_tokens_read_from_a_cache_are_told(provider: Provider, stream: bool, adapter: Build) -> None:
    usage = CACHED[provider]
    whole = wire_answer(provider, "x", finish=True)
    if provider is Provider.OPENAI:
        last: list[object] = [{"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}]
        last.append({"choices": [], "usage": usage})
    elif provider is Provider.ANTHROPIC:
        last = [{"type": "message_start", "message": {"usage": usage | {"output_tokens": 1}}}]
        last.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}})
    else:
        last = [whole | {"usageMetadata": usage}]
    field = "usageMetadata" if provider is Provider.GEMINI else "usage"
    wire = sse(*last) if stream else http(200, whole | {field: usage})
    async with CannedProvider([[wire]]) as canned:
        _, reply = await read(adapter(provider, canned.url), ask("x"), stream=stream)
    assert reply.usage == Usage(9, 2, 5)


@pytest.mark.parametrize("provider", WIRES)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_whatever_comes_is_a_model_error(provider: Provider, stream: bool, body: bytes, adapter: Build) -> None:
    wire = sse("data: ", body.decode("latin-1"), "\n\n") if stream else http(200, body)
    async with CannedProvider([[wire]]) as canned:
        with pytest.raises(ModelError) as caught:
            await read(adapter(provider, canned.url), ask("x"), stream=stream)
    assert caught.value.failover
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.ANTHROPIC])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "rate_limit_error", "message": "slow"}, ModelRateLimitedError),
        ({"code": 502, "message": "gone"}, ModelUnavailableError),
        ({"type": "authentication_error", "message": "no"}, ModelAuthError),
        ("plain", ModelUnavailableError),
    ],
)
async def test_error_in_a_good_answer_keeps_its_class(
    provider: Provider, error: object, kind: type[ModelError], adapter: Build
) -> None:
    async with CannedProvider([[http(200, {"error": error})]]) as canned:
        with pytest.raises(ModelError) as caught:
            await read(adapter(provider, canned.url), ask("x"))
    assert type(caught.value) is kind


@pytest.mark.parametrize("provider", WIRES)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
async def test_no_status_gives_the_key_away(
    provider: Provider, stream: bool, status: int, mock: LLMockServer, adapter: Build, canary: str, no_leak: Check
) -> None:
    mock.state.scenarios.add(Fail(status, message=f"Bad key {canary} or {canary[:7]}****{canary[-4:]}.", times=None))
    with pytest.raises(ModelError) as caught:
        await read(adapter(provider, mock.url), ask("x"), stream=stream)
    assert caught.value.status == status
    assert len(mock.state.journal.records(wait=2)) == 1
    no_leak(caught.value)


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.ANTHROPIC])
async def test_body_beyond_any_honest_size_is_cut_off(provider: Provider, adapter: Build) -> None:
    async with CannedProvider([[http(200, b"x" * 9_000_000)]]) as canned:
        with pytest.raises(MalformedReplyError, match="bytes"):
            await read(adapter(provider, canned.url), ask("x"))


@pytest.mark.parametrize("provider", WIRES)
async def test_text_beyond_any_honest_size_is_refused(provider: Provider, adapter: Build) -> None:
    async with CannedProvider([[http(200, wire_answer(provider, "x" * 2_000_001, finish=True))]]) as canned:
        with pytest.raises(MalformedReplyError, match="characters"):
            await read(adapter(provider, canned.url), ask("x"))


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.ANTHROPIC])
async def test_only_the_total_bound_is_on_a_whole_answer(provider: Provider, adapter: Build, no_leak: Check) -> None:
    answer = http(200, wire_answer(provider, "late", finish=True))
    async with CannedProvider([[0.5, answer]]) as canned:
        model = adapter(provider, canned.url, first_byte_timeout=0.1, idle_timeout=0.1, timeout=5)
        assert (await read(model, ask("x")))[0] == ["late"]
        impatient = adapter(provider, canned.url, first_byte_timeout=5, idle_timeout=5, timeout=0.2)
        with pytest.raises(ModelTimeoutError) as caught:
            await read(impatient, ask("x"))
    no_leak(caught.value)


@pytest.mark.parametrize("provider", WIRES)
@pytest.mark.parametrize("stream", [True, False])
async def test_giving_up_hangs_up(provider: Provider, stream: bool, adapter: Build) -> None:
    opening: dict[Provider, object] = {
        Provider.OPENAI: {"choices": [{"delta": {"content": "a"}}]},
        Provider.ANTHROPIC: {"type": "message_start", "message": {}},
        Provider.GEMINI: {"candidates": [{"content": {"parts": [{"text": "a"}]}}]},
    }
    head = sse(opening[provider]) if stream else http(200, b"x" * 100)[:-50]
    async with CannedProvider([[head, 20.0]]) as canned:
        model = adapter(provider, canned.url)
        task = asyncio.create_task(read(model, ask("x"), stream=stream))
        while not canned.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(canned.gone.wait(), 2)


async def test_gemini_says_400_of_a_bad_key(adapter: Build, canary: str, no_leak: Check) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    error = {"code": 400, "message": f"API key not valid: {canary}", "status": "INVALID_ARGUMENT", "details": [info]}
    for stream in (True, False):
        async with CannedProvider([[http(400, {"error": error})]]) as canned:
            with pytest.raises(ModelAuthError) as caught:
                await read(adapter(Provider.GEMINI, canned.url), ask("x"), stream=stream)
        no_leak(caught.value)


@pytest.mark.parametrize("stream", [True, False])
async def test_limit_goes_under_the_name_that_the_endpoint_knows(stream: bool, adapter: Build) -> None:
    """A proxy before OpenAI's newer models wants their name of the limit; it is asked once more, once for a model."""
    said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    refusal = http(400, {"error": {"message": said, "type": "invalid_request_error", "param": "max_tokens"}})
    good = http(200, {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]})
    if stream:
        good = sse({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]})
    async with CannedProvider([[refusal], [good], [good], [good]]) as canned:
        model = adapter(Provider.OPENAI, canned.url)
        for name in ("new", "new", "old"):
            await read(model, ask("x", model=name), stream=stream)
    limits = [sorted({"max_tokens", "max_completion_tokens"} & request.keys()) for request in canned.requests]
    assert limits == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"], ["max_tokens"]]


async def test_a_limit_that_is_too_high_is_not_asked_again(adapter: Build) -> None:
    said = "max_tokens is too large: 4096. This model supports at most 2048 tokens."
    async with CannedProvider([[http(400, {"error": {"message": said}})]]) as canned:
        with pytest.raises(ModelError, match="too large"):
            await read(adapter(Provider.OPENAI, canned.url), ask("x"))
    assert len(canned.requests) == 1


def test_no_library_of_the_sdks_is_half_loaded_while_another_is_at_work() -> None:
    """OpenAI's looks for httpx among the loaded modules in every call; Google's loads it, in a thread, at first use."""
    code = "import sys, atom.llm.adapters.openai; sys.exit(not hasattr(sys.modules.get('httpx'), 'Timeout'))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def _lists_of_calls(answer: dict[str, Any]) -> list[list[Any]]:
    if "choices" in answer:
        return [choice["message"]["tool_calls"] for choice in answer["choices"]]
    if "candidates" in answer:
        return [candidate["content"]["parts"] for candidate in answer["candidates"]]
    return [answer["content"]]
