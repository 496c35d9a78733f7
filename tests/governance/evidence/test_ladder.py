"""The ladder is pure: what promotion takes, what demotion takes, and that neither can be talked up."""

from dataclasses import replace
from decimal import Decimal, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.governance.evidence.ladder import (
    HYSTERESIS,
    MOST_RECENT,
    RUNGS,
    VIOLATION_WEIGHT,
    CriterionName,
    Tally,
    Z,
    compliance,
    intervention_rate,
    keeps,
    readiness,
    standing_bound,
    wilson_lower,
)
from atom.governance.models import Action, ActionClass, EffectClass, Maturity, Risk

# Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3: the interval's two ends.
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)]
LOWER = [
    (0, 0, 0.0), (0, 1, 0.0), (1, 1, 0.206549), (5, 10, 0.236593), (9, 10, 0.595850), (10, 10, 0.722467),
    (22, 25, 0.700442), (21, 25, 0.653464), (48, 50, 0.865399), (47, 50, 0.837829), (50, 100, 0.403832),
    (999, 1000, 0.994357),
]  # fmt: skip


@pytest.mark.parametrize(("successes", "trials", "low", "high"), NEWCOMBE)
def test_bound_is_the_published_one(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_lower(successes, trials) == pytest.approx(low, abs=5e-5)
    assert 1 - wilson_lower(trials - successes, trials) == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(("successes", "trials", "low"), LOWER)
def test_bound_by_the_table(successes: int, trials: int, low: float) -> None:
    assert wilson_lower(successes, trials) == pytest.approx(low, abs=1e-6)


@given(st.integers(1, 2000), st.data())
def test_bound_solves_the_equation_it_is_defined_by(trials: int, data: st.DataObject) -> None:
    """(share - p)^2 = z^2 p (1 - p) / n, with p below the share: to thirty digits."""
    getcontext().prec = 40
    successes = data.draw(st.integers(0, trials))
    n, share, z = Decimal(trials), Decimal(successes) / Decimal(trials), Decimal(Z)
    a, b, c = 1 + z * z / n, -(2 * share + z * z / n), share * share
    root = (-b - (b * b - 4 * a * c).sqrt()) / (2 * a)
    assert wilson_lower(successes, trials) == pytest.approx(float(root), abs=1e-12)


SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=120).map(tuple)
COUNT = st.integers(0, 60)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    scores = draw(SCORES)
    judged = draw(st.integers(len(scores), len(scores) + 20))
    return Tally(
        episodes=len(scores),
        successes=sum(scores),
        approved=draw(COUNT),
        edited=draw(COUNT),
        rejected=draw(COUNT),
        violations=draw(st.integers(0, 5)),
        judged=judged,
        intervened=draw(st.integers(0, judged)),
        newest=scores[:MOST_RECENT],
    )


def perfect(episodes: int) -> Tally:
    return Tally(episodes=episodes, successes=episodes, judged=episodes, newest=(1.0,) * min(episodes, MOST_RECENT))


@pytest.mark.parametrize(
    ("maturity", "episodes", "bad"),
    [(Maturity.STUDENT, 10, 1), (Maturity.INTERN, 25, 3), (Maturity.SUPERVISED, 50, 2)],
)
def test_fewest_episodes_and_most_failures_of_each_promotion(maturity: Maturity, episodes: int, bad: int) -> None:
    assert readiness(maturity, perfect(episodes)).ready
    assert [one.name for one in readiness(maturity, perfect(episodes - 1)).unmet] == [CriterionName.EPISODES]

    def failed(count: int) -> Tally:
        scores = (0.0,) * count + (1.0,) * (episodes - count)
        return replace(perfect(episodes), successes=episodes - count, newest=scores)

    assert readiness(maturity, failed(bad)).ready
    assert [one.name for one in readiness(maturity, failed(bad + 1)).unmet] == [CriterionName.SUCCESS]


@pytest.mark.parametrize(
    ("maturity", "runs", "most"), [(Maturity.STUDENT, 10, 5), (Maturity.INTERN, 25, 5), (Maturity.SUPERVISED, 50, 0)]
)
def test_intervention_rate_of_each_promotion(maturity: Maturity, runs: int, most: int) -> None:
    assert readiness(maturity, replace(perfect(runs), intervened=most)).ready
    unmet = readiness(maturity, replace(perfect(runs), intervened=most + 1)).unmet
    assert [one.name for one in unmet] == [CriterionName.INTERVENTION_RATE]


@pytest.mark.parametrize("maturity", [Maturity.STUDENT, Maturity.INTERN, Maturity.SUPERVISED])
def test_one_violation_in_the_fewest_episodes_blocks_each_promotion(maturity: Maturity) -> None:
    """With a smaller weight it would not block the first one."""
    target = maturity.above
    assert target is not None
    fewest = perfect(RUNGS[target].episodes)
    unmet = readiness(maturity, replace(fewest, violations=1)).unmet
    assert [one.name for one in unmet] == [CriterionName.COMPLIANCE]
    first = RUNGS[Maturity.INTERN]
    assert first.episodes / (first.episodes + VIOLATION_WEIGHT - 1) >= first.compliance


def test_levels_that_the_specification_names() -> None:
    asked = [(rung.episodes, rung.intervention_rate, rung.compliance) for rung in RUNGS.values()]
    assert asked == [(10, 0.5, 0.7), (25, 0.2, 0.85), (50, 0.0, 0.95)]


