"""The vocabulary of governance: maturity, risk, effects, actions and decisions. Pure."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Maturity(StrEnum):
    """What an agent has earned. The order is the ladder: see `rank`."""

    STUDENT = "student"
    INTERN = "intern"
    SUPERVISED = "supervised"
    AUTONOMOUS = "autonomous"

    @property
    def rank(self) -> int:
        """1 for a student up to 4 for an autonomous agent: the highest risk it may take without asking."""
        return list(Maturity).index(self) + 1


class Risk(IntEnum):
    LOW = 1
    MODERATE = 2
    HIGH = 3
    CRITICAL = 4


class EffectClass(StrEnum):
    """What a crash in the middle of a call may do about it.

    `read` and `idempotent` may be repeated (a repeated call has the same idempotency key), the others may not.
    """

    READ = "read"
    IDEMPOTENT = "idempotent"
    EFFECT = "effect"
    IRREVERSIBLE = "irreversible"

    @property
    def repeatable(self) -> bool:
        return self in {EffectClass.READ, EffectClass.IDEMPOTENT}


@dataclass(frozen=True, slots=True)
class Action:
    """Something an agent may want to do, by its exact name. `egress`: it can carry chosen bytes out."""

    name: str
    risk: Risk
    effect: EffectClass
    egress: bool = False


class Verdict(StrEnum):
    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"
