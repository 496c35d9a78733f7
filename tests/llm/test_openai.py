"""What only the Chat Completions protocol and its many imitations have."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from atom.llm.access import Access, KeyInfo, environment_access
from atom.llm.adapters import azure, bedrock
from atom.llm.adapters.faults import Route
from atom.llm.adapters.openai import OpenAIModel, Reading, build, is_strict, to_payload
from atom.llm.errors import (
    MalformedReplyError,
    ModelAuthError,
    ModelError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelUnavailableError,
    TruncatedReplyError,
)
from atom.llm.ports import ChatModel, ChatRequest, Completion, FinishReason, Message, Role, TextDelta, ToolCall, Usage
from atom.llm.testing import CannedProvider, ask, http, sse
from atom.settings import LlmSettings, Provider

Build = Callable[..., ChatModel]
ROUTE = Route("openai", "m-1", "host", "sk-secret", "OPENAI_API_KEY")


def chunk(delta: Mapping[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def fed(*chunks: Mapping[str, Any]) -> Completion:
    reading = Reading(ROUTE)
    for item in chunks:
        reading.feed(item)
    return reading.completion()


def call_delta(arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"function": function, **more}]}


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param(
            [
                call_delta('{"a":', index=0, id="1", name="f"),
                call_delta("1}", index=0),
                call_delta("{}", index=1, id="2", name="g"),
            ],
            id="official",
        ),
        pytest.param(
            [call_delta('{"a":1}', id="1", name="f"), call_delta("{}", id="2", name="g")], id="no index at all"
        ),
        pytest.param(
            [call_delta('{"a":1}', index=0, id="1", name="f"), call_delta("{}", index=0, id="2", name="g")],
            id="every call has index 0",
        ),
        pytest.param(
            [
                call_delta('{"a":', index=0, id="1", name="f"),
                call_delta("{", index=1, id="2", name="g"),
                call_delta("1}", index=0, id="1"),
                call_delta("}", index=1, id="2"),
            ],
            id="interleaved, the id repeated",
        ),
    ],
)
def test_tool_calls_of_every_dialect(deltas: list[dict[str, Any]]) -> None:
    reply = fed(*(chunk(delta) for delta in deltas), chunk(finish="tool_calls"))
    assert reply.tool_calls == (ToolCall("1", "f", '{"a":1}'), ToolCall("2", "g", "{}"))


def test_tool_call_without_arguments_or_id_is_usable() -> None:
    (call,) = fed(chunk(call_delta("", index=0, name="now")), chunk(finish="stop")).tool_calls
    assert (call.name, call.arguments) == ("now", "{}")
    assert call.id.startswith("call_")


def test_tool_calls_count_more_than_the_word_stop() -> None:
    reply = fed(chunk(call_delta("{}", index=0, id="1", name="f")), chunk(finish="stop"))
    assert reply.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(finish="tool_calls")],
        [chunk(call_delta("{}", index=0, id="1")), chunk(finish="tool_calls")],
        [chunk(call_delta("{}", index=n, id=str(n), name="f")) for n in range(129)],
    ],
    ids=["none named", "no name", "too many"],
)
def test_unusable_tool_calls_are_malformed(chunks: list[dict[str, Any]]) -> None:
    with pytest.raises(MalformedReplyError):
        fed(*chunks)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("eos", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
    ],
)
def test_finish_reasons(said: str, reason: FinishReason) -> None:
    assert fed(chunk({"content": "a"}), chunk(finish=said)).finish_reason is reason


@pytest.mark.parametrize("last", [[], [chunk(finish="insufficient_system_resource")]])
def test_reply_without_a_known_end_is_incomplete(last: list[dict[str, Any]]) -> None:
    with pytest.raises(TruncatedReplyError):
        fed(chunk({"content": "half an ans"}), *last)


def test_refusal_is_shown_and_marked() -> None:
    reply = fed(chunk({"refusal": "I will "}), chunk({"refusal": "not."}), chunk(finish="stop"))
    assert (reply.text, reply.finish_reason) == ("I will not.", FinishReason.CONTENT_FILTER)
    assert reply.notes == {"refusal": "I will not."}


def test_usage_is_unknown_until_reported() -> None:
    end = chunk(finish="stop", usage=None)
    assert fed(end).usage == Usage(None, None, None)
    counted = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    assert fed(end, {"choices": [], "usage": counted}).usage == Usage(9, 2, 4)
    assert fed(end, {"usage": {"prompt_tokens": 9}}).usage == Usage(9, None, None)


def test_reply_past_the_bound_is_refused() -> None:
    with pytest.raises(MalformedReplyError, match="characters"):
        fed(*(chunk({"content": "x" * 500_000}) for _ in range(5)))


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "boom", "type": "server_error"}}, ModelUnavailableError),
        ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, ModelRateLimitedError),
        ({"error": {"message": "upstream", "code": 502}}, ModelUnavailableError),
        ({"error": {"message": "too long", "code": "context_length_exceeded", "type": "x"}}, ModelRequestError),
        ({"error": {"message": "no", "type": "authentication_error"}}, ModelAuthError),
        ({"error": "a plain text"}, ModelUnavailableError),
        ({"object": "error", "message": "vLLM says no", "code": 400}, ModelRequestError),
    ],
)
async def test_error_inside_a_stream_has_its_class(
    event: dict[str, Any], kind: type[ModelError], adapter: Build, no_leak: Callable[[ModelError], None]
) -> None:
    async with CannedProvider([[sse(chunk({"content": "a"}), event)]]) as canned:
        with pytest.raises(ModelError) as caught:
            async for _ in adapter(Provider.OPENAI, canned.url).stream(ask("x")):
                pass
    assert type(caught.value) is kind
    no_leak(caught.value)


async def test_endpoint_that_refuses_stream_options_is_asked_without(adapter: Build) -> None:
    refusal = http(400, {"error": {"message": "Unknown parameter: stream_options"}})
    answer = sse(chunk({"content": "hi"}), chunk(finish="stop"), "data: [DONE]\n\n")
    async with CannedProvider([[refusal], [answer]]) as canned:
        model = adapter(Provider.OPENAI, canned.url)
        for _ in range(2):
            items = [item async for item in model.stream(ask("x"))]
            assert isinstance(items[-1], Completion)
            assert items[-1].usage == Usage()
        assert ["stream_options" in request for request in canned.requests] == [True, False, False]


async def test_other_refusals_are_not_asked_again(adapter: Build) -> None:
    async with CannedProvider([[http(400, {"error": {"message": "bad"}})]]) as canned:
        with pytest.raises(ModelRequestError):
            await anext(aiter(adapter(Provider.OPENAI, canned.url).stream(ask("x"))))
        assert len(canned.requests) == 1


async def test_every_chunk_is_a_sign_of_life(adapter: Build) -> None:
    answer = sse(
        chunk({"role": "assistant"}), chunk(call_delta("{}", index=0, id="1", name="f")), chunk(finish="tool_calls")
    )
    async with CannedProvider([[answer]]) as canned:
        items = [item async for item in adapter(Provider.OPENAI, canned.url).stream(ask("x"))]
    assert items[:-1] == [TextDelta("")] * 3


@pytest.mark.parametrize(
    ("url", "own"),
    [
        (None, True),
        ("https://eu.api.openai.com/v1", True),
        ("https://mine.openai.azure.com/openai/v1", True),
        ("http://localhost:11434/v1", False),
        ("https://api.openai.com.evil.example/v1", False),
        ("https://notapi.openai.com/v1", False),
    ],
)
async def test_new_token_limit_name_is_for_openai_itself(
    url: str | None, own: bool, llm_settings: Callable[..., LlmSettings]
) -> None:
    settings = llm_settings("http://unused", openai_base_url=url)
    model = build(environment_access(settings, Provider.OPENAI), settings)
    assert isinstance(model, OpenAIModel)
    payload = to_payload(ask("x"), limit=model.limit_name("x"))
    assert ("max_completion_tokens" in payload, "max_tokens" in payload) == (own, not own)
    await model.aclose()


def test_conversation_as_it_is_sent() -> None:
    calls = (ToolCall("c1", "f", '{"a": 1}'),)
    messages = (
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, "Go"),
        Message(Role.ASSISTANT, "", calls),
        Message(Role.TOOL, "done", tool_call_id="c1"),
    )
    assert to_payload(ChatRequest("m", messages, max_tokens=99), limit="max_tokens") == {
        "model": "m",
        "max_tokens": 99,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Go"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
        ],
    }


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
        ({"type": "array", "items": {"type": "object", "properties": {}}}, False),
        ({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": False}]}, True),
    ],
)
def test_strict_mode_only_for_schemas_it_takes(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) is strict


@pytest.mark.parametrize(
    ("provider", "base", "path", "header"),
    [
        (Provider.AZURE, "", "/openai/deployments/m-1/chat/completions?api-version=", ("api-key", "k-1")),
        (Provider.BEDROCK, "/openai/v1", "/openai/v1/chat/completions", ("authorization", "Bearer k-1")),
        (Provider.OPENAI, "/v1", "/v1/chat/completions", ("authorization", "Bearer k-1")),
    ],
)
async def test_each_of_its_hosts_is_asked_at_its_own_path_with_its_own_header(
    monkeypatch: pytest.MonkeyPatch, provider: Provider, base: str, path: str, header: tuple[str, str]
) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-of-the-environment")
    make = {Provider.AZURE: azure.build, Provider.BEDROCK: bedrock.build, Provider.OPENAI: build}[provider]
    async with CannedProvider([[sse(chunk({"content": "hi"}, "stop"), "data: [DONE]\n\n")]]) as canned:
        access = Access(KeyInfo(provider, base_url=f"{canned.url}{base}"), SecretStr("k-1"))
        model = make(access, LlmSettings())
        items = [item async for item in model.stream(ask("x", model="m-1"))]
        await model.aclose()
    assert isinstance(items[-1], Completion)
    assert items[-1].text == "hi"
    assert canned.targets[0].startswith(f"POST {path}")
    assert canned.headers[0][header[0]] == header[1]
    assert "sk-admin" not in repr(canned.headers)
