"""Memories fade by one rule: weaker with time, held longer by recalls, importance and praise; never out of reach."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import literal, select

from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.memory import keeping
from atom.memory.decay import faded, half_life, retrievability
from atom.memory.keeping import Rules
from atom.memory.models import Episode
from atom.memory.ranking import FLOOR, Candidate, rank
from atom.memory.recall import Question
from tests.memory.conftest import MORNING, Bench

DAYS = st.floats(0, 40_000)
HALF_LIFE = st.floats(1, 3_650)
UNIT = st.floats(0, 1)
FEEDBACK = st.floats(-1, 1)
ACCESSES = st.integers(0, 100_000)


def at(days: float) -> datetime:
    return MORNING + timedelta(days=days)


@given(DAYS, DAYS, HALF_LIFE)
def test_older_is_never_stronger_and_always_between_0_and_1(one: float, other: float, lasting: float) -> None:
    younger, older = sorted((one, other))
    strong, weak = (retrievability(at(days), MORNING, lasting) for days in (younger, older))
    assert 0 < weak <= strong <= 1


@given(HALF_LIFE, UNIT, UNIT, FEEDBACK, FEEDBACK, ACCESSES, ACCESSES)
def test_recalls_importance_and_praise_never_shorten_it(
    days: float, low: float, high: float, bad: float, good: float, few: int, many: int
) -> None:
    (low, high), (bad, good), (few, many) = sorted((low, high)), sorted((bad, good)), sorted((few, many))
    least = half_life(days, importance=low, feedback=bad, accesses=few)
    assert least <= half_life(days, importance=high, feedback=bad, accesses=few)
    assert least <= half_life(days, importance=low, feedback=good, accesses=few)
    assert least <= half_life(days, importance=low, feedback=bad, accesses=many)
    assert days / 4 <= least <= days * 100, "no combination makes it last for ever, or not at all"


@given(HALF_LIFE)
def test_it_is_half_at_the_half_life_and_whole_at_its_end(lasting: float) -> None:
    assert retrievability(at(lasting), MORNING, lasting) == pytest.approx(0.5, rel=1e-6)
    assert retrievability(MORNING, MORNING, lasting) == retrievability(MORNING, at(3), lasting) == 1


def test_the_curve_is_that_of_fsrs() -> None:
    stability = 30.0
    lasting = 81 / 19 * 3 * stability
    assert retrievability(at(stability), MORNING, lasting) == pytest.approx(0.9)
    assert retrievability(at(100), MORNING, lasting) == pytest.approx((1 + 19 / 81 * 100 / stability) ** -0.5)


@given(UNIT, UNIT, st.floats(0, 30))
def test_decay_moves_a_score_by_a_fifth_at_most(weak: float, strong: float, lexical: float) -> None:
    one, other = str(new_id()), str(new_id())

    def score(strength: float) -> float:
        rows = [Candidate(one, one, 0, lexical, None, True, strength), Candidate(other, other, 0, 0.0, None, True)]
        return next(ranked.score for ranked in rank(rows) if ranked.id == one)

    weak, strong = sorted((weak, strong))
    assert FLOOR * score(strong) - 1e-9 <= score(weak) <= score(strong) + 1e-9


async def test_the_database_puts_them_in_the_same_order(memory: Bench) -> None:
    for number in range(12):
        said = await memory.remember("Ann: Hello.", at=MORNING - timedelta(days=17 * number % 11))
        values = f"access_count = {7 * number % 5}, importance = {number % 4 / 4}, feedback = {number % 3 - 1}"
        await memory.execute(f"UPDATE episode SET {values} WHERE id = :id", id=said.id)
    order = faded(literal(30.0))
    async with unit_of_work(memory.sessions) as session:
        rows = (await session.scalars(select(Episode).order_by(order.desc()))).all()
        fading = await memory.service.fading(session, rows)
    scores = [fading[row.id].score for row in rows]
    assert scores == sorted(scores)
    assert len(set(scores)) > 6


async def test_days_of_an_agent_and_of_the_settings_count_for_what_is_there_already(memory: Bench) -> None:
    written = await memory.remember("Ann: The key is in the cabinet.", at=MORNING)
    before = await score(memory, written.id)
    assert await strength(memory) == pytest.approx(before, rel=1e-3)
    async with unit_of_work(memory.sessions) as session:
        await keeping.set_rules(session, "admin:ann", memory.agent_id, Rules(decay_days=3_000))
    after = await score(memory, written.id)
    assert after > before
    assert await strength(memory) == pytest.approx(after, rel=1e-3)
    other = memory.service.settings.model_copy(update={"episode_decay_days": 300})
    async with unit_of_work(memory.sessions) as session:
        await keeping.set_rules(session, "admin:ann", memory.agent_id, Rules())
        episode, _ = await memory.service.get(session, written.id)
        service = type(memory.service)(memory.service.agents, other, memory.service.written)
        assert before < (await service.fading(session, [episode]))[written.id].score < after


async def score(memory: Bench, id_: UUID) -> float:
    async with unit_of_work(memory.sessions) as session:
        episode, _ = await memory.service.get(session, id_)
        return (await memory.service.fading(session, [episode]))[id_].score


async def strength(memory: Bench) -> float:
    """What recall goes by, before it has counted itself."""
    await memory.execute("UPDATE episode SET access_count = 0")
    recalled = await memory.layer.recall.recall(Question(memory.agent_id, "key in the cabinet"))
    await memory.execute("UPDATE episode SET access_count = 0")
    why = recalled.hits[0].why
    assert why is not None
    return why.strength
