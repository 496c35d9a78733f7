"""Transcripts in three formats become the same kind of thing, and what is wrong with one is said with its place."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atom.memory.transcripts import PART, Format, TranscriptInvalidError, read

NOW = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)


def test_json_lines() -> None:
    lines = [
        {"title": "Keys", "outcome": "success", "ref": "a", "turns": [
            {"speaker": "Ann", "text": "Where?", "at": "2026-01-02T03:04:05Z"}, {"speaker": "Ben", "text": "There."}]},
        {"turns": [{"speaker": "Ann", "text": "Hi", "kind": "task"}]},
    ]  # fmt: skip
    first, second = read("\n\n".join(map(json.dumps, lines)), Format.JSONL, now=NOW)
    assert (first.title, first.outcome, first.ref) == ("Keys", "success", "a")
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert [(turn.speaker, turn.text, turn.at) for turn in first.turns] == [
        ("Ann", "Where?", at), ("Ben", "There.", at + timedelta(seconds=1)),
    ]  # fmt: skip
    assert (second.turns[0].at, second.turns[0].kind) == (NOW, "task")


def test_a_turn_a_line_is_an_episode_up_to_a_pause() -> None:
    def line(minute: int, text: str) -> dict[str, str]:
        return {"speaker": "Ann", "text": text, "at": (NOW + timedelta(minutes=minute)).isoformat()}

    told = [line(0, "One."), line(30, "Two."), line(61, "Three."), {"turns": [line(0, "Four.")]}, line(0, "Five.")]
    found = read("\n".join(map(json.dumps, told)), Format.JSONL, now=NOW)
    assert [[turn.text for turn in one.turns] for one in found] == [["One.", "Two."], ["Three."], ["Four."], ["Five."]]
    assert len({one.ref for one in found}) == 4


def test_a_line_that_is_neither_says_what_a_line_is() -> None:
    with pytest.raises(TranscriptInvalidError, match="line 2: it has no turns") as caught:
        read('{"turns": []}\n{"role": "user"}', Format.JSONL, now=NOW)
    assert '"speaker"' in str(caught.value.hint)


def test_the_same_content_has_the_same_ref_whenever_it_is_read() -> None:
    line = json.dumps({"turns": [{"speaker": "Ann", "text": "Hi"}]})
    [one], [later] = read(line, Format.JSONL, now=NOW), read(line, Format.JSONL, now=NOW + timedelta(days=1))
    [other] = read(line.replace("Hi", "Ho"), Format.JSONL, now=NOW)
    assert one.ref == later.ref != other.ref


MESSAGES = [
    {"role": "user", "content": [{"type": "text", "text": "Where?"}, {"type": "image_url", "image_url": {}}]},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "find", "arguments": '{"q":1}'}}]},
    {"role": "tool", "content": "cellar", "name": "find"},
    {"role": "assistant", "content": "In the cellar."},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(MESSAGES),
        json.dumps({"messages": MESSAGES}),
        json.dumps([{"messages": MESSAGES}]),
        json.dumps({"messages": MESSAGES}) + "\n",
    ],
    ids=["messages", "conversation", "list", "line"],
)
def test_openai_messages(text: str) -> None:
    [found] = read(text, Format.OPENAI, now=NOW)
    assert [(turn.kind, turn.speaker, turn.text) for turn in found.turns] == [
        ("message", "user", "Where?"),
        ("call", "find", '{"q":1}'),
        ("result", "find", "cellar"),
        ("reply", "assistant", "In the cellar."),
    ]


def test_openai_json_lines_are_a_conversation_each() -> None:
    line = json.dumps({"messages": MESSAGES})
    assert len(read(f"{line}\n{line.replace('cellar', 'attic')}\n", Format.OPENAI, now=NOW)) == 2


def test_locomo_sessions_are_episodes_and_turns_keep_their_ids() -> None:
    sample = {
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Ann",
            "session_2_date_time": "9:05 am on 3 June, 2023",
            "session_2": [{"speaker": "Ben", "dia_id": "D2:1", "text": "Look!", "blip_caption": "a dog"}],
            "session_10_date_time": "1:56 pm on 8 May, 2024",
            "session_10": [{"speaker": "Ann", "dia_id": "D10:1", "text": "Hi"}],
            "session_11_date_time": "1:56 pm on 9 May, 2024",
            "session_11": [],
        },
    }
    second, tenth = read(json.dumps([sample]), Format.LOCOMO, now=NOW)
    assert (second.ref, tenth.ref) == ("conv-1/2", "conv-1/10")
    [turn] = second.turns
    assert (turn.ref, turn.text, turn.at) == (
        "D2:1", "Look! [shares a dog]", datetime(2023, 6, 3, 9, 5, tzinfo=UTC),
    )  # fmt: skip


def test_a_very_long_one_is_several() -> None:
    turns = [{"speaker": "Ann", "text": str(number)} for number in range(PART + 1)]
    first, second = read(json.dumps({"turns": turns, "ref": "a"}), Format.JSONL, now=NOW)
    assert (len(first.turns), len(second.turns), second.ref) == (PART, 1, "a#1")


@pytest.mark.parametrize(
    ("text", "format_", "place"),
    [
        ('{"turns": []}\n{oops', Format.JSONL, "line 2"),
        ('{"turns": [{"speaker": "Ann"}]}', Format.JSONL, "line 1: turn 1: text"),
        ('{"turns": [{"speaker": "A", "text": "x", "at": "soon"}]}', Format.JSONL, "line 1: turn 1: at"),
        ('{"turns": "x"}', Format.JSONL, "line 1: turns"),
        ("[1]", Format.OPENAI, "item 1"),
        ('{"messages": [{"role": "user"}]}', Format.OPENAI, "item 1: no message"),
        ("{oops", Format.LOCOMO, "the file"),
        ('{"conversation": {}}', Format.LOCOMO, "item 1: the conversation has no session"),
        ('{"conversation": {"session_1": [{"speaker": "A"}]}}', Format.LOCOMO, "item 1: session 1"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, format_: Format, place: str) -> None:
    with pytest.raises(TranscriptInvalidError) as raised:
        read(text, format_, now=NOW)
    assert raised.value.message.startswith(place)


def test_an_empty_episode_is_no_error_of_the_reader() -> None:
    found: list[Any] = read('{"turns": []}', Format.JSONL, now=NOW)
    assert found == []
