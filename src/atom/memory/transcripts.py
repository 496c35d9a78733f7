"""Transcripts of chats as episodes: JSON lines, OpenAI's messages, and LoCoMo. Pure; errors name their place.

* `jsonl`: an episode a line, `{"turns": [{"speaker", "text", "at"?, "kind"?, "ref"?}], "title"?, "at"?, "outcome"?,
  "ref"?, "summary"?, "importance"?, "labels"?, "provenance"?}`, as an export writes them; or a turn a line,
  `{"speaker", "text", "at"?, "kind"?, "ref"?}`: lines in a row are an episode, up to a pause of half an hour.
* `openai`: one conversation or a list of them, each `{"messages": [{"role", "content"}]}`, a list of messages, or JSON
  lines of them.
* `locomo`: conversations with sessions, as in the data of that name; each session is an episode.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from atom.errors import InvalidError
from atom.kit.text import canonical_json
from atom.memory.drafts import PAUSE

SESSION = re.compile(r"^session_(\d+)$")
LOCOMO_TIME = "%I:%M %p on %d %B, %Y"
PART = 1_000  # turns of one episode
LINES = (
    'A line is an episode, {"turns": [...]}, or one turn, {"speaker": "Ann", "text": "...", "at": "2026-05-04T09:00Z"}.'
    " Other formats: openai, locomo."
)
STEP = timedelta(seconds=1)  # between turns whose times nobody wrote down
KINDS = {"user": "message", "assistant": "reply", "tool": "result", "system": "note", "developer": "note"}


class Format(StrEnum):
    JSONL = "jsonl"
    OPENAI = "openai"
    LOCOMO = "locomo"


class TranscriptInvalidError(InvalidError):
    code = "transcript_invalid"


@dataclass(frozen=True, slots=True)
class Line:
    """One turn as it is told. `at` has a time zone."""

    speaker: str
    text: str
    at: datetime
    kind: str = "message"
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What becomes an episode. `ref` is the same for the same content: it is remembered once."""

    turns: Sequence[Line]
    ref: str
    title: str | None = None
    outcome: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    summary: str | None = None
    importance: float | None = None
    labels: Sequence[str] | None = None


def read(text: str, format_: Format, *, now: datetime) -> list[Transcript]:
    """`now`: of turns that have no time. Raises TranscriptInvalidError."""
    return [part for whole in _read(text, format_, now) for part in _parts(whole)]


def _read(text: str, format_: Format, now: datetime) -> Iterator[Transcript]:
    if format_ is Format.JSONL:
        yield from _jsonl(text, now)
    elif format_ is Format.OPENAI:
        yield from (_openai(value, place, now) for place, value in _conversations(text))
    else:
        for place, value in _values(text):
            yield from _locomo(value, place)


def _parts(whole: Transcript) -> Iterator[Transcript]:
    """A very long one is several episodes, so that each is one request."""
    for number, start in enumerate(range(0, len(whole.turns), PART)):
        ref = whole.ref if number == 0 else f"{whole.ref}#{number}"
        yield replace(whole, turns=whole.turns[start : start + PART], ref=ref)


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):  # not at what else Unicode calls an end of a line
        if line.strip():
            yield f"line {number}", _parsed(line, f"line {number}")


def _values(text: str) -> Iterator[tuple[str, Any]]:
    whole = _parsed(text, "the file")
    for number, value in enumerate(whole if isinstance(whole, list) else [whole], 1):
        yield f"item {number}", value


def _conversations(text: str) -> Iterator[tuple[str, Any]]:
    try:
        whole = json.loads(text)
    except ValueError:
        yield from _lines(text)
        return
    if isinstance(whole, list) and whole and all(isinstance(one, dict) and "role" in one for one in whole):
        whole = [{"messages": whole}]
    for number, value in enumerate(whole if isinstance(whole, list) else [whole], 1):
        yield f"item {number}", value


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise TranscriptInvalidError(f"{place}: it is no JSON ({error}).") from None


def _jsonl(text: str, now: datetime) -> Iterator[Transcript]:
    told: list[Line] = []
    for place, value in _lines(text):
        line = _object(value, place)
        turn = _turn(line, place, told, now) if "speaker" in line and "turns" not in line else None
        if told and (turn is None or turn.at - told[-1].at > PAUSE):
            yield Transcript(told, _ref(told))
            told = []
        if turn is None:
            yield _episode(line, place, now)
        else:
            told.append(turn)
    if told:
        yield Transcript(told, _ref(told))


def _turn(turn: Mapping[str, Any], where: str, before: Sequence[Line], began: datetime) -> Line:
    return Line(
        _text(turn, "speaker", where),
        _text(turn, "text", where),
        _time(turn.get("at"), where) or (before[-1].at + STEP if before else began),
        str(turn.get("kind", "message")),
        _optional(turn, "ref", where) or "",
    )


