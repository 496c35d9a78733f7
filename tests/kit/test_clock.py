"""Time is UTC and shown in one way."""

import time
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from atom.kit.clock import FrozenClock, SystemClock, rfc3339


def test_system_clock_is_utc_and_its_monotonic_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.now().timestamp() - time.time()) < 2
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_frozen_clock_moves_only_when_told_and_both_hands_together() -> None:
    clock = FrozenClock()
    before = clock.now()
    assert clock.now() == before
    clock.advance(90.5)
    assert clock.now() - before == timedelta(seconds=90.5)
    assert clock.monotonic() == 90.5


@given(st.integers(946_800_000_000, 4_102_000_000_000), st.integers(-14 * 60, 14 * 60))
def test_wire_format_is_utc_with_z_and_names_the_same_moment(milliseconds: int, offset: int) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    text = rfc3339(at.astimezone(timezone(timedelta(minutes=offset))))
    assert text.endswith("Z")
    assert len(text) == len("2026-01-01T00:00:00.000Z")
    assert datetime.fromisoformat(text.replace("Z", "+00:00")) == at
