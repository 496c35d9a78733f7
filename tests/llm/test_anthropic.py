"""What only the Messages protocol has."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from atom.llm.adapters.anthropic import Reading, to_payload, to_turns
from atom.llm.adapters.faults import Route
from atom.llm.errors import (
    MalformedReplyError,
    ModelAuthError,
    ModelError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelUnavailableError,
    TruncatedReplyError,
)
from atom.llm.ports import (
    ChatModel,
    ChatRequest,
    Completion,
    FinishReason,
    Message,
    Role,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)
from atom.llm.testing import CannedProvider, ask, sse
from atom.settings import Provider

Build = Callable[..., ChatModel]
START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude-x", "usage": {"input_tokens": 5, "output_tokens": 1}},
}


def fed(*events: Mapping[str, Any]) -> Completion:
    reading = Reading(Route("anthropic", "m-1", "host", "sk-secret", "ANTHROPIC_API_KEY"))
    for event in events:
        reading.feed(event)
    return reading.completion()


def end(reason: str, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 3, **usage}}


def text(piece: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}


def tool_start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": "tool_use", "input": {}, **block}}


def tool_piece(index: int, piece: str) -> dict[str, Any]:
    delta = {"type": "input_json_delta", "partial_json": piece}
    return {"type": "content_block_delta", "index": index, "delta": delta}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("refusal", FinishReason.CONTENT_FILTER),
    ],
)
def test_stop_reasons(said: str, reason: FinishReason) -> None:
    reply = fed(START, text("Hi"), end(said))
    assert (reply.finish_reason, reply.text, reply.model, reply.request_id) == (reason, "Hi", "claude-x", "msg_1")


@pytest.mark.parametrize("last", [[], [end("pause_turn")], [{"type": "message_stop"}]])
def test_reply_without_a_known_end_is_incomplete(last: list[dict[str, Any]]) -> None:
    with pytest.raises(TruncatedReplyError):
        fed(START, text("half an ans"), *last)


def test_input_counts_what_the_cache_held() -> None:
    last = end("end_turn", input_tokens=10, cache_read_input_tokens=100, cache_creation_input_tokens=20)
    assert fed(START, last).usage == Usage(input_tokens=130, output_tokens=3, cached_tokens=100)
    assert fed(START, end("end_turn")).usage == Usage(input_tokens=5, output_tokens=3, cached_tokens=None)
    assert fed({"type": "message_start", "message": {}}, end("end_turn")).usage == Usage(None, 3, None)


def test_tool_calls_between_other_blocks() -> None:
    reply = fed(
        START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        tool_start(1, id="t1", name="f"),
        tool_piece(1, '{"a":'),
        tool_piece(1, "1}"),
        {"type": "content_block_stop", "index": 1},
        tool_start(2, id="t2", name="now"),
        tool_start(3, id="t3", name="whole", input={"b": 2}),
        end("tool_use"),
    )
    assert reply.tool_calls == (
        ToolCall("t1", "f", '{"a":1}'),
        ToolCall("t2", "now", "{}"),
        ToolCall("t3", "whole", '{"b": 2}'),
    )
    assert (reply.text, reply.finish_reason) == ("", FinishReason.TOOL_CALLS)


def test_arguments_of_no_tool_call_are_malformed() -> None:
    with pytest.raises(MalformedReplyError):
        fed(START, tool_piece(7, "{}"))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", ModelUnavailableError),
        ("api_error", ModelUnavailableError),
        ("rate_limit_error", ModelRateLimitedError),
        ("authentication_error", ModelAuthError),
        ("invalid_request_error", ModelRequestError),
        ("a_new_error", ModelUnavailableError),
    ],
)
async def test_error_event_has_its_class(
    kind: str, expected: type[ModelError], adapter: Build, canary: str, no_leak: Callable[[ModelError], None]
) -> None:
    failure = {"type": "error", "error": {"type": kind, "message": f"with {canary} it failed"}}
    async with CannedProvider([[sse(START, text("a"), failure)]]) as canned:
        with pytest.raises(ModelError) as caught:
            async for _ in adapter(Provider.ANTHROPIC, canned.url).stream(ask("x")):
                pass
    assert type(caught.value) is expected
    no_leak(caught.value)


async def test_ping_is_a_sign_of_life(adapter: Build) -> None:
    wire = [sse(START), sse({"type": "ping"}, start=False), sse(end("end_turn"), start=False)]
    async with CannedProvider([wire]) as canned:
        items = [item async for item in adapter(Provider.ANTHROPIC, canned.url).stream(ask("x"))]
    assert items[:-1] == [TextDelta("")] * 3


def test_turns_of_one_role_are_joined_and_empty_ones_left_out() -> None:
    calls = (ToolCall("t1", "f", '{"a": 1}'), ToolCall("t2", "g", "not json"))
    turns = to_turns(
        [
            Message(Role.SYSTEM, "Be brief."),
            Message(Role.USER, "one"),
            Message(Role.USER, "two"),
            Message(Role.ASSISTANT, " ", calls),
            Message(Role.TOOL, "r1", tool_call_id="t1"),
            Message(Role.TOOL, "", tool_call_id="t2"),
            Message(Role.USER, "and?"),
            Message(Role.ASSISTANT, ""),
        ]
    )
    assert turns == [
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {"not_json": "not json"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "r1"},
                {"type": "tool_result", "tool_use_id": "t2", "content": ""},
                {"type": "text", "text": "and?"},
            ],
        },
    ]


def test_system_prompt_stands_apart() -> None:
    messages = (Message(Role.SYSTEM, "One."), Message(Role.USER, "x"), Message(Role.SYSTEM, "Two."))
    payload = to_payload(ChatRequest("m", messages))
    assert payload["system"] == "One.\n\nTwo."
    assert "system" not in to_payload(ask("x"))


def test_conversation_with_tool_calls_always_has_tools() -> None:
    messages = (
        Message(Role.USER, "x"),
        Message(Role.ASSISTANT, "", (ToolCall("t1", "f", "{}"),)),
        Message(Role.TOOL, "r", tool_call_id="t1"),
    )
    payload = to_payload(ChatRequest("m", messages))
    assert payload["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert payload["tool_choice"] == {"type": "none"}
    offered = to_payload(ChatRequest("m", messages, tools=(ToolSpec("g", "d", {"type": "object"}),)))
    assert [tool["name"] for tool in offered["tools"]] == ["g"]
    assert "tool_choice" not in offered
