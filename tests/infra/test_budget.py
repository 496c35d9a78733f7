"""All pools of all replicas fit into the server, or the operator is told."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL
from structlog.testing import capture_logs

from atom.infra.budget import BESIDE_THE_POOL, LEAST_POOL, RESERVE, ConnectionBudgetError, budget, fit, shrunk
from atom.infra.database_url import libpq
from atom.settings import DatabaseSettings

pools = st.builds(
    DatabaseSettings,
    pool_size=st.integers(1, 500),
    max_overflow=st.integers(0, 500),
    replicas=st.integers(1, 1000),
)


@given(pools, st.integers(1, 20_000))
def test_shrunk_pool_is_never_larger_than_what_was_asked(settings: DatabaseSettings, available: int) -> None:
    smaller = shrunk(settings, available)
    assert smaller.pool_size <= settings.pool_size
    assert 0 <= smaller.max_overflow <= settings.max_overflow
    assert smaller.pool_size >= min(LEAST_POOL, settings.pool_size)


@given(pools, st.integers(1, 20_000))
def test_shrunk_pool_fits_wherever_the_least_pool_does(settings: DatabaseSettings, available: int) -> None:
    least = settings.model_copy(update={"pool_size": min(settings.pool_size, LEAST_POOL), "max_overflow": 0})
    assert budget(shrunk(settings, available), available).fits == budget(least, available).fits


@given(pools, st.integers(1, 20_000))
def test_shrinking_wastes_nothing_and_gives_overflow_up_first(settings: DatabaseSettings, available: int) -> None:
    smaller = shrunk(settings, available)
    if budget(settings, available).fits:
        assert smaller == settings
        return
    if smaller.max_overflow:
        assert smaller.pool_size == settings.pool_size
    if smaller.pool_size > LEAST_POOL:
        one_more = smaller.model_copy(update={"max_overflow": smaller.max_overflow + 1})
        assert not budget(one_more, available).fits


@given(pools, st.integers(1, 20_000))
def test_budget_counts_every_replica_and_the_reserve(settings: DatabaseSettings, available: int) -> None:
    wanted = settings.replicas * (settings.pool_size + settings.max_overflow + BESIDE_THE_POOL) + RESERVE
    assert budget(settings, available).wanted == wanted
    assert budget(settings, available).fits == (wanted <= available)


def test_guides_five_replicas_do_not_fit_a_hundred_connections_with_its_defaults() -> None:
    assert budget(DatabaseSettings(), 97).fits
    five = DatabaseSettings(replicas=5)
    assert not budget(five, 97).fits
    assert budget(shrunk(five, 97), 97).fits


def limit_of(database: URL) -> int:
    with psycopg.connect(libpq(database)) as connection:
        row = connection.execute(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_pool_that_fits_is_left_as_it_is_without_a_word(database: URL) -> None:
    settings = DatabaseSettings(pool_size=3, max_overflow=1)
    with capture_logs() as logs:
        assert fit(settings, database) == settings
    assert logs == []


def test_pool_that_does_not_fit_is_shrunk_and_told(database: URL) -> None:
    with capture_logs() as logs:
        smaller = fit(DatabaseSettings(pool_size=400, max_overflow=100), database)
    assert budget(smaller, limit_of(database)).fits
    [line] = logs
    assert (line["event"], line["log_level"], line["enough"]) == ("database.pool_shrunk", "warning", True)
    assert line["pool_size"] == smaller.pool_size


def test_more_replicas_than_the_server_can_take_at_all_are_told_as_not_enough(database: URL) -> None:
    with capture_logs() as logs:
        smaller = fit(DatabaseSettings(replicas=1000), database)
    assert (smaller.pool_size, smaller.max_overflow) == (LEAST_POOL, 0)
    assert logs[0]["enough"] is False


def test_refuse_stops_the_start_with_numbers_and_the_way_out(database: URL) -> None:
    with pytest.raises(ConnectionBudgetError) as caught:
        fit(DatabaseSettings(replicas=50, budget="refuse"), database)
    assert str(limit_of(database)) in caught.value.message
    assert "PgBouncer" in caught.value.hint


@pytest.mark.parametrize("change", [{"port": 1}, {"password": "wrong-canary"}, {"database": "no_such_database"}])
def test_server_that_does_not_answer_changes_nothing(database: URL, change: dict[str, object]) -> None:
    settings = DatabaseSettings(pool_size=400, budget="refuse")
    with capture_logs() as logs:
        assert fit(settings, database.set(**change)) == settings  # type: ignore[arg-type]
    assert [line["event"] for line in logs] == ["database.budget_unknown"]
    assert "canary" not in repr(logs)
