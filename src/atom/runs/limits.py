"""The bounds of a run. Pure: they read what the journal says."""

from dataclasses import dataclass

from atom.errors import AtomError
from atom.runs.errors import ModelMisbehavedError, TokenLimitError, TurnLimitError
from atom.runs.transcript import Recorded
from atom.settings import RunSettings


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has used. Unknown token counts add nothing: the provider did not report them."""

    turns: int
    tokens: int
    invalid_in_a_row: int


def spent(recorded: Recorded) -> Spent:
    replies = recorded.replies.values()
    tokens = sum((r.usage.input_tokens or 0) + (r.usage.output_tokens or 0) for r in replies)
    return Spent(len(recorded.replies), tokens, _invalid_in_a_row(recorded))


def _invalid_in_a_row(recorded: Recorded) -> int:
    row = 0
    for turn, reply in sorted(recorded.replies.items()):
        if reply.unusable is not None:
            row += 1
        for index in range(len(reply.tool_calls)):
            record = recorded.results.get((turn, index))
            if record is not None:
                row = row + 1 if record.invalid else 0
    return row


def breach(used: Spent, limits: RunSettings) -> AtomError | None:
    """The bound that forbids another turn, if one does."""
    if used.invalid_in_a_row >= limits.max_invalid_calls:
        return ModelMisbehavedError(
            f"The model made {used.invalid_in_a_row} unusable replies in a row.",
            hint="The journal shows them; another model may do better.",
        )
    if used.turns >= limits.max_turns:
        return TurnLimitError(
            f"The run used all of its {limits.max_turns} turns.", hint="ATOM_RUNS__MAX_TURNS raises it."
        )
    if used.tokens >= limits.max_tokens:
        return TokenLimitError(
            f"The run used {used.tokens} tokens of {limits.max_tokens}.", hint="ATOM_RUNS__MAX_TOKENS raises it."
        )
    return None
