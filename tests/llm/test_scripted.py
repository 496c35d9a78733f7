"""The scripted model: the fake of tests, and the file of drills that answers the same in every process."""

import json
from pathlib import Path
from typing import Any

import pytest

from atom.llm.access import Access, KeyInfo
from atom.llm.adapters.scripted import ScriptFileModel, build
from atom.llm.errors import (
    ModelError,
    ModelNotConfiguredError,
    ModelRequestError,
    ModelUnavailableError,
    TruncatedReplyError,
)
from atom.llm.ports import ChatModel, ChatRequest, Completion, FinishReason, Message, Role, TextDelta, ToolCall, Usage
from atom.llm.testing import ScriptedModel, ask, call
from atom.settings import LlmSettings, Provider


async def reply_of(model: ChatModel, request: ChatRequest) -> Completion:
    last = [item async for item in model.stream(request)][-1]
    assert isinstance(last, Completion)
    return last


def script(folder: Path, content: Any) -> ScriptFileModel:
    path = folder / "script.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return build(Access(KeyInfo(Provider.SCRIPTED)), LlmSettings(scripted_path=path))


def conversation(*turns: str) -> ChatRequest:
    """Alternating user and assistant texts."""
    roles = [Role.USER, Role.ASSISTANT]
    return ChatRequest("scripted", tuple(Message(roles[n % 2], text) for n, text in enumerate(turns)))


async def test_fake_gives_its_replies_in_order_and_remembers() -> None:
    whole = Completion("whole", (), FinishReason.LENGTH, Usage(), "other", "m")
    model = ScriptedModel("thinking", call("f", a=1), [call("g"), call("h")], whole, ["a", "b"])
    first, second, third, fourth, fifth = [await reply_of(model, ask(str(n))) for n in range(5)]
    assert (first.text, first.finish_reason) == ("thinking", FinishReason.STOP)
    assert (second.tool_calls[0].name, second.tool_calls[0].arguments) == ("f", '{"a": 1}')
    assert second.finish_reason is FinishReason.TOOL_CALLS
    assert [item.name for item in third.tool_calls] == ["g", "h"]
    assert fourth is whole
    assert fifth.text == "ab"
    assert [request.messages[-1].content for request in model.asked] == ["0", "1", "2", "3", "4"]
    with pytest.raises(ModelRequestError, match="has 5 replies"):
        await reply_of(model, ask("once more"))


async def test_reply_follows_from_the_conversation_alone(tmp_path: Path) -> None:
    rules = {"rules": [{"user": "(?i)DELETE", "replies": ["sure?", "deleted"]}, {"replies": ["one", "two"]}]}
    for _ in range(2):  # the second one is the restarted process
        model = script(tmp_path, rules)
        assert (await reply_of(model, conversation("hi", "one", "and?"))).text == "one"  # a new user message
        assert (await reply_of(model, ask("please delete"))).text == "sure?"
        steps = (Message(Role.USER, "hi"), Message(Role.ASSISTANT, "x"), Message(Role.TOOL, "r", tool_call_id="1"))
        assert (await reply_of(model, ChatRequest("scripted", steps))).text == "two"


async def test_turns_repeat_and_the_end_of_a_script(tmp_path: Path) -> None:
    tool = {"tool_calls": [{"name": "f", "arguments": {"n": 1}}, {"name": "g", "arguments": "{gar"}]}
    model = script(
        tmp_path,
        {"rules": [{"turns": 2, "replies": ["third"]}, {"user": "loop", "replies": [tool], "repeat": True}]},
    )
    assert (await reply_of(model, conversation("a", "b", "c", "d", "loop"))).text == "third"
    looping = ChatRequest("scripted", (Message(Role.USER, "loop"), *[Message(Role.ASSISTANT, "")] * 7))
    assert (await reply_of(model, looping)).tool_calls == (
        ToolCall("call_7_0", "f", '{"n": 1}'),
        ToolCall("call_7_1", "g", "{gar"),
    )
    with pytest.raises(ModelRequestError, match="no reply for turn 1"):
        await reply_of(model, conversation("a", "b", "c"))


