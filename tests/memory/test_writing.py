"""What is written is kept to the character, once for each thing it was made of, and counted."""

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.governance.models import Label
from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.memory.describing import after_feedback, entities_of, importance_of, summary_of, title_of
from atom.memory.drafts import PAUSE, SEGMENT_CHARS, Draft, Outcome, SegmentKind, Source, Turn, cut, parts_of
from atom.memory.errors import EpisodeInvalidError, EpisodeNotFoundError
from tests.memory.conftest import MORNING, PERSON, Bench, turns


@given(st.text(alphabet="ab .\n", min_size=0, max_size=5 * SEGMENT_CHARS))
def test_the_pieces_of_a_turn_are_the_turn(text: str) -> None:
    pieces = [piece.text for piece in cut(Turn(SegmentKind.MESSAGE, "ann", text, MORNING))]
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= SEGMENT_CHARS for piece in pieces) or pieces == [""]


async def test_a_long_text_comes_back_as_it_was(memory: Bench) -> None:
    text = "\n\n".join(f"paragraph {number} \N{SNOWMAN} " + "word " * 100 for number in range(40))
    written = await memory.remember(f"Ann: {text}", "Ben: short")
    rows = await memory.rows("SELECT ref, text FROM episode_segment ORDER BY position")
    assert len(rows) > 3
    assert "".join(piece for ref, piece in rows if ref == "t0") == text
    [(segments, size)] = await memory.rows("SELECT segments, bytes FROM episode WHERE id = :id", id=written.id)
    assert (segments, size) == (len(rows), len((text + "short").encode()))


async def test_the_same_source_is_remembered_once(memory: Bench) -> None:
    first = await memory.remember("Ann: one", ref="chat-1")
    again = await memory.remember("Ann: one, told differently", ref="chat-1")
    other = await memory.remember("Ann: one", ref="chat-2")
    assert (again.id, again.fresh, other.fresh) == (first.id, False, True)
    assert await memory.rows("SELECT episodes, segments FROM episode_tally") == [(2, 2)]
    elsewhere = await memory.agent("other")
    assert (await memory.remember("Ann: one", ref="chat-1", agent_id=elsewhere)).fresh


async def test_what_is_counted_is_what_is_there(memory: Bench) -> None:
    await memory.remember("Ann: The cats sleep in the garden.", "Ben: Yes.")
    await memory.remember("Ann: More.")
    counted = await memory.rows("SELECT episodes, segments, terms, bytes FROM episode_tally")
    assert counted == await memory.rows(
        "SELECT (SELECT count(*) FROM episode), count(*), sum(terms), sum(octet_length(text)) FROM episode_segment"
    )


def test_a_pause_of_half_an_hour_begins_another_episode() -> None:
    late = turns("Ann: three", at=MORNING + PAUSE + timedelta(minutes=2))
    draft = Draft(
        new_id(), Source.RUN, [*turns("Ann: one", "Ann: two"), *late], "x", frozenset(), Outcome.FAILURE, ref="r"
    )
    first, second = parts_of(draft)
    assert [turn.text for turn in first.turns] == ["one", "two"]
    assert [(one.part, one.outcome) for one in (first, second)] == [(0, Outcome.UNKNOWN), (1, Outcome.FAILURE)]


async def test_turns_out_of_order_and_no_turns_are_refused(memory: Bench) -> None:
    backwards = list(reversed(turns("Ann: one", "Ann: two")))
    for said in (backwards, []):
        draft = Draft(memory.agent_id, Source.API, said, "x", frozenset({Label.UNTRUSTED}))
        with pytest.raises(EpisodeInvalidError):
            async with unit_of_work(memory.sessions) as session:
                await memory.service.remember(session, draft)


async def test_the_last_word_of_feedback_counts(memory: Bench) -> None:
    written = await memory.remember("Ann: one")
    async with unit_of_work(memory.sessions) as session:
        await memory.service.rate(session, PERSON, written.id, 1.0, "very")
        episode, _ = await memory.service.rate(session, PERSON, written.id, -0.5, None)
        assert (episode.feedback, episode.feedback_note, episode.feedback_by) == (-0.5, None, "operator:ann")
        assert episode.importance == pytest.approx(after_feedback(0.5, -0.5))
        with pytest.raises(EpisodeInvalidError):
            await memory.service.rate(session, PERSON, written.id, 1.5, None)
        with pytest.raises(EpisodeNotFoundError):
            await memory.service.rate(session, PERSON, new_id(), 1.0, None)


def test_what_is_said_about_an_episode() -> None:
    said = turns(
        "Ann: \n Ship atom 2 to Berlin today.\nPlease.", "bot: See https://example.com/a and docs/plan.md, pool_size."
    )
    assert title_of(said) == "Ship atom 2 to Berlin today."
    assert summary_of(said).startswith("Ship atom 2 to Berlin today. Please.")
    assert {"Berlin", "https://example.com/a", "docs/plan.md", "pool_size", "Ann", "bot"} <= set(entities_of(said))


@pytest.mark.parametrize("piece", ["x", "a/", "a.", "a@", "a-", "_a", "A ", "a/b.", "@a.", "http://", "é"])
def test_entities_of_a_hostile_text_cost_no_time(piece: str) -> None:
    """Nobody waits for one text: other runs are worked on by the same process."""
    began = time.monotonic()
    entities_of(turns(f"Ann: {piece * 60_000}"))
    assert time.monotonic() - began < 3


def test_failures_and_what_people_said_weigh_more() -> None:
    plain = turns("Ann: x")
    corrected = [*plain, Turn(SegmentKind.CORRECTION, "Ann", "no", MORNING)]
    assert importance_of(plain, Outcome.SUCCESS) < importance_of(plain, Outcome.FAILURE)
    assert importance_of(plain, Outcome.SUCCESS) < importance_of(corrected, Outcome.SUCCESS) <= 1
    assert after_feedback(0.5, 1) == 0.75
    assert after_feedback(0.5, -1) == 0.25