def test_without_evidence_nothing_is_met() -> None:
    for maturity in Maturity:
        found = readiness(maturity, Tally())
        assert not found.ready
        assert not any(one.met for one in found.criteria)
    assert intervention_rate(Tally()) is None
    assert compliance(Tally()) is None
    assert readiness(Maturity.AUTONOMOUS, perfect(1000)).target is None


def test_a_lucky_row_after_many_failures_is_not_enough_nor_an_old_record() -> None:
    lucky = Tally(episodes=40, successes=10, judged=40, newest=(1.0,) * 10 + (0.0,) * 30)
    worn = Tally(episodes=100, successes=90, judged=100, newest=(0.0,) * 10 + (1.0,) * 40)
    for tally in (lucky, worn):
        assert [one.name for one in readiness(Maturity.STUDENT, tally).unmet] == [CriterionName.SUCCESS]


@given(st.sampled_from(Maturity), tallies())
def test_more_violations_rejections_or_interventions_never_make_readiness_better(
    maturity: Maturity, tally: Tally
) -> None:
    before = readiness(maturity, tally)
    worse = [
        replace(tally, violations=tally.violations + 1),
        replace(tally, rejected=tally.rejected + 1),
        replace(tally, judged=tally.judged + 1, intervened=tally.intervened + 1),
    ]
    if tally.intervened < tally.judged:
        worse.append(replace(tally, intervened=tally.intervened + 1))
    for after in (readiness(maturity, one) for one in worse):
        for one, other in zip(before.criteria, after.criteria, strict=True):
            assert one.met or not other.met
        assert before.ready or not after.ready


@given(st.sampled_from(Maturity), tallies())
def test_a_failure_never_makes_the_success_bound_better(maturity: Maturity, tally: Tally) -> None:
    failed = replace(
        tally, episodes=tally.episodes + 1, judged=tally.judged + 1, newest=(0.0, *tally.newest)[:MOST_RECENT]
    )
    for one, other in zip(readiness(maturity, tally).criteria, readiness(maturity, failed).criteria, strict=True):
        if one.name is CriterionName.SUCCESS and one.value is not None:
            assert other.value is not None
            assert other.value <= one.value + 1e-12


@given(st.sampled_from(Maturity), SCORES, st.data())
def test_demotion_is_monotone(maturity: Maturity, scores: tuple[float, ...], data: st.DataObject) -> None:
    """Worse scores, or one more failure, never let an agent keep what it would have lost."""
    worse = tuple(data.draw(st.sampled_from([one, 0.0])) for one in scores)
    for other in (worse, (0.0, *scores)):
        assert keeps(maturity, scores) or not keeps(maturity, other)


@given(tallies())
def test_promotion_is_not_taken_back_by_the_evidence_that_allowed_it(tally: Tally) -> None:
    for maturity in Maturity:
        found = readiness(maturity, tally)
        if found.ready:
            assert found.target is not None
            assert keeps(found.target, tally.newest)


@pytest.mark.parametrize(
    ("maturity", "most"), [(Maturity.INTERN, 2), (Maturity.SUPERVISED, 6), (Maturity.AUTONOMOUS, 8)]
)
def test_failures_that_cost_a_maturity(maturity: Maturity, most: int) -> None:
    """No one is demoted for a lack of evidence, nor for a single failure."""
    assert keeps(maturity, ())
    assert keeps(maturity, (0.0,) * most)
    assert not keeps(maturity, (0.0,) * (most + 1))
    assert keeps(Maturity.STUDENT, (0.0,) * 100)
    rung = RUNGS[maturity]
    old = (1.0,) * rung.episodes + (0.0,) * 100
    assert standing_bound(maturity, old) == wilson_lower(rung.episodes, rung.episodes) > rung.success
    assert 0 < HYSTERESIS < min(one.success for one in RUNGS.values())


@given(st.sampled_from(Maturity), tallies())
def test_the_same_evidence_says_the_same(maturity: Maturity, tally: Tally) -> None:
    assert readiness(maturity, tally) == readiness(maturity, replace(tally))
    assert keeps(maturity, tally.newest) == keeps(maturity, tuple(tally.newest))


@pytest.mark.parametrize(
    ("action", "class_"),
    [
        (Action("a", Risk.LOW, EffectClass.READ), ActionClass.READ),
        (Action("a", Risk.HIGH, EffectClass.IDEMPOTENT), ActionClass.WRITE),
        (Action("a", Risk.HIGH, EffectClass.EFFECT), ActionClass.WRITE),
        (Action("a", Risk.LOW, EffectClass.IRREVERSIBLE), ActionClass.DESTROY),
        (Action("a", Risk.CRITICAL, EffectClass.READ), ActionClass.DESTROY),
        (Action("a", Risk.LOW, EffectClass.READ, egress=True), ActionClass.EGRESS),
        (Action("a", Risk.CRITICAL, EffectClass.IRREVERSIBLE, egress=True), ActionClass.EGRESS),
        (Action("a", Risk.MODERATE, EffectClass.IDEMPOTENT, delegates=True), ActionClass.DELEGATE),
    ],
)
def test_every_action_has_one_class(action: Action, class_: ActionClass) -> None:
    assert action.action_class is class_


def test_the_ladder_goes_up_and_down_by_one() -> None:
    assert [one.above for one in Maturity] == [*list(Maturity)[1:], None]
    assert [one.below for one in Maturity] == [None, *list(Maturity)[:-1]]
