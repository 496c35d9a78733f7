"""What is shown of a run's text is the journaled text: no gap, nothing twice, whatever deltas come or are lost."""

from hypothesis import given
from hypothesis import strategies as st

from atom.client.models import Delta
from atom.client.transcript import Piece, Transcript


def delta(text: str, offset: int, *, step: str = "turn-0", attempt: int = 1) -> Delta:
    return Delta(run_id="r", step=step, attempt=attempt, offset=offset, text=text)


def screen(pieces: list[Piece | None]) -> str:
    """The text that counts: a restarted piece voids what stood before it."""
    shown = ""
    for piece in pieces:
        if piece is not None:
            shown = piece.text if piece.restarted else shown + piece.text
    return shown


@st.composite
def attempts(draw: st.DrawFn) -> list[list[Delta]]:
    """Up to three attempts at one step, each its own text, cut into deltas with some lost and some said twice."""
    made = []
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        parts = draw(st.lists(st.text(min_size=1, max_size=4), max_size=8))
        offset, deltas = 0, []
        for part in parts:
            deltas.append(delta(part, offset, attempt=attempt))
            offset += len(part)
        made.append(deltas)
    return made


@given(attempts(), st.data())
def test_the_screen_ends_with_the_journaled_text(deltas: list[list[Delta]], data: st.DataObject) -> None:
    transcript, pieces = Transcript(), []
    for group in deltas:
        for item in group:
            pieces += [transcript.delta(item) for _ in range(data.draw(st.sampled_from([0, 1, 1, 1, 2])))]
    text = "".join(item.text for item in deltas[-1])
    pieces.append(transcript.reply("turn-0", text))
    assert screen(pieces) == text
    assert transcript.delta(delta("late", len(text))) is None
    assert transcript.reply("turn-0", text) is None


def test_a_delta_behind_a_gap_waits_for_the_reply() -> None:
    transcript = Transcript()
    assert transcript.delta(delta("one ", 0)) == Piece("turn-0", "one ")
    assert transcript.delta(delta("three", 8)) is None
    assert transcript.reply("turn-0", "one two three") == Piece("turn-0", "two three")


def test_a_delta_that_overlaps_adds_only_its_end() -> None:
    transcript = Transcript()
    transcript.delta(delta("one tw", 0))
    assert transcript.delta(delta("two", 4)) == Piece("turn-0", "o")


def test_a_new_attempt_voids_the_text_of_the_old() -> None:
    transcript = Transcript()
    transcript.delta(delta("wrong", 0))
    assert transcript.delta(delta("right", 0, attempt=2)) == Piece("turn-0", "right", restarted=True)
    assert transcript.delta(delta("!", 5)) is None, "the old attempt says nothing any more"
    assert transcript.reply("turn-0", "right") is None


def test_a_reply_that_differs_from_what_was_shown_is_given_whole() -> None:
    transcript = Transcript()
    transcript.delta(delta("draft", 0))
    assert transcript.reply("turn-0", "final") == Piece("turn-0", "final", restarted=True)


def test_steps_do_not_mix_when_a_delta_outruns_the_reply_before_it() -> None:
    transcript = Transcript()
    transcript.delta(delta("first", 0, step="turn-0"))
    assert transcript.delta(delta("second", 0, step="turn-3")) == Piece("turn-3", "second")
    assert transcript.reply("turn-0", "first.") == Piece("turn-0", ".")
    assert transcript.reply("turn-3", "second") is None
