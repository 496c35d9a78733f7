"""Runs under random misfortune, by the functions that production decides with: see `tests/support/run_simulation`."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atom.runs import transitions
from atom.runs.transitions import State
from tests.support import run_simulation
from tests.support.run_simulation import simulate


@given(st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_no_misfortune_breaks_an_invariant(seed: int) -> None:
    world = simulate(seed)
    assert world.state.status.ended


def test_the_simulation_is_the_same_every_time() -> None:
    worlds = [simulate(12345) for _ in range(2)]
    assert worlds[0].state == worlds[1].state
    assert worlds[0].sink == worlds[1].sink
    assert worlds[0].now == worlds[1].now


def test_the_misfortunes_happen() -> None:
    """A simulation in which nothing goes wrong would prove nothing."""
    seen: Counter[str] = Counter()
    for seed in range(2000):
        world = simulate(seed)
        seen[world.state.status] += 1
        seen["fenced"] += world.fenced
        seen["retries"] += sum(world.retries.values())
        seen["approvals used"] += sum(world.used.values())
        seen["payments lost"] += sum(not one.recorded for one in world.ledger)
        seen["effects"] += sum(world.sink.values())
    for what in ("completed", "failed", "cancelled", "fenced", "retries", "approvals used", "payments lost", "effects"):
        assert seen[what] >= 5, (what, seen)


def many(seeds: int) -> None:
    for seed in range(seeds):
        simulate(seed)


def claims_without_a_new_epoch(state: State) -> State | None:
    taken = transitions.claim(state)
    return taken and replace(taken, epoch=max(1, state.epoch))


def writes_without_a_fence(state: State, _: int, move: transitions.Move) -> State:
    return transitions.moved(state, state.epoch, move) if state.owned else state


BROKEN: dict[str, tuple[str, Any]] = {
    "two owners of one epoch": ("claim", claims_without_a_new_epoch),
    "no fence": ("moved", writes_without_a_fence),
    "every effect is repeated": ("may_repeat", lambda effect, begun: True),
    "a retry is good for ever": ("may_repeat", lambda effect, begun: effect.repeatable or begun is not None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: each of these mistakes breaks an invariant within a few hundred seeds."""
    rule, broken = BROKEN[name]
    monkeypatch.setattr(run_simulation, rule, broken)
    with pytest.raises(AssertionError):
        many(1000)
