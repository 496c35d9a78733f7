"""What may become of a run: every change of its status as a pure function of how it stands.

Three parties change a run. A worker claims it (`claim`) and from then on makes moves as its owner (`moved`), each
fenced by the epoch of its claim. People and other agents ask (`cancel`, `pause`, `resume`, `reviewed`). Events wake it
(`woken`). The functions know no database; the store applies the same rules to the row, under its lock.
"""

from dataclasses import dataclass, replace

from atom.durable.lease import FencedError
from atom.runs.errors import RunAtWorkError, RunEndedError, RunNotInReviewError, RunNotPausedError
from atom.runs.models import RunStatus, WaitReason

MAX_CRASHES = 3
WORKABLE = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})
RESUMABLE = frozenset({WaitReason.OPERATOR, WaitReason.PROVIDER, WaitReason.BUDGET, WaitReason.RESTORED})
ASKS = {
    WaitReason.APPROVAL: "`atom approvals list` shows what it asks.",
    WaitReason.REVIEW: "`atom runs show` tells which call; `atom runs review` decides.",
    WaitReason.CHILD: "It goes on when the run that it started ends.",
}


@dataclass(frozen=True, slots=True)
class State:
    """How a run stands. `owned`: a worker took it and has not let go; `live`: its lease has not run out either."""

    status: RunStatus = RunStatus.QUEUED
    wait_reason: WaitReason | None = None
    epoch: int = 0
    owned: bool = False
    live: bool = False
    crashes: int = 0
    cancel_requested: bool = False
    pause_requested: bool = False

    @property
    def at_work(self) -> bool:
        """A worker may be in the middle of a step: only that worker ends or parks the run."""
        return self.status is RunStatus.RUNNING and self.owned and self.live


@dataclass(frozen=True, slots=True)
class Move:
    """What an owner makes of its run. `release`: it lets go of the lease."""

    status: RunStatus
    wait_reason: WaitReason | None = None
    release: bool = True


GO_ON = Move(RunStatus.RUNNING, release=False)
HAND_OVER = Move(RunStatus.RUNNING)
PAUSE = Move(RunStatus.PAUSED)
COMPLETE = Move(RunStatus.COMPLETED)
FAIL = Move(RunStatus.FAILED)
CANCEL = Move(RunStatus.CANCELLED)


def park(reason: WaitReason) -> Move:
    return Move(RunStatus.WAITING, reason)


def claim(state: State) -> State | None:
    """The next owner's, or None when it is not to be had. A lease that ran out unreleased is the trace of a crash."""
    if state.status not in WORKABLE or (state.owned and state.live):
        return None
    return replace(
        state,
        status=RunStatus.RUNNING,
        epoch=state.epoch + 1,
        owned=True,
        live=True,
        crashes=state.crashes + int(state.owned),
    )


def moved(state: State, epoch: int, move: Move) -> State:
    """After a move of the owner of `epoch`. Raises FencedError: it is the owner no more, and writes nothing.

    A lease that ran out and that nobody took over is still the owner's.
    """
    if not state.owned or state.epoch != epoch:
        raise FencedError("Another worker has taken this over; this write was refused.", epoch=epoch)
    return replace(
        state,
        status=move.status,
        wait_reason=move.wait_reason,
        owned=not move.release,
        live=not move.release,
        pause_requested=state.pause_requested and move is not PAUSE,
    )


def cancel(state: State) -> State:
    """A worker in the middle of a step is asked to stop; any other run ends here. Raises RunEndedError."""
    if state.status is RunStatus.CANCELLED:
        return state
    _not_ended(state)
    asked = replace(state, cancel_requested=True)
    return asked if state.at_work else _out_of_hands(asked, RunStatus.CANCELLED)


def pause(state: State) -> State:
    """A worker stops at its next step boundary; any other run is paused here. Raises RunEndedError."""
    _not_ended(state)
    if state.status is RunStatus.PAUSED:
        return state
    return replace(state, pause_requested=True) if state.at_work else _out_of_hands(state, RunStatus.PAUSED)


def resume(state: State) -> State:
    """Back into the queue; what it waited for is found again from its journal.

    A run that is at work or queued stays so. Raises RunEndedError, and RunNotPausedError for one that waits for an
    answer which nobody has given yet.
    """
    _not_ended(state)
    if state.status in WORKABLE:
        return replace(state, pause_requested=False)
    if state.status is RunStatus.PAUSED or state.wait_reason in RESUMABLE:
        return _out_of_hands(replace(state, pause_requested=False), RunStatus.QUEUED)
    assert state.wait_reason is not None
    raise RunNotPausedError(
        f"The run is not paused: it waits for {_article(state.wait_reason)}.", hint=ASKS[state.wait_reason]
    )


def reviewed(state: State, *, abort: bool) -> State:
    """A person has said what to do about a call of unknown outcome. Raises RunNotInReviewError, RunEndedError."""
    _not_ended(state)
    if state.wait_reason is not WaitReason.REVIEW:
        hint = (
            "`atom runs resume` first." if state.status is RunStatus.PAUSED else "`atom runs show` tells how it stands."
        )
        raise RunNotInReviewError("The run does not wait for a review.", hint=hint)
    return _out_of_hands(state, RunStatus.FAILED if abort else RunStatus.QUEUED)


def woken(state: State, reason: WaitReason) -> State | None:
    """Back into the queue, because what it waited for has come. None: it does not wait for that."""
    return _out_of_hands(state, RunStatus.QUEUED) if state.wait_reason is reason else None


def in_progress(state: State, *, begun: bool) -> bool:
    """Whether its agent is in the middle of its work: then whoever stops it intervenes.

    Not before it began, nor while it waits for a provider, a budget or an operator: that is no verdict on the agent.
    """
    if not begun:
        return False
    return state.status in WORKABLE or state.wait_reason in {WaitReason.APPROVAL, WaitReason.CHILD}


def answered_for(state: State, *, begun: bool) -> bool:
    """Whether who takes it over steps in for its agent: also where it was paused for that."""
    return in_progress(state, begun=begun) or (begun and state.status is RunStatus.PAUSED)


def listens(state: State) -> None:
    """Raises RunEndedError: nobody reads a note any more."""
    _not_ended(state)


def taken_over(state: State) -> State:
    """A person gives the answer in the agent's stead. Raises RunEndedError, RunAtWorkError."""
    _not_ended(state)
    if state.at_work:
        raise RunAtWorkError("A worker is in the middle of a step of this run.", hint="`atom runs pause` first.")
    return _out_of_hands(state, RunStatus.COMPLETED)


def is_poison(crashes: int) -> bool:
    """A run whose workers die at the same step again and again fails, and blocks nobody."""
    return crashes >= MAX_CRASHES


def _out_of_hands(state: State, status: RunStatus) -> State:
    """Whoever owned it owns it no more: a late write of that worker is refused."""
    return replace(state, status=status, wait_reason=None, owned=False, live=False)


def _not_ended(state: State) -> None:
    if state.status.ended:
        raise RunEndedError(f"The run has ended ({state.status.value}).", hint="`atom runs retry` starts it anew.")


def _article(reason: WaitReason) -> str:
    return {WaitReason.APPROVAL: "an approval", WaitReason.REVIEW: "a review", WaitReason.CHILD: "another run"}.get(
        reason, reason.value
    )