def _episode(value: Mapping[str, Any], place: str, now: datetime) -> Transcript:
    if "turns" not in value:
        raise TranscriptInvalidError(f"{place}: it has no turns.", hint=LINES)
    began = _time(value.get("at"), place) or now
    turns: list[Line] = []
    for number, one in enumerate(_list(value["turns"], f"{place}: turns"), 1):
        where = f"{place}: turn {number}"
        turns.append(_turn(_object(one, where), where, turns, began))
    known = {name: _optional(value, name, place) for name in ("title", "outcome", "ref", "summary")}
    ref = known["ref"] or _ref(turns)
    importance, labels = value.get("importance"), value.get("labels")
    return Transcript(
        turns,
        ref,
        known["title"],
        known["outcome"],
        _object(value.get("provenance") or {}, f"{place}: provenance"),
        summary=known["summary"],
        importance=importance if isinstance(importance, int | float) else None,
        labels=None if labels is None else [str(label) for label in _list(labels, f"{place}: labels")],
    )


def _openai(value: Any, place: str, now: datetime) -> Transcript:
    given = _list(_object(value, place).get("messages"), f"{place}: messages")
    turns: list[Line] = []
    for number, one in enumerate(given):
        where = f"{place}: message {number + 1}"
        message = _object(one, where)
        role = _text(message, "role", where)
        at = now + STEP * len(turns)
        text = _content(message.get("content"), where)
        if text:
            turns.append(Line(str(message.get("name") or role), text, at, KINDS.get(role, "message")))
        for call in message.get("tool_calls") or ():
            made = _object(_object(call, where).get("function"), where)
            turns.append(Line(_text(made, "name", where), str(made.get("arguments", "")), at, "call"))
    if not turns:
        raise TranscriptInvalidError(f"{place}: no message has a text.")
    ref = str(value.get("id") or "") or _ref(turns)
    return Transcript(turns, ref)


def _content(content: Any, where: str) -> str:
    """A text, or the texts of its parts."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = [_object(part, where) for part in _list(content, where)]
    return "\n".join(str(part["text"]) for part in parts if isinstance(part.get("text"), str))


def _locomo(value: Any, place: str) -> Iterator[Transcript]:
    sample = _object(value, place)
    conversation = _object(sample.get("conversation"), f"{place}: conversation")
    numbers = sorted(int(found[1]) for name in conversation if (found := SESSION.match(name)))
    if not numbers:
        raise TranscriptInvalidError(f"{place}: the conversation has no session.")
    name = str(sample.get("sample_id") or _digest(conversation))
    for number in numbers:
        where = f"{place}: session {number}"
        given = _list(conversation[f"session_{number}"], where)
        if not given:
            continue
        began = _locomo_time(conversation.get(f"session_{number}_date_time"), where)
        turns = [_locomo_turn(one, began + STEP * index, where) for index, one in enumerate(given)]
        yield Transcript(turns, f"{name}/{number}", f"{name}, session {number}", None, {"sample": name})


def _locomo_turn(one: Any, at: datetime, where: str) -> Line:
    turn = _object(one, where)
    caption = turn.get("blip_caption")
    text = str(turn.get("text", "")) + (f" [shares {caption}]" if caption else "")
    return Line(_text(turn, "speaker", where), text, at, ref=str(turn.get("dia_id", "")))


def _locomo_time(said: Any, where: str) -> datetime:
    try:
        return datetime.strptime(str(said), LOCOMO_TIME).replace(tzinfo=UTC)
    except ValueError:
        raise TranscriptInvalidError(f"{where}: {str(said)[:60]!r} is no time like '1:56 pm on 8 May, 2023'.") from None


def _time(said: Any, where: str) -> datetime | None:
    if said is None:
        return None
    try:
        found = datetime.fromtimestamp(said, UTC) if isinstance(said, int | float) else datetime.fromisoformat(said)
    except (TypeError, ValueError, OverflowError, OSError):
        raise TranscriptInvalidError(f"{where}: at is no time.", hint="As in 2026-05-04T09:00:00Z.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TranscriptInvalidError(f"{where}: it is no JSON object.")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise TranscriptInvalidError(f"{where}: it is no list.")
    return value


def _text(value: Mapping[str, Any], name: str, where: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise TranscriptInvalidError(f"{where}: {name} is missing, or no text.")
    return found


def _optional(value: Mapping[str, Any], name: str, where: str) -> str | None:
    return None if value.get(name) is None else _text(value, name, where)


def _ref(turns: Sequence[Line]) -> str:
    return _digest([(turn.speaker, turn.text) for turn in turns])


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode("utf-8", "replace")).hexdigest()[:32]
