"""A question that names who spoke, or when, says so in the usual English ways; ordinary words are neither."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.memory.cues import cues

NOW = datetime(2026, 5, 14, 9, tzinfo=UTC)  # a Thursday


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(hour=12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("question", "inside", "outside"),
    [
        ("What happened on 7 May 2023?", ("2023-05-07", "2023-05-12"), ("2023-05-05", "2023-05-13", "2024-05-07")),
        ("What happened on May 7th, 2023?", ("2023-05-07",), ("2023-05-20", "2022-05-07")),
        ("What happened on the 31st of December?", ("2023-12-31", "2024-01-03"), ("2024-01-08", "2023-12-29")),
        ("the deploy of 2026-04-30", ("2026-04-30",), ("2026-04-20", "2026-05-30")),
        ("costs in 2026-04", ("2026-04-01", "2026-04-30"), ("2026-05-01", "2025-04-10")),
        ("Who came in May 2023?", ("2023-05-01", "2023-05-31"), ("2023-06-01", "2024-05-10")),
        ("Who came in june?", ("2023-06-30", "2020-06-01"), ("2023-07-01",)),
        ("Who came in may?", ("2023-05-03",), ("2023-06-01",)),
        ("Who came in 2022?", ("2022-01-01", "2022-12-31"), ("2023-01-01",)),
        ("What failed yesterday?", ("2026-05-13",), ("2026-05-14", "2026-05-12")),
        ("What failed today?", ("2026-05-14",), ("2026-05-13",)),
        ("What failed last week?", ("2026-05-04", "2026-05-10"), ("2026-05-03", "2026-05-11")),
        ("What failed this week?", ("2026-05-11",), ("2026-05-10",)),
        ("What failed last month?", ("2026-04-01", "2026-04-30"), ("2026-05-01", "2026-03-31")),
        ("What failed last year?", ("2025-07-01",), ("2026-01-01",)),
        ("What failed three days ago?", ("2026-05-11", "2026-05-12"), ("2026-05-14", "2026-05-08")),
        ("What failed 2 weeks ago?", ("2026-04-30",), ("2026-05-10", "2026-04-20")),
        ("In May or on 3 June 2023?", ("2023-05-20", "2023-06-04", "2021-05-01"), ("2023-06-20",)),
    ],
)
def test_a_named_time_holds_its_days_and_no_others(
    question: str, inside: tuple[str, ...], outside: tuple[str, ...]
) -> None:
    found = cues(question, NOW)
    assert [text for text in inside if not found.when(day(text))] == []
    assert [text for text in outside if found.when(day(text))] == []


@pytest.mark.parametrize(
    "question",
    [
        "What may I do?", "Did they march?", "Room 12 of 30", "What did Ann decide?", "Ticket 20231", "45 May 2023x",
        "the 2nd attempt", "version 3.2026", "", "15/99",
    ],
)  # fmt: skip
def test_ordinary_words_and_numbers_name_no_day_or_month(question: str) -> None:
    assert [time for time in cues(question, NOW).times if getattr(time, "month", None) or hasattr(time, "first")] == []


def test_a_speaker_is_named_by_a_part_of_the_name_and_a_role_is_not_a_name() -> None:
    found = cues("What did Ann's user tell Müller about read_file?", NOW)
    assert [name for name in ("Ann", "ANN LEE", "J. Müller", "read_file") if not found.spoke(name)] == []
    assert [name for name in ("Anna", "user", "Ben", "J.", "") if found.spoke(name)] == []


def test_a_day_that_does_not_exist_holds_none() -> None:
    found = cues("on 30 February 2023", NOW)
    assert not any(found.when(day("2023-01-01") + timedelta(days)) for days in range(365))


@given(st.text(max_size=300), st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))  # noqa: DTZ001
def test_no_question_is_an_error(question: str, at: datetime) -> None:
    found = cues(question, NOW)
    assert found.when(at.replace(tzinfo=UTC)) in {True, False}
    assert found.spoke(question) in {True, False}


@given(st.from_regex(r"[0-9]{1,3} (days|weeks|months|years) ago", fullmatch=True))
def test_no_number_of_years_is_too_many(question: str) -> None:
    assert len(cues(question, NOW).times) == 1