async def test_error_comes_after_its_pieces(tmp_path: Path) -> None:
    broken = {"chunks": ["half "], "error": {"kind": "truncated", "status": 200, "message": "cut"}}
    model = script(tmp_path, {"rules": [{"replies": [broken]}]})
    stream = model.stream(ask("x"))
    assert await anext(stream) == TextDelta("half ")
    with pytest.raises(TruncatedReplyError, match="cut") as caught:
        await anext(stream)
    assert (caught.value.provider, caught.value.status) == ("scripted", 200)


@pytest.mark.parametrize("restarted", [False, True])
async def test_attempts_are_counted_across_a_restart(tmp_path: Path, restarted: bool) -> None:
    attempts = [{"error": {"kind": "unavailable", "retry_after": 1}}, "back"]
    rules = {"ledger": "asked.jsonl", "rules": [{"replies": [{"attempts": attempts}]}]}
    model = script(tmp_path, rules)
    with pytest.raises(ModelUnavailableError):
        await reply_of(model, ask("x"))
    model = script(tmp_path, rules) if restarted else model
    assert (await reply_of(model, ask("x"))).text == "back"
    assert (await reply_of(model, ask("x"))).text == "back"
    with pytest.raises(ModelUnavailableError):
        await reply_of(model, ask("another"))


async def test_hung_up_request_counts_as_an_attempt(tmp_path: Path) -> None:
    rules = {"rules": [{"replies": [{"attempts": [{"chunks": ["a", "b"], "chunk_delay": 60}, "quick"]}]}]}
    model = script(tmp_path, rules)
    stream = model.stream(ask("x"))
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await reply_of(model, ask("x"))).text == "quick"


async def test_ledger_has_one_line_for_each_request(tmp_path: Path) -> None:
    rules = {
        "ledger": "asked.jsonl",
        "rules": [{"replies": [{"text": "hi\nthere", "input_tokens": 11, "output_tokens": 2}]}],
    }
    model = script(tmp_path, rules)
    await reply_of(model, ask("ünïcode\nline"))
    await reply_of(model, ask("again"))
    first, second = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text("utf-8").splitlines()]
    assert (first["outcome"], first["text"], first["user"], first["turns"]) == (
        "answered",
        "hi\nthere",
        "ünïcode\nline",
        0,
    )
    assert first["usage"] == {"input_tokens": 11, "output_tokens": 2, "cached_tokens": None}
    assert first["digest"] != second["digest"]


async def test_unwritable_ledger_is_a_clear_failure(tmp_path: Path) -> None:
    model = script(tmp_path, {"ledger": "no/such/folder", "rules": [{"replies": ["a"]}]})
    with pytest.raises(ModelError, match="ledger"):
        await reply_of(model, ask("x"))


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("{", "the file"),
        ({"rules": [{"replies": []}]}, "rules.0.replies"),
        ({"rules": [{"replies": ["a"], "usr": "x"}]}, "rules.0.usr"),
        ({"rules": [{"user": "(", "replies": ["a"]}]}, "rules.0.user"),
        ({"rules": [{"replies": [{"delay": -1}]}]}, "rules.0.replies.0"),
        ({"rules": [{"replies": [{"error": {"kind": "odd"}}]}]}, "rules.0.replies.0"),
    ],
)
def test_wrong_script_says_where(content: Any, place: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotConfiguredError) as caught:
        script(tmp_path, content)
    assert f"script.json is wrong at {place}" in caught.value.message


def test_missing_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotConfiguredError, match=r"nothing\.json cannot be read"):
        build(Access(KeyInfo(Provider.SCRIPTED)), LlmSettings(scripted_path=tmp_path / "nothing.json"))
    with pytest.raises(ModelNotConfiguredError, match="ATOM_LLM__SCRIPTED_PATH is not set"):
        build(Access(KeyInfo(Provider.SCRIPTED)), LlmSettings())
