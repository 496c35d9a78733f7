"""The vocabulary of governance: maturity, risk, effects, actions and decisions. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        return _RANKS[self]

    @property
    def above(self) -> "Maturity | None":
        """The next rung. None: there is none."""
        return next((one for one in Maturity if one.rank == self.rank + 1), None)

    @property
    def below(self) -> "Maturity | None":
        return next((one for one in Maturity if one.rank == self.rank - 1), None)


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


class Label(StrEnum):
    """What is known of content: from the task or a source people trust, from anybody, or something to keep."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    SECRET = "secret"  # noqa: S105 - the name of a label


class ActionClass(StrEnum):
    """What kind of thing an action is. Within an agent's maturity each class may have a lower one of its own."""

    READ = "read"
    WRITE = "write"
    DESTROY = "destroy"
    EGRESS = "egress"
    DELEGATE = "delegate"


class Part(StrEnum):
    """What an argument of an action is. Whatever is not declared is a target, which is judged hardest.

    A `target` chooses what is acted on. A `sink` is a target too: it says where something goes. `content` is free text.
    What is `local` leaves this process in no form: a page of a listing, one of a few words of the schema.
    """

    TARGET = "target"
    SINK = "sink"
    CONTENT = "content"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Vouched:
    """A value that the system itself stands for in a result that is otherwise anybody's: an id that it assigned, a
    sender that it has checked. It counts only as a whole argument, never as a text with words in it.

    `name`: what people call the thing. With one, the value counts when the user named that thing.
    """

    value: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """Something an agent may want to do, by its exact name. `egress`: it can carry chosen bytes out, if one of its
    sinks is given; without declared sinks always.

    `reads`: the labels of what it brings into the run. `delegates`: it has somebody else work. `inherits`: it does
    nothing but start something that carries the labels of this run itself, and is judged there.
    """

    name: str
    risk: Risk
    effect: EffectClass
    egress: bool = False
    reads: frozenset[Label] = frozenset({Label.TRUSTED})
    delegates: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict, hash=False)
    inherits: bool = False

    @property
    def action_class(self) -> ActionClass:
        """Exactly one: of those that fit, the first here. What leaves the house is egress, whatever else it does."""
        if self.egress:
            return ActionClass.EGRESS
        if self.effect is EffectClass.IRREVERSIBLE or self.risk >= Risk.CRITICAL:
            return ActionClass.DESTROY
        if self.delegates:
            return ActionClass.DELEGATE
        return ActionClass.READ if self.effect is EffectClass.READ else ActionClass.WRITE

    def part(self, argument: str) -> Part:
        return self.parts.get(argument, Part.TARGET)


class Verdict(StrEnum):
    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"

    @property
    def strictness(self) -> int:
        return _VERDICTS[self]


class Eyes(StrEnum):
    """Who has to approve: anybody who may, somebody other than who asked for the run, or two different people."""

    ANY = "any"
    OTHER = "other"
    TWO = "two"

    @property
    def strictness(self) -> int:
        return _EYES[self]


# Asked for with every decision: looked up, not counted.
_RANKS = {one: place for place, one in enumerate(Maturity, 1)}
_VERDICTS = {one: place for place, one in enumerate(Verdict)}
_EYES = {one: place for place, one in enumerate(Eyes)}
