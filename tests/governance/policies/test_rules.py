"""Each condition of a rule, the ways in which it cannot be judged, and that a rule never loosens anything."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.governance.decide import Spoken, Standing, Trigger, decide
from atom.governance.models import Action, EffectClass, Eyes, Maturity, Risk, Verdict
from atom.governance.policies.document import parse
from atom.governance.policies.errors import PolicyInvalidError
from atom.governance.policies.rules import Moment, Rule, RuleSet, Spent
from atom.governance.policies.schema import read_policy
from atom.kit.ids import new_id

NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)  # a Wednesday


def rules(text: str) -> tuple[Rule, ...]:
    return read_policy(parse(text)).build()


def rule(when: dict[str, Any], **fields: Any) -> Rule:
    body = {"name": "r", "effect": "ask", "when": when, **fields}
    (found,) = rules(json.dumps({"policy": "p", "rules": [body]}))
    return found


def said(one: Rule, arguments: dict[str, Any], *, now: datetime = NOON, **spent: Spent) -> Spoken | None:
    return one.judge(Moment(arguments, now, spent))


def on(path: str, **tests: Any) -> Rule:
    return rule({"arguments": [{"path": path, **tests}]})


LOOKS: list[tuple[Rule, dict[str, Any], bool | None]] = [
    # None: it cannot be judged, so it counts as fulfilled and says so
    (on("$.a", equals="x"), {"a": "x"}, True),
    (on("$.a", equals="x"), {"a": "X"}, False),
    (on("$.a", equals="x"), {"a": "xx"}, False),
    (on("$.a", equals="x"), {}, None),
    (on("$.a", equals="x"), {"a": 1}, None),
    (on("$.a", equals=1), {"a": True}, None),
    (on("$.a", equals=1), {"a": 1.0}, True),
    (on("$.a", equals=True), {"a": True}, True),
    (on("$.a", equals=True), {"a": 1}, None),
    (on("$.a", equals=None), {"a": None}, True),
    (on("$.a", equals={"k": [1]}), {"a": {"k": [1]}}, True),
    (on("$.a", equals={"k": [1]}), {"a": {"k": [True]}}, False),
    (on("$.a", not_equals="x"), {"a": "y"}, True),
    (on("$.a", not_equals="x"), {"a": "x"}, False),
    (on("$.a", not_equals="x"), {"b": "x"}, None),
    (on("$.a", **{"in": ["x", 2]}), {"a": 2}, True),
    (on("$.a", **{"in": ["x", 2]}), {"a": "y"}, False),
    (on("$.a", **{"in": ["x", 2]}), {"a": ["x"]}, None),
    (on("$.a", not_in=["x", "y"]), {"a": "z"}, True),
    (on("$.a", not_in=["x", "y"]), {"a": "y"}, False),
    (on("$.a", matches=r"@example\.com$"), {"a": "me@example.com"}, True),
    (on("$.a", matches=r"@example\.com$"), {"a": "me@example.com.evil"}, False),
    (on("$.a", matches="x"), {"a": 3}, None),
    (on("$.a", matches="x"), {"a": "y" * 20_001}, None),
    (on("$.a", not_matches="^safe/"), {"a": "safe/x"}, False),
    (on("$.a", not_matches="^safe/"), {"a": "/etc"}, True),
    (on("$.a", not_matches="^safe/"), {"a": None}, None),
    (on("$.a", greater=10), {"a": 10}, False),
    (on("$.a", greater=10), {"a": 10.01}, True),
    (on("$.a", greater=10), {"a": "11"}, None),
    (on("$.a", greater=10), {"a": True}, None),
    (on("$.a", greater=10), {"a": float("nan")}, None),
    (on("$.a", greater=10), {"a": 10**400}, True),
    (on("$.a", less=0), {"a": -1}, True),
    (on("$.a", less=0), {"a": 0}, False),
    (on("$.a", greater=1, less=3), {"a": 2}, True),
    (on("$.a", greater=1, less=3), {"a": 3}, False),
    (on("$.a", equals=2, matches="x"), {"a": 3}, False),  # one test fails for certain: the other does not matter
    (on("$.a", equals=2, matches="x"), {"a": 2}, None),
    (on("$.a.b[1].c", equals=1), {"a": {"b": [{}, {"c": 1}]}}, True),
    (on("$.a.b[1].c", equals=1), {"a": {"b": [{}]}}, None),
    (on("$.a.b[1].c", equals=1), {"a": "b"}, None),
    (on("$['odd name']", equals=1), {"odd name": 1}, True),
    (on("$.to[*]", matches="evil"), {"to": ["good", "evil"]}, True),
    (on("$.to[*]", matches="evil"), {"to": ["good", "better"]}, False),
    (on("$.to[*]", matches="evil"), {"to": []}, False),
    (on("$.to[*]", matches="evil"), {"to": "evil"}, None),
    (on("$.to[*]", matches="evil"), {"to": ["good", 7]}, None),
    (on("$.to[*].name", equals="x"), {"to": [{"name": "y"}, {}]}, None),
    (on("$.to[*]", equals=1), {"to": [0] * 1001}, None),
    (on("$", equals={}), {}, True),
]


@pytest.mark.parametrize("number", range(len(LOOKS)))
def test_a_condition_on_an_argument(number: int) -> None:
    one, arguments, expected = LOOKS[number]
    found = said(one, arguments)
    assert (found is not None) == (expected is not False), (one.when, arguments)
    assert found is None or ("taken as fulfilled" in found.detail) == (expected is None)


OFFICE = {"zone": "Europe/Berlin", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}
NIGHT = {"zone": "Europe/Berlin", "days": ["fri"], "from": "22:00", "to": "06:00"}
TIMES: list[tuple[dict[str, Any], str, bool]] = [
    (OFFICE, "2026-07-01T06:59:59Z", False),  # summer: UTC+2
    (OFFICE, "2026-07-01T07:00:00Z", True),
    (OFFICE, "2026-07-01T14:59:59Z", True),
    (OFFICE, "2026-07-01T15:00:00Z", False),
    (OFFICE, "2026-12-01T07:00:00Z", False),  # winter: UTC+1
    (OFFICE, "2026-12-01T08:00:00Z", True),
    (OFFICE, "2026-07-04T10:00:00Z", False),  # a Saturday
    ({**OFFICE, "outside": True}, "2026-07-04T10:00:00Z", True),
    ({**OFFICE, "outside": True}, "2026-07-01T10:00:00Z", False),
    (NIGHT, "2026-07-03T19:59:00Z", False),
    (NIGHT, "2026-07-03T20:00:00Z", True),
    (NIGHT, "2026-07-04T03:59:00Z", True),  # Saturday morning belongs to Friday's night
    (NIGHT, "2026-07-04T04:00:00Z", False),
    (NIGHT, "2026-07-03T03:00:00Z", False),  # Thursday's night
    ({"zone": "UTC", "days": ["wed"]}, "2026-07-01T00:00:00Z", True),
    ({"zone": "UTC", "days": ["wed"]}, "2026-07-01T23:59:59Z", True),
    ({"zone": "UTC", "days": ["wed"]}, "2026-07-02T00:00:00Z", False),
    ({"zone": "UTC", "from": "18:00", "to": "24:00"}, "2026-07-01T23:59:59Z", True),
    ({"zone": "UTC", "from": "18:00", "to": "24:00"}, "2026-07-02T00:00:00Z", False),
]


@pytest.mark.parametrize(("window", "at", "inside"), TIMES)
def test_a_window_of_time_in_its_own_zone(window: dict[str, Any], at: str, inside: bool) -> None:
    assert (said(rule({"time": window}), {}, now=datetime.fromisoformat(at)) is not None) is inside


def test_money_that_nobody_knows_counts_as_spent() -> None:
    one = rule({"money": {"run_usd_above": 0.1}})
    assert one.needs == {"run"}
    assert said(one, {}, run=Spent(Decimal("0.1"))) is None
    assert said(one, {}, run=Spent(Decimal("0.10000001"))) is not None
    for found in (said(one, {}), said(one, {}, run=Spent(Decimal("0.05"), known=False))):
        assert found is not None
        assert "taken as fulfilled" in found.detail
    certain = said(one, {}, run=Spent(Decimal(1), known=False))
    assert certain is not None
    assert certain.detail == ""


def test_all_conditions_must_hold_and_one_that_does_not_is_enough() -> None:
    both = rule({"arguments": [{"path": "$.a", "equals": 1}], "time": {"zone": "UTC", "days": ["wed"]}})
    assert said(both, {"a": 1}) is not None
    assert said(both, {"a": 2}) is None
    assert said(both, {}) is not None
    assert said(both, {}, now=datetime(2026, 7, 2, tzinfo=UTC)) is None


ACTIONS = [
    Action("transfer", Risk.HIGH, EffectClass.IRREVERSIBLE, egress=True),
    Action("transfer_budget", Risk.HIGH, EffectClass.EFFECT),
    Action("read", Risk.LOW, EffectClass.READ),
]
SELECTS = [
    ({}, ["transfer", "transfer_budget", "read"]),
    ({"names": ["transfer"]}, ["transfer"]),
    ({"names": ["transf"]}, []),
    ({"effects": ["effect", "irreversible"]}, ["transfer", "transfer_budget"]),
    ({"min_risk": 2}, ["transfer", "transfer_budget"]),
    ({"egress": True}, ["transfer"]),
    ({"egress": False}, ["transfer_budget", "read"]),
    ({"names": ["transfer", "read"], "min_risk": 3}, ["transfer"]),
]


@pytest.mark.parametrize(("select", "names"), SELECTS)
def test_a_rule_is_about_exactly_the_actions_it_selects(select: dict[str, Any], names: list[str]) -> None:
    found = RuleSet((rule({"time": {"zone": "UTC"}}, actions=select),))
    id_ = new_id()
    for _ in range(2):  # the second time from what was found the first time
        assert [one.name for one in ACTIONS if found.fitting(id_, "x", one)] == names


def test_a_rule_concerns_agents_by_name_in_any_case_or_by_id() -> None:
    id_, other = new_id(), new_id()
    found = RuleSet((rule({"time": {"zone": "UTC"}}, agents=["Billing", str(id_)]),))
    concerned = [(id_, "x"), (other, "billing"), (other, "BILLING")]
    assert all(found.fitting(*who, ACTIONS[0]) for who in concerned)
    assert not any(
        found.fitting(*who, ACTIONS[0]) for who in [(other, "billing2"), (other, "bill"), (other, str(id_)[:8])]
    )


WRONG = [
    ("effect: ask", "effekt: ask", 4, 5, "effekt"),
    ("effect: ask", "effect: allow", 4, 5, "'raise', 'ask' or 'forbid'"),
    ("effect: ask", "effect: raise", 3, 5, "risk"),
    ("effect: ask", "effect: ask\n    risk: 3", 3, 5, "risk"),
    ("effect: ask", "effect: raise\n    risk: 5", 5, 5, "less than or equal to 4"),
    ("effect: ask", "effect: raise\n    risk: true", 5, 5, "number"),
    ("effect: ask", "effect: forbid\n    eyes: two", 3, 5, "nobody approves"),
    ("effect: ask", "effect: ask\n    when: {}\n    agents: []", 6, 5, "at least 1"),
    ("effect: ask", "effect: ask\n    when:\n      arguments: []", 6, 7, "at least 1"),
    ("effect: ask", "effect: ask\n    when:\n      arguments: [{path: $.a}]", 6, 19, "what to compare with"),
    ("effect: ask", "effect: ask\n    when:\n      arguments: [{path: a, equals: 1}]", 6, 20, "begins with $"),
    ("effect: ask", "effect: ask\n    when:\n      arguments: [{path: $.a, matches: '('}]", 6, 31, "RE2"),
    ("effect: ask", "effect: ask\n    when:\n      arguments: [{path: $.a, matches: '(a)\\1'}]", 6, 31, "RE2"),
    (
        "effect: ask",
        "effect: ask\n    when:\n      arguments: [{path: $.a, matches: '((a{100}){100}){9}'}]",
        6,
        31,
        "RE2",
    ),
    ("effect: ask", "effect: ask\n    when:\n      money: {run_usd_above: '5'}", 6, 15, "number"),
    ("effect: ask", "effect: ask\n    when:\n      time: {zone: Europe/Berlim}", 6, 14, "Europe/Berlin"),
    ("effect: ask", "effect: ask\n    when:\n      time: {zone: ../../etc/passwd}", 6, 14, "not a time zone"),
    ("effect: ask", "effect: ask\n    when:\n      time: {zone: UTC, from: 9}", 6, 25, "HH:MM"),
    ("policy: p", "policy: P", 1, 1, "pattern"),
    ("- name: r", "- {name: r, effect: ask}\n  - name: r", 1, 1, "two rules are named 'r'"),
    ("rules:", "rule:", 2, 1, "rule"),
]


@pytest.mark.parametrize(("old", "new", "line", "column", "said"), WRONG)
def test_a_mistake_is_found_where_it_stands(old: str, new: str, line: int, column: int, said: str) -> None:
    text = "policy: p\nrules:\n  - name: r\n    effect: ask\n"
    assert rules(text)
    with pytest.raises(PolicyInvalidError) as refused:
        rules(text.replace(old, new))
    assert said in str(refused.value)
    assert (refused.value.details["line"], refused.value.details["column"]) == (line, column)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "to"]), inner, max_size=3),
    max_leaves=8,
)
CONDITIONS = st.sampled_from([one for one, _, _ in LOOKS] + [rule({"time": window}) for window, _, _ in TIMES])
EFFECTS: list[dict[str, Any]] = [
    {"effect": "ask"},
    {"effect": "forbid"},
    {"effect": "raise", "risk": 4},
    {"effect": "raise", "risk": 1},
    {"effect": "ask", "eyes": "two"},
]


@given(
    st.lists(st.tuples(CONDITIONS, st.sampled_from(EFFECTS)), max_size=4),
    st.dictionaries(st.sampled_from(["a", "to"]), JSON, max_size=3),
    st.sampled_from(Maturity),
    st.sampled_from(ACTIONS),
    st.sampled_from(Trigger),
    st.booleans(),
)
def test_no_policy_whatever_the_arguments_opens_more(
    drawn: list[tuple[Rule, dict[str, Any]]],
    arguments: dict[str, Any],
    maturity: Maturity,
    action: Action,
    trigger: Trigger,
    granted: bool,
) -> None:
    """And each rule on top never makes an answer more permissive."""
    named = frozenset({action.name})
    agent = Standing(maturity, active=True, tools=named, grants=named if granted else frozenset())
    spoken: list[Spoken] = []
    before = decide(agent, action, trigger)
    for one, effect in drawn:
        made = rule({"time": {"zone": "UTC"}}, **effect)
        found = Rule("p/r", None, made.actions, one.when, made.verdict, made.risk, made.eyes).judge(
            Moment(arguments, NOON, {})
        )
        spoken += [found] if found is not None else []
        after = decide(agent, action, trigger, spoken)
        assert after.verdict.strictness >= before.verdict.strictness
        assert after.eyes.strictness >= before.eyes.strictness
        before = after
    if any(one.verdict is Verdict.DENY for one in spoken):
        assert before.verdict is Verdict.DENY
    if any(one.eyes is Eyes.TWO for one in spoken):
        assert before.eyes is Eyes.TWO


def test_a_pattern_takes_no_longer_than_its_text_is_long() -> None:
    """Where backtracking takes for ever: the first of these takes Python's own engine longer than anybody waits."""
    for pattern in ("^(a+)+$", "(x+x+)+y", "(.*a.*){20}z", "^(([a-z])+.)+[A-Z]([a-z])+$"):
        one = on("$.a", matches=pattern)
        began = datetime.now(UTC)
        said(one, {"a": "a" * 19_999 + "!"})
        assert (datetime.now(UTC) - began).total_seconds() < 10, pattern
