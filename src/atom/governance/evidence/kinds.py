"""What counts as evidence, and of what. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from atom.governance.decide import Decision, Reason
from atom.governance.models import Verdict


class Kind(StrEnum):
    """`rated` and `failure` are the outcomes of runs: episodes. The others say how it came to them."""

    RATED = "rated"
    FAILURE = "failure"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    INTERVENTION = "intervention"
    VIOLATION = "violation"


class Stepping(StrEnum):
    """How a person stepped in while an agent worked."""

    PAUSE = "pause"
    CANCEL = "cancel"
    CORRECT = "correct"
    TAKE_OVER = "take_over"


class How(StrEnum):
    """How a maturity changed: by the rules and a person, by a person past the rules, down by a person, by itself."""

    PROMOTED = "promoted"
    OVERRIDDEN = "overridden"
    LOWERED = "lowered"
    DEMOTED = "demoted"


@dataclass(frozen=True, slots=True)
class OfRun:
    """A run that something is evidence of. `used`: names of the actions it has performed."""

    run_id: UUID
    agent_id: UUID
    agent_version: int
    began_at: datetime
    used: tuple[str, ...] = ()


# How a run ends that its agent brought to its end. Providers, budgets, crashes and time (a slow provider uses it up as
# well as a slow agent) are not its doing.
OWN_FAULTS = frozenset({"model_misbehaved", "turn_limit", "tool_call_limit", "token_limit"})
VIOLATIONS = frozenset({Reason.POLICY, Reason.FAR_ABOVE_MATURITY})


def is_violation(decision: Decision) -> bool:
    """An attempt at something that a policy forbids, or that is far above what the agent has earned.

    A name that no action has, or a tool that it was not given, is a mistake of a model, and no violation. What is only
    asked is none either: asking is how an agent shows restraint.
    """
    return decision.verdict is Verdict.DENY and decision.reason in VIOLATIONS
