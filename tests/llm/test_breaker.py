"""Circuit breakers: what they admit and for how long they keep calls away, over any order of calls and answers."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atom.kit.clock import FrozenClock
from atom.llm.breaker import (
    FIRST_COOLDOWN,
    LONGEST_COOLDOWN,
    MAX_CIRCUITS,
    THRESHOLD,
    Admission,
    Circuits,
    CircuitState,
    cooldown_seconds,
)
from atom.llm.errors import ModelError, ModelRateLimitedError, ModelUnavailableError

ROUTE = "openai/m"


def down(retry_after: float | None = None) -> ModelError:
    kind = ModelUnavailableError if retry_after is None else ModelRateLimitedError
    return kind("no", provider="openai", model="m", retry_after=retry_after)


def circuits(jitter: float = 0.0) -> tuple[Circuits, FrozenClock]:
    clock = FrozenClock()
    return Circuits(clock, lambda: jitter), clock


def admitted(breaker: Circuits, route: str = ROUTE) -> Admission:
    found = breaker.admit(route)
    assert found is not None
    return found


def opened(jitter: float = 0.0) -> tuple[Circuits, FrozenClock]:
    """A circuit that has just opened."""
    breaker, clock = circuits(jitter)
    for _ in range(THRESHOLD):
        breaker.failed(admitted(breaker), down())
    return breaker, clock


def test_it_opens_after_three_failures_in_a_row_and_not_before() -> None:
    breaker, _ = circuits()
    for _ in range(2):
        breaker.failed(admitted(breaker), down())
    breaker.succeeded(admitted(breaker))
    for _ in range(2):
        breaker.failed(admitted(breaker), down())
    assert breaker.state(ROUTE) is CircuitState.CLOSED
    breaker.failed(admitted(breaker), down())
    assert breaker.state(ROUTE) is CircuitState.OPEN
    assert breaker.admit(ROUTE) is None


def test_after_the_cooldown_one_call_tries_it_and_closes_it() -> None:
    breaker, clock = opened()
    clock.advance(breaker.wait(ROUTE))
    probe = admitted(breaker)
    assert (breaker.admit(ROUTE), breaker.wait(ROUTE) > 0) == (None, True)
    breaker.succeeded(probe)
    assert breaker.state(ROUTE) is CircuitState.CLOSED
    assert all(breaker.admit(ROUTE) for _ in range(5))


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_each_failed_probe_opens_it_for_longer_up_to_a_minute(jitter: float) -> None:
    breaker, clock = opened(jitter)
    waits = [breaker.wait(ROUTE)]
    for _ in range(8):
        clock.advance(breaker.wait(ROUTE))
        breaker.failed(admitted(breaker), down())
        waits.append(breaker.wait(ROUTE))
    assert waits == pytest.approx([cooldown_seconds(number, jitter) for number in range(1, 10)])
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(waits))
    assert waits[0] >= FIRST_COOLDOWN / 2
    assert waits[-1] <= LONGEST_COOLDOWN


def test_a_probe_given_up_by_its_caller_leaves_room_for_the_next() -> None:
    breaker, clock = opened()
    clock.advance(breaker.wait(ROUTE))
    breaker.released(admitted(breaker))
    assert breaker.admit(ROUTE) is not None


def test_a_crowd_that_fails_together_is_one_outage() -> None:
    """Fifty calls were on their way when the provider died: that does not keep it away for a minute."""
    breaker, _ = circuits(jitter=0.999)
    crowd = [admitted(breaker) for _ in range(50)]
    for call in crowd:
        breaker.failed(call, down())
    assert 0 < breaker.wait(ROUTE) <= FIRST_COOLDOWN


@pytest.mark.parametrize("end", ["released", "failed", "succeeded"])
def test_a_call_from_before_the_outage_is_not_taken_for_the_probe(end: str) -> None:
    breaker, clock = circuits()
    straggler = admitted(breaker)
    for _ in range(THRESHOLD):
        breaker.failed(admitted(breaker), down())
    clock.advance(breaker.wait(ROUTE))
    probe = admitted(breaker)
    if end == "failed":
        breaker.failed(straggler, down())
    else:
        getattr(breaker, end)(straggler)
    assert breaker.admit(ROUTE) is None
    breaker.succeeded(probe)
    admitted(breaker)


def test_what_the_provider_asked_for_outlives_the_success_of_another_call() -> None:
    breaker, clock = circuits()
    other = admitted(breaker)
    breaker.failed(admitted(breaker), down(retry_after=30.0))
    breaker.succeeded(other)
    clock.advance(29.9)
    assert breaker.admit(ROUTE) is None
    clock.advance(1.2)
    admitted(breaker)


def test_replicas_do_not_come_back_in_step() -> None:
    waits = {round(opened(jitter)[0].wait(ROUTE), 3) for jitter in (0.0, 0.25, 0.5, 0.75)}
    assert len(waits) == 4


def test_their_number_is_bounded() -> None:
    breaker, _ = circuits()
    for number in range(MAX_CIRCUITS + 100):
        breaker.failed(admitted(breaker, f"route-{number}"), down(60.0))
    assert sum(breaker.state(f"route-{number}") is not CircuitState.CLOSED for number in range(MAX_CIRCUITS + 100)) == (
        MAX_CIRCUITS
    )


class Breaker(RuleBasedStateMachine):
    """Calls that begin, end and are given up in any order, on one route, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FrozenClock()
        self.jitter = 0.0
        self.breaker = Circuits(self.clock, lambda: self.jitter)
        self.calls: list[Admission] = []
        self.since_open: set[Admission] = set()  # those that were admitted while it was not closed
        self.asked_until = 0.0  # what the provider asked for

    @rule(jitter=st.floats(0, 0.999))
    def call(self, jitter: float) -> None:
        self.jitter = jitter
        state, wait = self.breaker.state(ROUTE), self.breaker.wait(ROUTE)
        admission = self.breaker.admit(ROUTE)
        assert (admission is not None) == (wait == 0.0)
        if admission is None:
            return
        assert self.clock.monotonic() >= self.asked_until, "the provider's own wait was undercut"
        assert state is not CircuitState.OPEN
        self.calls.append(admission)
        if state is CircuitState.HALF_OPEN:
            self.since_open.add(admission)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), retry_after=st.none() | st.floats(0, 90))
    def fails(self, data: Any, retry_after: float | None) -> None:
        call = self._pick(data)
        self.breaker.failed(call, down(retry_after))
        if retry_after is not None:
            self.asked_until = max(self.asked_until, self.clock.monotonic() + retry_after)
        if call in self.since_open:
            self.since_open.discard(call)
            assert self.breaker.state(ROUTE) is CircuitState.OPEN

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def succeeds(self, data: Any) -> None:
        call = self._pick(data)
        self.breaker.succeeded(call)
        if call in self.since_open:
            self.since_open.discard(call)
            asked = self.clock.monotonic() < self.asked_until  # by another call, meanwhile
            assert self.breaker.state(ROUTE) is CircuitState.CLOSED or asked

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def is_given_up(self, data: Any) -> None:
        call = self._pick(data)
        self.breaker.released(call)
        self.since_open.discard(call)

    @invariant()
    def never_two_probes(self) -> None:
        assert len(self.since_open) <= 1

    @invariant()
    def comes_back_in_time(self) -> None:
        assert self.breaker.wait(ROUTE) <= max(LONGEST_COOLDOWN, self.asked_until - self.clock.monotonic() + 1)

    def _pick(self, data: Any) -> Admission:
        return self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))


TestBreaker = Breaker.TestCase
