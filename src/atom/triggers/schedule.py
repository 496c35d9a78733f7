"""When a schedule is due: cron in a time zone, or every so often. Pure.

A local time that the clock skips in spring runs once right after the gap; one that comes twice in autumn runs the first
time. An expression whose minute or hour begins with `*` follows the clock as it is: it means "all the time".
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from atom.triggers.errors import ScheduleInvalidError

EVERY = re.compile(r"(\d{1,6})\s*(s|m|h|d)")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LEAST_SECONDS = 10
MOST_SECONDS = 366 * 86_400
MAX_JITTER = 3600
MAX_EXPRESSION = 200
TRIES = 200  # results of the library that are not behind `after`: an hour that comes twice has at most 120


@dataclass(frozen=True, slots=True)
class Schedule:
    """Either `cron` (five fields, read in `zone`) or `every`, from `anchor` on. `jitter`: seconds, at most."""

    zone: str = "UTC"
    cron: str | None = None
    every: timedelta | None = None
    jitter: int = 0

    def after(self, moment: datetime, *, anchor: datetime) -> datetime | None:
        """The first due time behind `moment`, in UTC. None: it never comes again. Raises ScheduleInvalidError."""
        if self.every is not None:
            passed = (moment - anchor) // self.every
            return (anchor + max(passed + 1, 1) * self.every).astimezone(UTC)
        return _cron_after(self.cron or "", self.zone, moment)

    def delay(self, trigger_id: UUID, due: datetime) -> timedelta:
        """The jitter of this due time: spread over triggers, and the same whoever computes it."""
        if not self.jitter:
            return timedelta(0)
        digest = hashlib.sha256(f"{trigger_id} {due.timestamp()}".encode()).digest()
        return timedelta(seconds=int.from_bytes(digest[:8], "big") % (self.jitter + 1))


@dataclass(frozen=True, slots=True)
class Next:
    """`due`: by the rule; `at`: when it really fires."""

    due: datetime
    at: datetime


def following(schedule: Schedule, trigger_id: UUID, *, due: datetime | None, now: datetime) -> Next | None:
    """What comes behind `due`, which has fired at `now`. Whatever was missed meanwhile is not made up for one by one.

    `due` None: nothing has fired since it was made or enabled.
    """
    anchor = due or now
    for base in dict.fromkeys((anchor, now)):
        found = schedule.after(base, anchor=anchor)
        if found is None:
            return None
        at = found + schedule.delay(trigger_id, found)
        if at > now:
            return Next(found, at)
    return None


def parse(definition: Mapping[str, Any]) -> Schedule:
    """From JSON: `cron` and `timezone`, or `every` ("10m"); `jitter` in seconds. Raises ScheduleInvalidError."""
    cron, every = definition.get("cron"), definition.get("every")
    if (cron is None) == (every is None):
        raise ScheduleInvalidError("schedule: give either a cron expression or `every`.", field="definition")
    zone = str(definition.get("timezone") or "UTC")
    time_zone(zone)
    jitter = _jitter(definition.get("jitter", 0))
    if every is not None:
        interval = parse_every(str(every))
        if jitter >= interval.total_seconds():
            raise ScheduleInvalidError("jitter: it must be shorter than the interval.", field="definition.jitter")
        return Schedule(zone, every=interval, jitter=jitter)
    expression = " ".join(str(cron).split())
    schedule = Schedule(zone, cron=expression, jitter=jitter)
    if schedule.after(datetime(2024, 1, 1, tzinfo=UTC), anchor=datetime(2024, 1, 1, tzinfo=UTC)) is None:
        raise ScheduleInvalidError(f"cron: {expression!r} never comes.", field="definition.cron")
    return schedule


def parse_every(text: str) -> timedelta:
    found = EVERY.fullmatch(text.strip().lower())
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise ScheduleInvalidError(
            f"every: {text[:40]!r} is not an interval.",
            hint=f"A number with s, m, h or d, at least {LEAST_SECONDS}s, at most a year: 10m.",
            field="definition.every",
        )
    return timedelta(seconds=seconds)


def time_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleInvalidError(
            f"timezone: {name[:60]!r} is not a time zone.", hint="An IANA name: Europe/Berlin.", field="definition"
        ) from error


def _jitter(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_JITTER:
        raise ScheduleInvalidError(f"jitter: 0 to {MAX_JITTER} seconds.", field="definition.jitter")
    return value


def _cron_after(expression: str, zone: str, moment: datetime) -> datetime | None:
    if len(expression) > MAX_EXPRESSION or len(expression.split()) != 5:
        raise ScheduleInvalidError(
            f"cron: {expression[:60]!r} does not have five fields.",
            hint="Minute, hour, day of month, month, day of week: 0 9 * * MON-FRI.",
            field="definition.cron",
        )
    try:
        found = CronSim(expression, moment.astimezone(time_zone(zone)))
        for _ in range(TRIES):
            due = next(found).astimezone(UTC)
            if due > moment:
                return due
    except CronSimError as error:
        raise ScheduleInvalidError(f"cron: {expression!r}: {error}.", field="definition.cron") from error
    except StopIteration:
        return None
    raise AssertionError("the times of a cron expression grow")
