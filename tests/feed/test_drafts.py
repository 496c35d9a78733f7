"""A viewer who comes in the middle of a reply reads it from its beginning."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from atom.feed.drafts import MAX_CHARS, MAX_DRAFTS, Drafts
from atom.runs.ports import Delta

RUN = uuid4()


def say(drafts: Drafts, *texts: str, run: UUID = RUN, step: str = "turn-0", attempt: int = 1) -> None:
    offset = 0
    for text in texts:
        drafts.add(Delta(run, step, attempt, offset, text))
        offset += len(text)


@given(st.lists(st.text(min_size=1, max_size=5), max_size=10))
def test_what_was_said_so_far_is_one_delta(texts: list[str]) -> None:
    drafts = Drafts()
    say(drafts, *texts)
    assert drafts.of(RUN) == ([Delta(RUN, "turn-0", 1, 0, "".join(texts))] if texts else [])
    assert drafts.of(None) == drafts.of(RUN)
    assert drafts.of(uuid4()) == []


def test_a_new_attempt_and_a_new_turn_begin_anew() -> None:
    drafts = Drafts()
    say(drafts, "wrong")
    say(drafts, "right", attempt=2)
    assert drafts.of(RUN) == [Delta(RUN, "turn-0", 2, 0, "right")]
    say(drafts, "next", step="turn-1")
    assert drafts.of(RUN) == [Delta(RUN, "turn-1", 1, 0, "next")]


def test_the_reply_that_is_journaled_ends_its_own_draft_only() -> None:
    drafts = Drafts()
    say(drafts, "next", step="turn-1")
    drafts.end(RUN, "turn-0")  # the event of an earlier turn arrives late
    assert len(drafts.of(RUN)) == 1
    drafts.end(RUN, "turn-1")
    assert drafts.of(RUN) == []
    say(drafts, "again", step="turn-2")
    drafts.end(RUN, None)
    assert drafts.of(RUN) == []


def test_behind_a_gap_nothing_is_added() -> None:
    drafts = Drafts()
    say(drafts, "one ")
    drafts.add(Delta(RUN, "turn-0", 1, 8, "three"))
    assert drafts.of(RUN)[0].text == "one "
    middle = Drafts()
    middle.add(Delta(RUN, "turn-0", 1, 8, "three"))
    assert middle.of(RUN) == []


def test_there_is_a_bound_on_what_is_kept() -> None:
    drafts = Drafts()
    say(drafts, "x" * MAX_CHARS, "y")
    assert drafts.of(RUN)[0].text == "x" * MAX_CHARS
    for _ in range(MAX_DRAFTS + 10):
        say(drafts, "a", run=uuid4())
    assert len(drafts.of(None)) == MAX_DRAFTS
