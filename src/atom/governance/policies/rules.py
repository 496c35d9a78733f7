"""What a rule of a policy is, and whether it fits a call. Pure.

A rule can only tighten. So what cannot be judged (an argument that is not there or of another type, a cost that nobody
knows) counts as fulfilled, and the rule says so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from atom.governance.decide import Reason, Spoken
from atom.governance.models import Action, EffectClass, Eyes, Risk, Verdict
from atom.governance.policies.paths import JsonPath, MissingError


class CannotTellError(Exception):
    """A condition cannot be judged; the message says why."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Dollars so far. None: nobody knows, because some call has no known price; `usd` is then the least it can be."""

    usd: Decimal = Decimal(0)
    known: bool = True


@dataclass(frozen=True, slots=True)
class Moment:
    """What a call is judged by beside who wants what. `spent`: by scope (`run`, `agent_day`, `day`), where known."""

    arguments: Mapping[str, Any]
    now: datetime
    spent: Mapping[str, Spent]


class Condition(Protocol):
    """Raises CannotTellError."""

    @property
    def needs(self) -> frozenset[str]:
        """Scopes of money it must know."""
        ...

    def holds(self, moment: Moment) -> bool: ...


Test = Callable[[Any], bool]
"""Of one value; raises CannotTellError for one of another type."""


@dataclass(frozen=True, slots=True)
class OnArgument:
    """Fulfilled when any value at the path passes every test."""

    path: JsonPath
    tests: tuple[Test, ...]
    needs: frozenset[str] = frozenset()

    def holds(self, moment: Moment) -> bool:
        try:
            values = self.path.find(moment.arguments)
        except MissingError as error:
            raise CannotTellError(str(error)) from error
        return any(self._passes(value) for value in values)

    def _passes(self, value: Any) -> bool:
        unclear: CannotTellError | None = None
        for test in self.tests:
            try:
                if not test(value):
                    return False
            except CannotTellError as error:
                unclear = error
        if unclear is not None:
            raise CannotTellError(f"{self.path.text} {unclear}") from unclear
        return True


@dataclass(frozen=True, slots=True)
class InWindow:
    """A part of the day on some days of the week, in a time zone. A window over midnight belongs to the day it begins
    on. `outside`: fulfilled at every other time."""

    zone: ZoneInfo
    days: frozenset[int]
    begin: time
    end: time
    outside: bool
    needs: frozenset[str] = frozenset()

    def holds(self, moment: Moment) -> bool:
        return self._inside(moment.now.astimezone(self.zone)) is not self.outside

    def _inside(self, there: datetime) -> bool:
        clock, day = there.time(), there.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= clock < self.end
        if clock >= self.begin:
            return day in self.days
        return clock < self.end and (there - timedelta(days=1)).weekday() in self.days


@dataclass(frozen=True, slots=True)
class SpentMore:
    """More than so many dollars in a scope."""

    scope: str
    usd: Decimal

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.scope})

    def holds(self, moment: Moment) -> bool:
        spent = moment.spent.get(self.scope)
        if spent is None:
            raise CannotTellError(f"what {self.scope} has cost is not known")
        if spent.usd > self.usd:
            return True
        if not spent.known:
            raise CannotTellError(f"what {self.scope} has cost is not known: some call has no known price")
        return False


@dataclass(frozen=True, slots=True)
class ActionsLike:
    """Fits an action that satisfies all that is given."""

    names: frozenset[str] | None = None
    effects: frozenset[EffectClass] | None = None
    min_risk: Risk | None = None
    egress: bool | None = None

    def fits(self, action: Action) -> bool:
        return (
            (self.names is None or action.name in self.names)
            and (self.effects is None or action.effect in self.effects)
            and (self.min_risk is None or action.risk >= self.min_risk)
            and (self.egress is None or action.egress is self.egress)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """`name` is `policy/rule`. `agents`: lower-case names and ids; None: every agent. `when`: all must be fulfilled."""

    name: str
    agents: frozenset[str] | None
    actions: ActionsLike
    when: tuple[Condition, ...]
    verdict: Verdict
    risk: Risk | None
    eyes: Eyes
    description: str = ""
    seconds: float | None = None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(scope for condition in self.when for scope in condition.needs)

    def spoken(self, unclear: Sequence[str] = ()) -> Spoken:
        detail = f"{self.description} [taken as fulfilled: {'; '.join(unclear)}]" if unclear else self.description
        return Spoken(self.name, Reason.POLICY, self.verdict, self.risk, self.eyes, detail.strip(), self.seconds)

    def judge(self, moment: Moment) -> Spoken | None:
        """What it says to a call by an agent and with an action that it is about."""
        unclear: list[str] = []
        for condition in self.when:
            try:
                if not condition.holds(moment):
                    return None
            except CannotTellError as error:
                unclear.append(str(error))
        return self.spoken(unclear)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules in force. An action never changes while a process runs, so which rules are about it is found once."""

    rules: tuple[Rule, ...] = ()
    _about: dict[Action, tuple[Rule, ...]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def fitting(self, agent_id: UUID, agent_name: str, action: Action) -> Sequence[Rule]:
        """Those that have a say when this agent wants this; their conditions decide then."""
        about = self._about.get(action)
        if about is None:
            about = self._about[action] = tuple(rule for rule in self.rules if rule.actions.fits(action))
        names = {agent_name.lower(), str(agent_id)} if about else set()
        return [rule for rule in about if rule.agents is None or not rule.agents.isdisjoint(names)]
