"""An outage is told in two lines, whatever it costs in failures; a refusal once a minute."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from atom.infra.outage import QUIET_SECONDS, REPEAT_SECONDS, Outage, Repeated, database_outage

Lines = list[MutableMapping[str, Any]]


@dataclass(slots=True)
class Hand:
    """A clock that the test moves."""

    at: float = 100.0

    def __call__(self) -> float:
        return self.at


def database(hand: Hand) -> Outage:
    outage = database_outage()
    outage.now = hand
    return outage


def events(lines: Lines) -> list[str]:
    return [str(line["event"]) for line in lines]


def test_words_are_those_the_guide_greps_for() -> None:
    outage = database_outage()
    with capture_logs() as logs:
        outage.began(ConnectionRefusedError("host db.secret user atom"))
        outage.ended()
    assert events(logs) == ["database connection failed", "database connection restored"]
    assert [line["log_level"] for line in logs] == ["error", "info"]
    assert {line["service"] for line in logs} == {"database"}
    assert "secret" not in repr(logs)


def test_thousand_failures_are_one_line_and_counted() -> None:
    hand = Hand()
    outage = database(hand)
    with capture_logs() as logs:
        for _ in range(1000):
            hand.at += 0.1
            outage.began(OSError())
        outage.ended()
        outage.ended()
    assert events(logs) == ["database connection failed", "database connection restored"]
    assert logs[1]["failures"] == 1000


def test_success_without_a_failure_says_nothing() -> None:
    with capture_logs() as logs:
        for _ in range(100):
            database_outage().ended()
    assert logs == []


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=200))
def test_dependency_that_comes_and_goes_is_no_flood(steps: list[tuple[bool, float]]) -> None:
    hand = Hand()
    outage = database(hand)
    with capture_logs() as logs:
        for fails, seconds in steps:
            hand.at += seconds
            if fails:
                outage.began(OSError())
            else:
                outage.ended()
    begun = [line for line in logs if line["event"] == "database connection failed"]
    assert len(begun) <= 1 + (hand.at - 100.0) / QUIET_SECONDS
    assert events(logs) == ["database connection failed", "database connection restored"] * len(begun) or (
        events(logs)
        == ["database connection failed", "database connection restored"] * (len(begun) - 1)
        + ["database connection failed"]
    )


def test_outage_that_goes_on_past_the_quiet_time_is_told() -> None:
    hand = Hand()
    outage = database(hand)
    with capture_logs() as logs:
        outage.began(OSError())
        outage.ended()
        hand.at += 1
        outage.began(OSError())
        assert len(logs) == 2
        hand.at += QUIET_SECONDS
        outage.began(OSError())
    assert events(logs)[2:] == ["database connection failed"]


def test_refusal_is_told_once_a_minute_for_each_code_with_its_number() -> None:
    hand = Hand()
    repeated = Repeated("database", hand)
    with capture_logs() as logs:
        for _ in range(120):
            hand.at += 1.0
            repeated.warn("database.refused", "database_full", OSError())
        repeated.warn("database.refused", "database_busy", OSError())
    assert [(line["error_code"], line["times"]) for line in logs] == [
        ("database_full", 1),
        ("database_full", REPEAT_SECONDS),
        ("database_busy", 1),
    ]
