"""The shape of a policy document, and the rules it becomes."""

import difflib
from datetime import time
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from atom.governance.models import EffectClass, Eyes, Risk, Verdict
from atom.governance.policies.comparing import equals, greater, less, matches, within
from atom.governance.policies.document import Document
from atom.governance.policies.errors import PolicyInvalidError
from atom.governance.policies.paths import parse_path
from atom.governance.policies.rules import ActionsLike, Condition, InWindow, OnArgument, Rule, SpentMore, Test

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_RULES = 200
MAX_NAMES = 200
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Names = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=MAX_NAMES)]
VERDICTS = {"raise": Verdict.ALLOW, "ask": Verdict.ASK, "forbid": Verdict.DENY}


class Part(BaseModel):
    """Nothing is guessed: no field that is not known, no text that becomes a number."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _known_zone(name: str) -> str:
    if name not in _zones():
        near = difflib.get_close_matches(name[:64], sorted(_zones()), n=1)
        raise ValueError(f"{name[:64]!r} is not a time zone{f'; did you mean {near[0]}?' if near else ''}")
    return name


def _clock(text: Any) -> Any:
    """A time of day as people write it; 24:00 is the end of a day."""
    if not isinstance(text, str):
        raise ValueError('write a time of day as "HH:MM"')
    hours, _, minutes = text.partition(":")
    if not (len(hours) == 2 and len(minutes) == 2 and hours.isdecimal() and minutes.isdecimal()):
        raise ValueError('write a time of day as "HH:MM"')
    if text == "24:00":
        return "00:00"
    time(int(hours), int(minutes))  # raises ValueError
    return text


def _readable_path(text: str) -> str:
    parse_path(text)
    return text


def _readable_pattern(text: str) -> str:
    matches(text, negated=False)
    return text


def _a_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("write a number")
    return value


def _a_flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("write true or false")
    return value


def _money(value: Any) -> Any:
    return str(_a_number(value))  # 0.1 as it was written, not as the nearest float


Flag = Annotated[bool, BeforeValidator(_a_flag)]
Numeric = Annotated[int | float, BeforeValidator(_a_number)]
Usd = Annotated[Decimal, BeforeValidator(_money), Field(ge=0, max_digits=19)]
Pattern = Annotated[str, Field(min_length=1), AfterValidator(_readable_pattern)]
Values = Annotated[list[Any], Field(min_length=1, max_length=MAX_NAMES)]
RiskNumber = Annotated[int, BeforeValidator(_a_number), Field(ge=1, le=4)]
TESTS = ("equals", "not_equals", "in", "not_in", "matches", "not_matches", "greater", "less")


class ArgumentPart(Part):
    path: Annotated[str, AfterValidator(_readable_path)]
    equals: Any = None
    not_equals: Any = None
    in_: Values | None = Field(default=None, alias="in")
    not_in: Values | None = None
    matches: Pattern | None = None
    not_matches: Pattern | None = None
    greater: Numeric | None = None
    less: Numeric | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> "ArgumentPart":
        if self.model_fields_set <= {"path"}:
            raise ValueError(f"say what to compare with: one of {', '.join(TESTS)}")
        return self

    def build(self) -> OnArgument:
        tests: list[Test] = []
        if "equals" in self.model_fields_set:
            tests.append(equals(self.equals, negated=False))
        if "not_equals" in self.model_fields_set:
            tests.append(equals(self.not_equals, negated=True))
        tests += [within(one, negated=no) for one, no in ((self.in_, False), (self.not_in, True)) if one is not None]
        patterns = ((self.matches, False), (self.not_matches, True))
        tests += [matches(one, negated=no) for one, no in patterns if one is not None]
        tests += [greater(self.greater)] if self.greater is not None else []
        tests += [less(self.less)] if self.less is not None else []
        return OnArgument(parse_path(self.path), tuple(tests))


class TimePart(Part):
    zone: Annotated[str, AfterValidator(_known_zone)]
    days: list[Day] = Field(default=list(WEEK), min_length=1, max_length=7)
    from_: Annotated[time, BeforeValidator(_clock)] = Field(default=time(0), alias="from")
    to: Annotated[time, BeforeValidator(_clock)] = time(0)
    outside: Flag = False

    def build(self) -> InWindow:
        days = frozenset(WEEK.index(day) for day in self.days)
        return InWindow(ZoneInfo(self.zone), days, self.from_, self.to, self.outside)


class MoneyPart(Part):
    run_usd_above: Usd | None = None
    agent_day_usd_above: Usd | None = None
    day_usd_above: Usd | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> "MoneyPart":
        if not self.model_fields_set:
            raise ValueError("say above which amount: run_usd_above, agent_day_usd_above or day_usd_above")
        return self

    def build(self) -> list[SpentMore]:
        amounts = (("run", self.run_usd_above), ("agent_day", self.agent_day_usd_above), ("day", self.day_usd_above))
        return [SpentMore(scope, usd) for scope, usd in amounts if usd is not None]


class WhenPart(Part):
    arguments: list[ArgumentPart] = Field(default_factory=list, min_length=1, max_length=20)
    time: TimePart | None = None
    money: MoneyPart | None = None

    def build(self) -> tuple[Condition, ...]:
        found: list[Condition] = [one.build() for one in self.arguments]
        if self.time is not None:
            found.append(self.time.build())
        if self.money is not None:
            found += self.money.build()
        return tuple(found)


class ActionsPart(Part):
    names: Names | None = None
    effects: list[EffectClass] | None = Field(default=None, min_length=1, max_length=4)
    min_risk: RiskNumber | None = None
    egress: Flag | None = None

    def build(self) -> ActionsLike:
        return ActionsLike(
            frozenset(self.names) if self.names is not None else None,
            frozenset(self.effects) if self.effects is not None else None,
            Risk(self.min_risk) if self.min_risk is not None else None,
            self.egress,
        )


class RulePart(Part):
    name: Name
    description: str = Field(default="", max_length=500)
    agents: Names | None = None
    actions: ActionsPart = ActionsPart()
    when: WhenPart = WhenPart()
    effect: Literal["raise", "ask", "forbid"]
    risk: RiskNumber | None = None
    eyes: Literal["other", "two"] | None = None
    approval_seconds: Annotated[int, BeforeValidator(_a_number), Field(ge=1, le=2_592_000)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> "RulePart":
        if (self.effect == "raise") != (self.risk is not None):
            raise ValueError("`risk` (2 to 4) goes with effect `raise`, and with no other")
        if self.effect == "forbid" and self.eyes is not None:
            raise ValueError("`eyes` is about who approves; what is forbidden nobody approves")
        if self.effect == "forbid" and self.approval_seconds is not None:
            raise ValueError("`approval_seconds` is about who approves; what is forbidden nobody approves")
        return self

    def build(self, policy: str) -> Rule:
        return Rule(
            name=f"{policy}/{self.name}",
            agents=frozenset(name.lower() for name in self.agents) if self.agents is not None else None,
            actions=self.actions.build(),
            when=self.when.build(),
            verdict=VERDICTS[self.effect],
            risk=Risk(self.risk) if self.risk is not None else None,
            eyes=Eyes(self.eyes) if self.eyes is not None else Eyes.ANY,
            description=self.description,
            seconds=self.approval_seconds,
        )


class PolicyPart(Part):
    policy: Name
    description: str = Field(default="", max_length=2000)
    rules: list[RulePart] = Field(min_length=1, max_length=MAX_RULES)

    @model_validator(mode="after")
    def _names_differ(self) -> "PolicyPart":
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two rules are named {twice!r}")
        return self

    def build(self) -> tuple[Rule, ...]:
        return tuple(rule.build(self.policy) for rule in self.rules)


def policy_of(value: Any) -> PolicyPart:
    """Raises pydantic's ValidationError."""
    return PolicyPart.model_validate(value)


def read_policy(document: Document) -> PolicyPart:
    """Raises PolicyInvalidError with the line and column of the first thing that is wrong."""
    try:
        return policy_of(document.value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        problem = min(problems, key=lambda one: one["type"] == "missing")  # `effekt` says more than no `effect`
        path = tuple(problem["loc"])
        place = document.place(path)
        where = ".".join(str(part) for part in path)
        said = problem["msg"].removeprefix("Value error, ")
        message = f"{where}: {said}." if where else f"{said}."
        hint = "docs/operate/policies.md has every field, with examples."
        raise PolicyInvalidError(message, line=place.line, column=place.column, hint=hint) from None
