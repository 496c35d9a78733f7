"""The rule as a table, each cell written by hand; and nothing more restrictive ever gives a more permissive answer."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.governance.decide import EXPLAIN, Decision, Reason, Spoken, Standing, Trigger, decide
from atom.governance.models import Action, EffectClass, Eyes, Maturity, Risk, Verdict

ALLOW = Decision(Verdict.ALLOW, Reason.WITHIN_MATURITY)
ABOVE = Decision(Verdict.ASK, Reason.ABOVE_MATURITY)
FLOOR = Decision(Verdict.ASK, Reason.CRITICAL_OR_IRREVERSIBLE)
ALONE = Decision(Verdict.ASK, Reason.AUTOMATED_TRIGGER)
FAR = Decision(Verdict.DENY, Reason.FAR_ABOVE_MATURITY)
NEVER = Decision(Verdict.DENY, Reason.AUTOMATED_TRIGGER)

# Columns: risk 1 low, 2 moderate, 3 high, 4 critical.
STARTED_BY_A_PERSON = {
    ("student", "read"): (ALLOW, ABOVE, FAR, FAR),
    ("student", "idempotent"): (ALLOW, ABOVE, FAR, FAR),
    ("student", "effect"): (ALLOW, ABOVE, FAR, FAR),
    ("student", "irreversible"): (FLOOR, ABOVE, FAR, FAR),
    ("intern", "read"): (ALLOW, ALLOW, ABOVE, FAR),
    ("intern", "idempotent"): (ALLOW, ALLOW, ABOVE, FAR),
    ("intern", "effect"): (ALLOW, ALLOW, ABOVE, FAR),
    ("intern", "irreversible"): (FLOOR, FLOOR, ABOVE, FAR),
    ("supervised", "read"): (ALLOW, ALLOW, ALLOW, ABOVE),
    ("supervised", "idempotent"): (ALLOW, ALLOW, ALLOW, ABOVE),
    ("supervised", "effect"): (ALLOW, ALLOW, ALLOW, ABOVE),
    ("supervised", "irreversible"): (FLOOR, FLOOR, FLOOR, ABOVE),
    ("autonomous", "read"): (ALLOW, ALLOW, ALLOW, FLOOR),
    ("autonomous", "idempotent"): (ALLOW, ALLOW, ALLOW, FLOOR),
    ("autonomous", "effect"): (ALLOW, ALLOW, ALLOW, FLOOR),
    ("autonomous", "irreversible"): (FLOOR, FLOOR, FLOOR, FLOOR),
}
STARTED_BY_NOBODY = STARTED_BY_A_PERSON | {
    ("student", "read"): (NEVER, NEVER, NEVER, NEVER),
    ("student", "idempotent"): (NEVER, NEVER, NEVER, NEVER),
    ("student", "effect"): (NEVER, NEVER, NEVER, NEVER),
    ("student", "irreversible"): (NEVER, NEVER, NEVER, NEVER),
    ("intern", "effect"): (ALONE, ALONE, ABOVE, FAR),
}
TABLE = {trigger: STARTED_BY_A_PERSON if trigger is Trigger.MANUAL else STARTED_BY_NOBODY for trigger in Trigger}


def rows() -> Iterator[tuple[Trigger, Maturity, EffectClass, Risk, Decision]]:
    for trigger, maturity, effect, risk in product(Trigger, Maturity, EffectClass, Risk):
        yield trigger, maturity, effect, risk, TABLE[trigger][maturity.value, effect.value][risk - 1]


@pytest.mark.parametrize(("trigger", "maturity", "effect", "risk", "decision"), list(rows()))
def test_one_row_of_policy(
    trigger: Trigger, maturity: Maturity, effect: EffectClass, risk: Risk, decision: Decision
) -> None:
    action = Action("act", risk, effect)
    given_it = Standing(maturity, active=True, tools=frozenset({"act"}))
    assert decide(given_it, action, trigger) == decision
    assert decide(replace(given_it, active=False), action, trigger) == Decision(Verdict.DENY, Reason.AGENT_NOT_ACTIVE)
    assert decide(replace(given_it, tools=frozenset()), action, trigger) == Decision(Verdict.DENY, Reason.NOT_GRANTED)
    assert decide(given_it, None, trigger) == Decision(Verdict.DENY, Reason.UNKNOWN_ACTION)
    named = decide(replace(given_it, grants=frozenset({"act"})), action, trigger)
    past_the_floor = maturity is Maturity.AUTONOMOUS and decision == FLOOR
    assert named == (Decision(Verdict.ALLOW, Reason.NAMED_GRANT) if past_the_floor else decision)


def test_the_table_is_whole() -> None:
    assert len(list(rows())) == 5 * 4 * 4 * 4
    assert {decision.verdict for *_, decision in rows()} == set(Verdict)


NAMES = [
    "read_file", "read_files", "read_fil", "file", "read_file ", " read_file", "READ_FILE", "read-file",
    "read_file\x00", "re\u0430d_file", "read_file/../delete_file", "read_file,delete_file", "*", "", "delete_file",
]  # fmt: skip


@pytest.mark.parametrize(("held", "wanted"), [(a, b) for a, b in product(NAMES, NAMES) if a != b])
def test_a_name_that_resembles_another_opens_nothing(held: str, wanted: str) -> None:
    low, critical = Action(wanted, Risk.LOW, EffectClass.READ), Action(wanted, Risk.CRITICAL, EffectClass.IRREVERSIBLE)
    agent = Standing(Maturity.AUTONOMOUS, active=True, tools=frozenset({held}), grants=frozenset({held, wanted}))
    assert decide(agent, low, Trigger.MANUAL) == Decision(Verdict.DENY, Reason.NOT_GRANTED)
    floor = Standing(Maturity.AUTONOMOUS, active=True, tools=frozenset({wanted}), grants=frozenset({held}))
    assert decide(floor, critical, Trigger.MANUAL).verdict is Verdict.ASK


STRICTNESS = [Verdict.ALLOW, Verdict.ASK, Verdict.DENY]
STRICTER_EFFECTS = [EffectClass.READ, EffectClass.IDEMPOTENT, EffectClass.EFFECT, EffectClass.IRREVERSIBLE]
STRICTER_MATURITY = [Maturity.AUTONOMOUS, Maturity.SUPERVISED, Maturity.INTERN, Maturity.STUDENT]
STRICTER_TRIGGER = {Trigger.MANUAL: 0, Trigger.SCHEDULE: 1, Trigger.WEBHOOK: 1, Trigger.EVENT: 1, Trigger.AGENT: 1}
HELD = st.frozensets(st.sampled_from(["act", "other", "ac", "act2"]))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Standing, Action | None, Trigger]:
    action = Action(
        draw(st.sampled_from(["act", "ac"])),
        draw(st.sampled_from(Risk)),
        draw(st.sampled_from(EffectClass)),
        draw(st.booleans()),
    )
    standing = Standing(draw(st.sampled_from(Maturity)), draw(st.booleans()), draw(HELD), draw(HELD))
    return standing, draw(st.sampled_from([action, action, action, None])), draw(st.sampled_from(Trigger))


def at_least_as_strict(
    one: tuple[Standing, Action | None, Trigger], other: tuple[Standing, Action | None, Trigger]
) -> bool:
    """Whether in every respect `one` deserves no more than `other`."""
    (agent, action, trigger), (agent2, action2, trigger2) = one, other
    agents = (
        STRICTER_MATURITY.index(agent.maturity) >= STRICTER_MATURITY.index(agent2.maturity)
        and agent.active <= agent2.active
        and agent.tools <= agent2.tools
        and agent.grants <= agent2.grants
    )
    if action is None or action2 is None:
        actions = action is None
    else:
        actions = (
            action.name == action2.name
            and action.risk >= action2.risk
            and STRICTER_EFFECTS.index(action.effect) >= STRICTER_EFFECTS.index(action2.effect)
        )
    return agents and actions and STRICTER_TRIGGER[trigger] >= STRICTER_TRIGGER[trigger2]


@given(situations(), st.data())
def test_less_standing_more_risk_or_nobody_asking_never_opens_more(
    other: tuple[Standing, Action | None, Trigger], data: st.DataObject
) -> None:
    one = data.draw(
        situations().filter(lambda found: at_least_as_strict(found, other)) | st.just(stricter(other, data))
    )
    assert at_least_as_strict(one, other)
    assert STRICTNESS.index(decide(*one).verdict) >= STRICTNESS.index(decide(*other).verdict)


def stricter(
    found: tuple[Standing, Action | None, Trigger], data: st.DataObject
) -> tuple[Standing, Action | None, Trigger]:
    """The same situation with one thing made worse."""
    agent, action, trigger = found
    what = data.draw(st.sampled_from(["maturity", "active", "tools", "grants", "risk", "effect", "trigger", "action"]))
    place = STRICTER_MATURITY.index(agent.maturity)
    if what == "maturity":
        agent = replace(agent, maturity=data.draw(st.sampled_from(STRICTER_MATURITY[place:])))
    elif what == "active":
        agent = replace(agent, active=False)
    elif what in {"tools", "grants"}:
        fewer = getattr(agent, what) - data.draw(HELD)
        agent = replace(agent, tools=fewer) if what == "tools" else replace(agent, grants=fewer)
    elif what == "trigger":
        trigger = data.draw(
            st.sampled_from([one for one in Trigger if STRICTER_TRIGGER[one] >= STRICTER_TRIGGER[trigger]])
        )
    elif action is not None:
        action = worse(action, what, data)
    return agent, action, trigger


def worse(action: Action, what: str, data: st.DataObject) -> Action | None:
    if what == "risk":
        return replace(action, risk=data.draw(st.sampled_from([risk for risk in Risk if risk >= action.risk])))
    if what == "effect":
        return replace(
            action, effect=data.draw(st.sampled_from(STRICTER_EFFECTS[STRICTER_EFFECTS.index(action.effect) :]))
        )
    return None


@given(situations())
def test_what_only_a_person_may_decide_is_never_allowed_without_a_named_grant(
    found: tuple[Standing, Action | None, Trigger],
) -> None:
    agent, action, _ = found
    if action is not None and (action.risk is Risk.CRITICAL or action.effect is EffectClass.IRREVERSIBLE):
        allowed = decide(*found).verdict is Verdict.ALLOW
        assert not allowed or (agent.maturity is Maturity.AUTONOMOUS and action.name in agent.grants & agent.tools)


def test_every_reason_is_explained_and_every_rank_is_a_risk() -> None:
    assert set(EXPLAIN) == set(Reason)
    assert [maturity.rank for maturity in Maturity] == [int(risk) for risk in Risk] == [1, 2, 3, 4]


SPOKEN = st.builds(
    Spoken,
    rule=st.sampled_from(["a", "b"]),
    reason=st.sampled_from([Reason.POLICY, Reason.TAINTED]),
    verdict=st.sampled_from(Verdict),
    risk=st.none() | st.sampled_from(Risk),
    eyes=st.sampled_from(Eyes),
)


@given(situations(), st.lists(SPOKEN, max_size=4), SPOKEN)
def test_a_rule_that_speaks_only_ever_tightens(
    found: tuple[Standing, Action | None, Trigger], spoken: list[Spoken], more: Spoken
) -> None:
    without, with_it = decide(*found, spoken), decide(*found, [*spoken, more])
    assert decide(*found).verdict.strictness <= without.verdict.strictness <= with_it.verdict.strictness
    assert without.eyes.strictness <= with_it.eyes.strictness
    assert with_it.verdict.strictness >= more.verdict.strictness
    assert with_it.rules == (*spoken, more)


def test_a_raised_risk_is_judged_like_that_risk() -> None:
    agent = Standing(Maturity.SUPERVISED, active=True, tools=frozenset({"act"}))
    low = Action("act", Risk.LOW, EffectClass.READ)
    for risk in Risk:
        raised = decide(agent, low, Trigger.MANUAL, [Spoken("r", Reason.POLICY, risk=risk)])
        assert raised == decide(agent, replace(low, risk=risk), Trigger.MANUAL)


def test_the_rule_that_decides_is_named_to_the_agent() -> None:
    agent = Standing(Maturity.AUTONOMOUS, active=True, tools=frozenset({"act"}))
    said = decide(
        agent,
        Action("act", Risk.LOW, EffectClass.READ),
        Trigger.MANUAL,
        [Spoken("office-hours", Reason.POLICY, Verdict.ASK, detail="after 18:00")],
    )
    assert "office-hours: after 18:00" in said.text
