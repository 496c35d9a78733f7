"""When schedules are due: time zones, the clock's two bad nights, downtime, jitter."""

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.triggers import schedule
from atom.triggers.errors import ScheduleInvalidError
from atom.triggers.schedule import Schedule, following, parse

ID = UUID("01a20a0d-8e88-7117-9c08-46edfd98777f")
START = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca",
         "America/Sao_Paulo", "Pacific/Apia", "America/Santiago")  # fmt: skip


def moments(first: int, last: int) -> st.SearchStrategy[datetime]:
    """Between two years, to the second."""
    span = int((datetime(last, 1, 1, tzinfo=UTC) - datetime(first, 1, 1, tzinfo=UTC)).total_seconds())
    return st.integers(0, span).map(lambda seconds: datetime(first, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def dues(rule: Schedule, begin: datetime, end: datetime) -> list[datetime]:
    found, at = [], begin
    while (due := rule.after(at, anchor=begin)) is not None and due < end:
        found.append(due)
        at = due
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "begin", "end", "expected"),
    [
        ("0 9 * * *", "Europe/Berlin", "2026-01-10", "2026-01-12", ["2026-01-10 08:00", "2026-01-11 08:00"]),
        ("0 9 * * *", "Europe/Berlin", "2026-07-10", "2026-07-11", ["2026-07-10 07:00"]),
        # 02:30 does not exist on 2026-03-29 in Berlin: once, when the clock has jumped to 03:00 (01:00 UTC)
        ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "2026-03-30 12:00",
         ["2026-03-29 01:00", "2026-03-30 00:30"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "2026-03-29 12:00", ["2026-03-29 01:00"]),
        # 02:30 comes twice on 2026-10-25 in Berlin: once, the first time (00:30 UTC)
        ("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", "2026-10-26 12:00",
         ["2026-10-25 00:30", "2026-10-26 01:30"]),
        ("30 1 * * *", "America/New_York", "2026-11-01 00:00", "2026-11-02 00:00", ["2026-11-01 05:30"]),
        ("30 2 * * *", "America/New_York", "2026-03-08 00:00", "2026-03-09 00:00", ["2026-03-08 07:00"]),
        # Lord Howe moves by half an hour
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 00:00", "2026-10-04 00:00", ["2026-10-03 15:30"]),
        # all the time means all the time: every half hour of a night with one hour more, and with one less
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25 00:00", "2026-10-25 02:01",
         ["2026-10-25 00:30", "2026-10-25 01:00", "2026-10-25 01:30", "2026-10-25 02:00"]),
        ("0 0 29 2 *", "UTC", "2026-01-01", "2033-01-01", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 12 * * MON-FRI", "UTC", "2026-01-09 13:00", "2026-01-13 13:00", ["2026-01-12 12:00", "2026-01-13 12:00"]),
    ],
)  # fmt: skip
def test_cron_is_read_in_its_zone(cron: str, zone: str, begin: str, end: str, expected: list[str]) -> None:
    rule = parse({"cron": cron, "timezone": zone})
    assert dues(rule, utc(begin), utc(end)) == [utc(one) for one in expected]


@given(
    st.sampled_from(ZONES),
    st.integers(0, 59),
    st.integers(0, 23),
    moments(2015, 2030),
)
def test_a_daily_time_comes_once_on_every_day_of_its_zone(zone: str, minute: int, hour: int, begin: datetime) -> None:
    """Whatever the clock does in between: never twice, and only a day that the zone itself leaves out is left out."""
    rule = parse({"cron": f"{minute} {hour} * * *", "timezone": zone})
    found = dues(rule, begin, begin + timedelta(days=20))
    assert found == sorted(set(found))
    local = [one.astimezone(ZoneInfo(zone)) for one in found]
    assert len({one.date() for one in local}) == len(local)
    for one in local:
        gap = (one.hour * 60 + one.minute) - (hour * 60 + minute)
        assert 0 <= gap % 1440 <= 61  # at its time, or right behind a gap of the clock
    for early, late in itertools.pairwise(found):
        assert timedelta(hours=22, minutes=58) <= late - early <= timedelta(hours=25, minutes=2)


@given(
    st.sampled_from(["*", "*/7", "5,35", "0", "59"]),
    st.sampled_from(["*", "*/5", "1-3", "2", "23"]),
    st.sampled_from(["*", "1", "31", "L"]),
    st.sampled_from(["*", "MON", "SUN#2"]),
    st.sampled_from(ZONES),
    moments(2020, 2029),
)
def test_the_next_time_is_always_later_and_in_the_expression(
    minute: str, hour: str, day: str, weekday: str, zone: str, at: datetime
) -> None:
    rule = Schedule(zone, cron=f"{minute} {hour} {day} * {weekday}")
    for _ in range(5):
        due = rule.after(at, anchor=at)
        assert due is not None
        assert due > at
        assert due.utcoffset() == timedelta(0)
        assert due.second == 0
        at = due


@given(
    st.integers(10, 500_000),
    st.integers(0, 5_000_000),
    st.integers(0, 9),
    moments(2020, 2029),
)
def test_after_any_downtime_it_goes_on_in_step_and_in_the_future(
    seconds: int, down: int, jitter: int, due: datetime
) -> None:
    rule = Schedule(every=timedelta(seconds=seconds), jitter=jitter)
    now = due + timedelta(seconds=down)
    found = following(rule, ID, due=due, now=now)
    assert found is not None
    assert found.at > now
    assert found.due <= found.at <= found.due + timedelta(seconds=jitter)
    assert (found.due - due) % rule.every == timedelta(0)  # type: ignore[operator]
    assert found.due <= now + rule.every  # type: ignore[operator]


def test_jitter_delays_and_loses_no_due_time() -> None:
    """Every minute with up to 50 s of delay: still once a minute."""
    rule = parse({"cron": "* * * * *", "jitter": 50})
    due, fired = START, []
    for _ in range(200):
        found = following(rule, ID, due=due, now=due + rule.delay(ID, due))
        assert found is not None
        fired.append(found.due)
        due = found.due
    assert fired == [START + timedelta(minutes=number) for number in range(1, 201)]
    delays = {rule.delay(ID, one).total_seconds() for one in fired}
    assert len(delays) > 20
    assert max(delays) <= 50


@pytest.mark.parametrize(
    "definition",
    [
        {}, {"cron": "* * * *"}, {"cron": "* * * * * *"}, {"cron": "61 * * * *"}, {"cron": "0 0 31 2 *"},
        {"cron": "0 0 30 2 *"}, {"cron": "@daily"}, {"cron": "x" * 300}, {"cron": "* * * * *", "every": "10m"},
        {"every": "9s"}, {"every": "0m"}, {"every": "1y"}, {"every": "400d"}, {"every": "-5m"},
        {"cron": "0 9 * * *", "timezone": "Mars/Base"}, {"cron": "0 9 * * *", "timezone": "../etc/passwd"},
        {"cron": "0 9 * * *", "timezone": "Europe"}, {"every": "10m", "jitter": 601}, {"every": "10m", "jitter": -1},
        {"every": "10m", "jitter": True}, {"cron": "0 9 * * *", "jitter": 3601},
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(definition: dict[str, object]) -> None:
    with pytest.raises(ScheduleInvalidError):
        parse(definition)


def test_an_interval_is_read_as_people_write_it() -> None:
    read = schedule.parse_every
    assert [read(text).total_seconds() for text in ("10s", "10m", "2 h", "1D")] == [10, 600, 7200, 86_400]
