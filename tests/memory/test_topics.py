"""A conversation is parted where it turns to something else, at a person's word, and nothing of it is lost."""

import json
import random
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.kit.ids import new_id
from atom.memory.drafts import SAID, TOPIC_TURNS, Draft, Outcome, SegmentKind, Source, Turn, parts_of
from atom.memory.topics import MAX_BLOCKS, topics
from tests.memory.conftest import MORNING

LOCOMO = Path(__file__).parents[2].parent / "shared" / "data" / "locomo-dev.json"
BACKUP = (
    "The nightly backup of the shop database failed again.",
    "The backup job says that the database disk is full.",
    "Then delete the oldest backup archives of the database from that disk.",
    "Four archives are deleted, the backup disk has room for the database now.",
    "Run the nightly backup job of the shop database once more.",
    "The backup job ran, the database archive is on the disk.",
)
LETTER = (
    "Write a letter to our customer Miller about the late garden chairs.",
    "Here is the letter to Miller: we are sorry that your garden chairs are late.",
    "Offer Miller a voucher for the late chairs in that letter.",
    "The letter to customer Miller now offers a voucher for the garden chairs.",
    "Send the letter with the voucher to Miller.",
    "The letter with the voucher for the chairs went to customer Miller.",
)
KINDS = st.sampled_from(list(SegmentKind))


def draft(*turns: tuple[SegmentKind, str]) -> Draft:
    told = [Turn(kind, "x", text, MORNING + timedelta(seconds=at)) for at, (kind, text) in enumerate(turns)]
    return Draft(new_id(), Source.RUN, told, "x", frozenset(), Outcome.SUCCESS, ref="r")


def chat(*said: str) -> list[tuple[SegmentKind, str]]:
    return [(SegmentKind.MESSAGE if at % 2 == 0 else SegmentKind.REPLY, text) for at, text in enumerate(said)]


def test_another_topic_begins_another_episode_and_the_outcome_is_of_the_last() -> None:
    first, second = parts_of(draft(*chat(*BACKUP * 3, *LETTER * 3)))
    assert [turn.text for turn in first.turns] == [*BACKUP * 3]
    assert [turn.text for turn in second.turns] == [*LETTER * 3]
    assert [(one.part, one.outcome) for one in (first, second)] == [(0, Outcome.UNKNOWN), (1, Outcome.SUCCESS)]


@pytest.mark.parametrize("said", [BACKUP, LETTER])
def test_one_topic_is_one_episode(said: tuple[str, ...]) -> None:
    assert len(parts_of(draft(*chat(*said)))) == 1


def test_what_an_agent_does_for_one_request_stays_together_whatever_it_reads() -> None:
    work = [(SegmentKind.CALL, "read_file a"), (SegmentKind.RESULT, " ".join(LETTER))] * 5
    assert len(parts_of(draft((SegmentKind.TASK, BACKUP[0]), *work, (SegmentKind.REPLY, BACKUP[5])))) == 1


@given(st.lists(st.tuples(KINDS, st.text("ab cde\n", max_size=60)), min_size=1, max_size=60))
def test_the_parts_are_the_turns_and_begin_where_a_person_speaks(said: list[tuple[SegmentKind, str]]) -> None:
    whole = draft(*said)
    parts = parts_of(whole)
    assert [turn for part in parts for turn in part.turns] == list(whole.turns)
    assert [part.part for part in parts] == list(range(len(parts)))
    assert all(part.turns[0].kind in SAID for part in parts[1:])
    assert len(parts) == 1 or all(len(part.turns) >= TOPIC_TURNS for part in parts)


def test_more_than_so_many_requests_are_not_parted() -> None:
    said = [*BACKUP * 5, *LETTER * 5]
    assert topics(said[: MAX_BLOCKS + 1], [1] * (MAX_BLOCKS + 1), least=4) == []
    assert topics(said[6 : 6 + MAX_BLOCKS], [1] * MAX_BLOCKS, least=4) == [24]


def test_real_conversations_are_parted_where_two_of_them_meet(locomo: list[tuple[str, list[str]]]) -> None:
    """Bounds with room below what was measured: 83 % found, one session in five parted."""
    rng, found, pairs = random.Random(1), 0, 0
    for (one, first), (other, second) in (rng.sample(locomo, 2) for _ in range(60)):
        if one != other and len(first) + len(second) <= MAX_BLOCKS:
            pairs += 1
            cuts = topics([*first, *second], [1] * (len(first) + len(second)), least=TOPIC_TURNS)
            found += any(abs(cut - len(first)) <= 2 for cut in cuts)
    alone = [topics(said, [1] * len(said), least=TOPIC_TURNS) for _, said in locomo]
    assert pairs > 20
    assert found / pairs >= 0.7
    assert sum(map(len, alone)) / len(alone) <= 0.35


@pytest.fixture
def locomo() -> list[tuple[str, list[str]]]:
    if not LOCOMO.exists():
        pytest.skip(f"{LOCOMO.name} is not there")
    return [
        (one["sample_id"], [turn["text"] for turn in turns])
        for one in json.loads(LOCOMO.read_text(encoding="utf-8"))
        for name, turns in one["conversation"].items()
        if name.startswith("session_") and isinstance(turns, list)
    ]
