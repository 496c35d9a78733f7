"""An episode before it is written: turns, cut where too long, parted at a pause and at another topic. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from atom.governance.models import Label
from atom.kit.ids import new_id
from atom.memory.topics import topics

SEGMENT_CHARS = 4_000  # of a segment: what the tsvector limit and a hit of a recall can take many times over
PAUSE = timedelta(minutes=30)
TOPIC_TURNS = 4  # at least, of a part
BREAKS = ("\n\n", "\n", ". ", " ")


class Source(StrEnum):
    """What an episode was made of."""

    RUN = "run"
    API = "api"
    IMPORT = "import"
    TOOL = "tool"
    CONSOLIDATION = "consolidation"


class Outcome(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    PARTIAL = "partial"
    UNKNOWN = "unknown"


class SegmentKind(StrEnum):
    """`task` and `message` are what somebody said to the agent, `reply` is the agent's; `call` and `result` are a
    tool's; `correction` and `approval` are a person's part in it; `note` is anything else, such as an error."""

    TASK = "task"
    MESSAGE = "message"
    REPLY = "reply"
    CALL = "call"
    RESULT = "result"
    CORRECTION = "correction"
    APPROVAL = "approval"
    NOTE = "note"


SAID = frozenset({SegmentKind.TASK, SegmentKind.MESSAGE, SegmentKind.CORRECTION})


@dataclass(frozen=True, slots=True)
class Turn:
    """`ref`: its name where it comes from, such as the step of a run."""

    kind: SegmentKind
    speaker: str
    text: str
    at: datetime
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """`turns` are in order and at least one. What is None is made from the turns. `labels` are of every word in it.

    `ref`: what it was made of; the same is remembered once. `provenance` is for people who ask where it comes from.
    """

    agent_id: UUID
    source: Source
    turns: Sequence[Turn]
    created_by: str
    labels: frozenset[Label]
    outcome: Outcome = Outcome.UNKNOWN
    title: str | None = None
    summary: str | None = None
    importance: float | None = None
    entities: Sequence[str] | None = None
    ref: str | None = None
    run_id: UUID | None = None
    conversation_id: UUID | None = None
    part: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)


def parts_of(draft: Draft) -> list[Draft]:
    """One draft for each stretch without a pause of half an hour, and of those one for each topic. The outcome belongs
    to the last one."""
    stretches = [topic for stretch in _by_pauses(draft.turns) for topic in _by_topics(stretch)]
    last = len(stretches) - 1
    return [
        replace(draft, turns=turns, part=part, outcome=draft.outcome if part == last else Outcome.UNKNOWN)
        for part, turns in enumerate(stretches)
    ]


def _by_pauses(turns: Sequence[Turn]) -> list[list[Turn]]:
    stretches: list[list[Turn]] = []
    for turn in turns:
        if not stretches or turn.at - stretches[-1][-1].at > PAUSE:
            stretches.append([])
        stretches[-1].append(turn)
    return stretches


def _by_topics(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    """Only where a person speaks: what an agent says and does in answer to it, calls and results, stays together."""
    starts = [0, *(number for number, turn in enumerate(turns) if number and turn.kind in SAID)]
    blocks = [turns[start:end] for start, end in zip(starts, [*starts[1:], len(turns)], strict=True)]
    texts = ["\n".join(turn.text for turn in block) for block in blocks]
    cuts = [starts[number] for number in topics(texts, [len(block) for block in blocks], least=TOPIC_TURNS)]
    for start, end in zip([0, *cuts], [*cuts, len(turns)], strict=True):
        yield turns[start:end]


def cut(turn: Turn) -> Iterator[Turn]:
    """The turn in pieces of at most SEGMENT_CHARS, at a paragraph, line or word where there is one: put together they
    are the turn, to the character."""
    start = 0
    while len(turn.text) - start > SEGMENT_CHARS:
        end = _break(turn.text, start, start + SEGMENT_CHARS)
        yield replace(turn, text=turn.text[start:end])
        start = end
    yield replace(turn, text=turn.text[start:])


def columns_of(pieces: Sequence[Turn], *, start: int = 0) -> dict[str, list[Any]]:
    """Segments as the columns of their table; `start` is the position of the first."""
    return {
        "ids": [new_id() for _ in pieces],
        "positions": [start + number for number in range(len(pieces))],
        "kinds": [piece.kind.value for piece in pieces],
        "speakers": [piece.speaker for piece in pieces],
        "refs": [piece.ref for piece in pieces],
        "texts": [piece.text for piece in pieces],
        "ats": [piece.at for piece in pieces],
    }


def _break(text: str, start: int, limit: int) -> int:
    """Never in the first half: pieces would be many and small."""
    for mark in BREAKS:
        found = text.rfind(mark, start + SEGMENT_CHARS // 2, limit)
        if found >= 0:
            return found + len(mark)
    return limit
