"""Who spoke and when, as a question names them: "What did Ann say in May 2023?". Pure, English, nothing is guessed.

People tell of a day on that day or in the days after it, so a day's name reaches over the days behind it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
ALSO_WORDS = frozenset({"may", "march"})  # "what may I do", "the march": a month only beside what makes it one
ROLES = frozenset({"user", "assistant", "system", "tool", "agent"})  # common nouns, and whole memories are theirs
DAYS_BEFORE = 1  # of time zones
DAYS_AFTER = 5
FIRST_YEAR, LAST_YEAR = 1900, 2199
SHORTEST_NAME = 2
NAME = re.compile(r"[^\W_]+")

MONTH = r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"  # noqa: E501
DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?"
YEAR = r"(?P<year>(?:19|20|21)\d\d)"
BEFORE_MONTH = r"\b(?:in|of|on|since|until|by|during|before|after|from|around|last|this|early|mid|late)\s+"
WRITTEN = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?P<year>(?:19|20|21)\d\d)-(?P<month>[01]\d)-(?P<day>[0-3]\d)\b",
        r"\b(?P<year>(?:19|20|21)\d\d)-(?P<month>[01]\d)\b",
        rf"\b{DAY}\s+(?:of\s+)?{MONTH}(?:,?\s+(?:of\s+)?{YEAR})?\b",
        rf"\b{MONTH}\s+(?:the\s+)?{DAY}(?:,?\s+{YEAR})?\b(?!\d)",
        rf"\b{MONTH},?\s+(?:of\s+)?{YEAR}\b",
        rf"{BEFORE_MONTH}{MONTH}\b",
        rf"\b{MONTH}\b",
        rf"\b{YEAR}\b",
    )
)
ALONE = WRITTEN[-2]
UNITS = {"day": 1, "week": 7, "month": 30, "year": 365}
AGO = re.compile(
    r"\b(?P<count>an?|one|two|three|four|five|six|\d{1,3})\s+(?P<unit>day|week|month|year)s?\s+ago\b", re.I
)
COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
RELATIVE = re.compile(r"\b(?:(?P<word>today|yesterday)|(?P<which>last|this)\s+(?P<unit>week|month|year))\b", re.I)


@dataclass(frozen=True, slots=True)
class Span:
    """Whole days, both included."""

    first: date
    last: date

    def holds(self, day: date) -> bool:
        return self.first <= day <= self.last


@dataclass(frozen=True, slots=True)
class Named:
    """A date as far as it was written: a day, a month or a year, of any year where none was."""

    year: int | None = None
    month: int | None = None
    day: int | None = None

    def holds(self, day: date) -> bool:
        if self.day is None:
            return self.year in {None, day.year} and self.month in {None, day.month}
        years = [self.year] if self.year is not None else [day.year, day.year - 1]
        return any(self._reaches(year, day) for year in years)

    def _reaches(self, year: int, day: date) -> bool:
        assert self.month is not None
        assert self.day is not None
        try:
            named = date(year, self.month, self.day)
        except ValueError:  # the 30th of February
            return False
        return -DAYS_BEFORE <= (day - named).days <= DAYS_AFTER


@dataclass(frozen=True, slots=True)
class Cues:
    """What a question names. Empty: nothing."""

    words: frozenset[str]
    times: Sequence[Span | Named]

    def spoke(self, speaker: str) -> bool:
        """Whether a part of the speaker's name stands in the question."""
        name = speaker.lower()
        return name not in ROLES and any(
            len(part) >= SHORTEST_NAME and part in self.words for part in NAME.findall(name)
        )

    def when(self, at: datetime) -> bool:
        """Whether `at` is in one of the times, in UTC."""
        if not self.times:
            return False
        day = at.astimezone(UTC).date()
        return any(time.holds(day) for time in self.times)


def cues(question: str, now: datetime) -> Cues:
    """`now`: what "yesterday" and "last week" are reckoned from."""
    words = frozenset(word.lower() for word in NAME.findall(question))
    return Cues(words, (*_written(question), *_relative(question, now.astimezone(UTC).date())))


def _written(question: str) -> list[Named]:
    """The longest form first; what one form took is not read again by the next."""
    found, left = [], question
    for pattern in WRITTEN:
        for match in pattern.finditer(left):
            named = _named(match, alone=pattern is ALONE)
            if named is not None:
                found.append(named)
                left = left[: match.start()] + " " * (match.end() - match.start()) + left[match.end() :]
    return found


def _named(match: re.Match[str], *, alone: bool) -> Named | None:
    given = match.groupdict()
    month, day, year = given.get("month"), given.get("day"), given.get("year")
    if alone and (month or "").lower() in ALSO_WORDS:
        return None
    number = None if month is None else int(month) if month.isdigit() else _month(month)
    if (number is not None and not 1 <= number <= len(MONTHS)) or (day is not None and not 1 <= int(day) <= 31):
        return None
    return Named(None if year is None else int(year), number, None if day is None else int(day))


def _month(name: str) -> int:
    return next(place for place, month in enumerate(MONTHS, 1) if month.startswith(name.lower()[:3]))


def _relative(question: str, today: date) -> list[Span]:
    found = []
    for match in AGO.finditer(question):
        word = match["count"].lower()
        count = int(word) if word.isdigit() else COUNTS[word]
        days = UNITS[match["unit"].lower()]
        around = timedelta(days=days // 2)
        told = today - timedelta(days=min(count * days, (today - date(FIRST_YEAR, 1, 1)).days))
        found.append(Span(told - max(around, timedelta(DAYS_BEFORE)), told + max(around, timedelta(DAYS_BEFORE))))
    for match in RELATIVE.finditer(question):
        if match["word"]:
            day = today if match["word"].lower() == "today" else today - timedelta(1)
            found.append(Span(day, day))
        else:
            found.append(SPANS[match["unit"].lower()](today, match["which"].lower() == "last"))
    return found


def _week(today: date, last: bool) -> Span:
    monday = today - timedelta(today.weekday() + 7 * last)
    return Span(monday, monday + timedelta(6))


def _whole_month(today: date, last: bool) -> Span:
    first = today.replace(day=1)
    if last:
        first = (first - timedelta(1)).replace(day=1)
    return Span(first, (first + timedelta(31)).replace(day=1) - timedelta(1))


def _year(today: date, last: bool) -> Span:
    year = today.year - last
    return Span(date(year, 1, 1), date(year, 12, 31))


SPANS: dict[str, Callable[[date, bool], Span]] = {"week": _week, "month": _whole_month, "year": _year}
