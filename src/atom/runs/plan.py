"""What comes next in a run, read from its journal alone: the same journal always gives the same step. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from atom.governance.models import EffectClass
from atom.llm.ports import ToolCall
from atom.runs.models import StepStatus
from atom.runs.transcript import Recorded

Place = tuple[int, int]
"""turn, index of the call in that turn's reply"""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the model for its reply of `turn`."""

    turn: int


@dataclass(frozen=True, slots=True)
class Call:
    """Do what the model asks. `begun`: an earlier owner put the call on record, and nobody knows its end."""

    turn: int
    index: int
    call: ToolCall
    begun: StepStatus | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply of `turn` is the run's answer."""

    turn: int


Next = Ask | Call | Answer


def next_step(recorded: Recorded, begun: Mapping[Place, StepStatus]) -> Next:
    """The first thing that the journal does not have yet."""
    turn = 0
    while (reply := recorded.replies.get(turn)) is not None:
        for index, call in enumerate(reply.tool_calls):
            if (turn, index) not in recorded.results:
                return Call(turn, index, call, begun.get((turn, index)))
        if not reply.tool_calls and reply.unusable is None and turn + 1 not in recorded.notes:
            return Answer(turn)
        turn += 1
    return Ask(turn)


def may_repeat(effect: EffectClass, begun: StepStatus) -> bool:
    """Whether a call that began and has no recorded end may be made again.

    An effect may have happened: only the word of a person (`retry`), good for one more try, allows another.
    """
    return begun is StepStatus.RETRY or effect.repeatable
