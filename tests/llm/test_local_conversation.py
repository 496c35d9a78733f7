"""What a chat model on this machine is asked, and how its reply is read, without a model."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.llm.adapters.local_conversation import Reading, conversation, schema_of
from atom.llm.ports import ChatRequest, Message, Role, ToolCall, ToolSpec

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
DRAW = ToolSpec(
    "draw",
    "Draw a point.",
    {"type": "object", "properties": {"at": {"$ref": "#/$defs/P"}}, "required": ["at"], "$defs": {"P": POINT}},
)
NOW = ToolSpec("now", "The time.", {"type": "object", "properties": {}})
ASK = Message(Role.USER, "Where?")


def request(*messages: Message, **more: Any) -> ChatRequest:
    return ChatRequest("m", messages or (ASK,), **more)


def read(raw: str, size: int = 1) -> tuple[Reading, str]:
    reading = Reading()
    return reading, "".join(reading.feed(raw[at : at + size]) for at in range(0, len(raw), size))


def test_roles_take_turns_whatever_the_history_is() -> None:
    call, other = ToolCall("1", "now", "{}"), ToolCall("2", "draw", "not json")
    turns = conversation(
        request(
            *(Message(Role.SYSTEM, "Be brief."), Message(Role.SYSTEM, "Be kind."), ASK, Message(Role.USER, "Now?")),
            *(Message(Role.ASSISTANT, "", (call, other)), Message(Role.TOOL, "12:00", tool_call_id="1")),
            *(Message(Role.TOOL, "done", tool_call_id="2"), Message(Role.ASSISTANT, "Noon."), ASK),
            tools=(NOW, DRAW),
        )
    )
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert turns[0]["content"].startswith("Be brief.\n\nBe kind.\n\nReply with one JSON object")
    assert '"name": "draw"' in turns[0]["content"]
    assert [json.loads(line)["tool"] for line in turns[2]["content"].splitlines()] == ["now", "draw"]
    assert turns[3]["content"] == "Result of now:\n12:00\n\nResult of draw:\ndone"
    assert json.loads(turns[4]["content"]) == {"answer": "Noon."}


def test_without_tools_the_words_stand_as_they_are() -> None:
    turns = conversation(request(ASK, Message(Role.ASSISTANT, "There."), Message(Role.USER, "\ud800?")))
    assert [turn["content"] for turn in turns] == ["Where?", "There.", "??"]
    assert schema_of(request()) is None
    assert schema_of(request(response_schema=POINT)) == POINT


@pytest.mark.parametrize(
    ("reply", "fits"),
    [
        ({"tool": "draw", "arguments": {"at": {"x": 1}}}, True),
        ({"tool": "now", "arguments": {}}, True),
        ({"answer": "There."}, True),
        ({"tool": "draw", "arguments": {"at": {"x": "1"}}}, False),
        ({"tool": "draw", "arguments": {"at": {"x": 1}, "and": 1}}, False),
        ({"tool": "erase", "arguments": {}}, False),
        ({"answer": "There.", "tool": "now"}, False),
        ({"answer": {"x": 1}}, False),
    ],
)
def test_the_schema_takes_a_call_of_an_offered_tool_or_an_answer(reply: dict[str, Any], fits: bool) -> None:
    schema = schema_of(request(tools=(NOW, DRAW)))
    assert schema is not None
    assert jsonschema.Draft202012Validator(schema).is_valid(reply) is fits


def test_a_structured_answer_beside_tools_has_its_own_schema() -> None:
    nested = {"type": "object", "properties": {"p": {"$ref": "#/$defs/P"}}, "required": ["p"], "$defs": {"P": POINT}}
    schema = schema_of(request(tools=(NOW,), response_schema=nested))
    assert schema is not None
    valid = jsonschema.Draft202012Validator(schema).is_valid
    assert valid({"answer": {"p": {"x": 1}}})
    assert not valid({"answer": {"p": {"x": "1"}}})
    reading, shown = read('{"answer": {"p": {"x": 1}}}')
    assert (shown, json.loads(reading.outcome()[0])) == ("", {"p": {"x": 1}})


@given(answer=st.text(), size=st.integers(1, 9), ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_an_answer_is_shown_as_it_comes_and_once(answer: str, size: int, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps({"answer": answer}, ensure_ascii=ascii_only, indent=indent)
    reading, shown = read(raw, size)
    rest, call = reading.outcome()
    assert (shown + rest, call) == (answer, None)
    if not any("\ud800" <= character <= "\udfff" for character in answer):
        assert rest == ""


def test_nothing_of_a_call_is_shown() -> None:
    reading, shown = read('{"tool": "draw", "arguments": {"at": {"x": 1}}}')
    text, call = reading.outcome()
    assert (shown, text) == ("", "")
    assert call is not None
    assert (call.name, json.loads(call.arguments)) == ("draw", {"at": {"x": 1}})


@pytest.mark.parametrize("raw", ["", "{", '{"answer": "cut', "[]", "{}", "Hello", '{"tool": 1}', "null"])
def test_a_reply_of_another_shape_is_an_error(raw: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read(raw)[0].outcome()
