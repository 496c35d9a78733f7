"""One unit of work is one transaction: all of it or none, whatever happens to the task, the connection, the server."""

import asyncio
import inspect
import os
import random
import signal
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.pool import QueuePool
from structlog.testing import capture_logs

from atom.errors import UnavailableError
from atom.infra.db import (
    DatabaseBusyError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    PoolExhaustedError,
    SchemaMissingError,
    Sessions,
    after_commit,
    create_engine,
    create_sessions,
    unit_of_work,
    with_retry,
)
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.settings import DatabaseSettings
from tests.conftest import Cluster
from tests.support.polling import eventually
from tests.support.proxy import proxied

SMALL = DatabaseSettings(pool_size=4, max_overflow=0, pool_timeout=0.5, connect_timeout=2)
ADD = text("INSERT INTO item (name) VALUES (:name)")


@dataclass(frozen=True, slots=True)
class Bench:
    """A pool of its own on the test's database, and what it counted."""

    engine: AsyncEngine
    sessions: Sessions
    registry: CollectorRegistry

    @property
    def pool(self) -> QueuePool:
        assert isinstance(self.engine.pool, QueuePool)
        return self.engine.pool

    def errors(self, kind: str) -> float:
        return self.registry.get_sample_value("atom_db_errors_total", {"kind": kind}) or 0.0

    async def add(self, name: str) -> None:
        await self.do(lambda session: session.execute(ADD, {"name": name}))

    async def do(self, *steps: Callable[[AsyncSession], Any]) -> None:
        """A unit of work of these steps."""
        async with unit_of_work(self.sessions) as session:
            for step in steps:
                found = step(session)
                if inspect.isawaitable(found):
                    await found

    async def names(self) -> set[str]:
        async with unit_of_work(self.sessions) as session:
            return set((await session.scalars(text("SELECT name FROM item"))).all())


@asynccontextmanager
async def bench_on(
    url: URL, settings: DatabaseSettings = SMALL, *, name: str = "atom-test-db", seconds: float = 60.0
) -> AsyncIterator[Bench]:
    registry = CollectorRegistry()
    engine = create_engine(url, settings, name=name)
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(registry), seconds=seconds)
    yield Bench(engine, sessions, registry)
    await engine.dispose()


@pytest_asyncio.fixture
async def bench(database: URL) -> AsyncIterator[Bench]:
    async with bench_on(database) as found:
        await found.do(sql("CREATE TABLE item (name text PRIMARY KEY)"))
        yield found


def sql(statement: str, **values: Any) -> Callable[[AsyncSession], Any]:
    return lambda session: session.execute(text(statement), values)


def fails(error: type[BaseException]) -> Callable[[AsyncSession], Any]:
    def step(_: AsyncSession) -> None:
        raise error

    return step


def backends(cluster: Cluster, database: URL, name: str = "atom-test-db") -> list[tuple[int, str]]:
    """Pid and state of the pool's connections, as the server sees them."""
    query = "SELECT pid, state FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
    with cluster.admin() as connection:
        return list(connection.execute(query, (database.database, name)).fetchall())


def terminate(cluster: Cluster, database: URL) -> int:
    """The guide's own medicine. Returns how many connections it killed, once they are gone."""
    pids = [pid for pid, _ in backends(cluster, database)]
    with cluster.admin() as connection:
        for pid in pids:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    return len(pids)


async def test_work_is_committed_at_the_end(bench: Bench) -> None:
    await bench.add("kept")
    assert await bench.names() == {"kept"}


async def test_error_in_the_middle_undoes_all_of_it(bench: Bench) -> None:
    with pytest.raises(LookupError):
        await bench.do(sql("INSERT INTO item VALUES ('lost')"), fails(LookupError))
    assert await bench.names() == set()


async def test_refused_row_is_the_callers_error_and_no_outage(bench: Bench) -> None:
    await bench.add("once")
    with capture_logs() as logs, pytest.raises(IntegrityError):
        await bench.add("once")
    assert logs == []
    assert bench.errors("connection") == 0
    assert await bench.names() == {"once"}


async def test_error_of_the_database_does_not_repeat_the_values(bench: Bench) -> None:
    """They are people's texts and hashes of keys, and the error ends in a log."""
    words = "private {}".format("words")
    with pytest.raises(DBAPIError) as caught:
        await bench.do(sql("SELECT CAST(:words AS text), 1 / 0", words=words))
    assert words not in "".join(traceback.format_exception(caught.value))


async def test_callback_runs_after_the_commit_is_durable_and_in_order(bench: Bench) -> None:
    seen: list[str] = []
    async with unit_of_work(bench.sessions) as session:
        await session.execute(ADD, {"name": "a"})
        after_commit(session, lambda: seen.append("first"))
        after_commit(session, lambda: seen.append("second"))
        assert seen == []
    assert seen == ["first", "second"]


@pytest.mark.parametrize("failure", [LookupError, asyncio.CancelledError])
async def test_callback_of_undone_work_never_runs(bench: Bench, failure: type[BaseException]) -> None:
    seen: list[str] = []
    with pytest.raises(failure):
        await bench.do(lambda session: after_commit(session, lambda: seen.append("never")), fails(failure))
    assert seen == []


async def test_callback_of_a_commit_that_is_refused_never_runs(bench: Bench) -> None:
    seen: list[str] = []
    await bench.do(sql("CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    with pytest.raises(IntegrityError):  # only the commit looks at it
        await bench.do(
            lambda session: after_commit(session, lambda: seen.append("never")), sql("INSERT INTO late VALUES (1), (1)")
        )
    assert seen == []


async def test_a_thousand_cancellations_leave_no_open_transaction(
    bench: Bench, cluster: Cluster, database: URL
) -> None:
    """At random moments: while waiting for a connection, in a statement, in the commit, in the rollback."""
    chance = random.Random(7)

    async def work(number: int) -> None:
        async with unit_of_work(bench.sessions) as session:
            await session.execute(ADD, {"name": f"n{number}"})
            await session.execute(text("SELECT pg_sleep(0.002)"))

    for wave in range(40):
        tasks = [asyncio.create_task(work(wave * 25 + number)) for number in range(25)]
        for task in tasks:
            await asyncio.sleep(chance.random() * 0.002)
            if chance.random() < 0.1:
                continue
            task.cancel()
            if chance.random() < 0.3:
                await asyncio.sleep(0)
                task.cancel()  # a second one arrives while the first is being handled
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(one) for one in done} <= {type(None), asyncio.CancelledError, PoolExhaustedError}
    assert bench.pool.checkedout() == 0
    await eventually(lambda: all(state == "idle" for _, state in backends(cluster, database)))
    await bench.add("still works")
    assert "still works" in await bench.names()


@pytest.mark.parametrize("failure", [LookupError, asyncio.CancelledError])
async def test_cancel_during_the_rollback_does_not_hide_it_or_leave_it_half_done(
    bench: Bench, failure: type[BaseException]
) -> None:
    for yields in range(12):
        inside = asyncio.Event()

        async def work(inside: asyncio.Event = inside) -> None:
            async with unit_of_work(bench.sessions) as session:
                await session.execute(ADD, {"name": "undone"})
                inside.set()
                raise failure

        task = asyncio.create_task(work())
        await inside.wait()
        for _ in range(yields):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, failure)):
            await task
        assert bench.pool.checkedout() == 0
    assert await bench.names() == set()


async def test_full_pool_says_so_within_its_timeout(bench: Bench) -> None:
    release = asyncio.Event()

    async def hold() -> None:
        async with unit_of_work(bench.sessions):
            await release.wait()

    holders = [asyncio.create_task(hold()) for _ in range(4)]
    await eventually(lambda: bench.pool.checkedout() == 4)
    began = time.monotonic()
    with capture_logs() as logs, pytest.raises(PoolExhaustedError) as caught:
        await bench.names()
    assert 0.4 < time.monotonic() - began < 10
    assert caught.value.retryable
    assert [line["event"] for line in logs] == ["database.pool_exhausted"]
    assert bench.errors("database_pool_exhausted") == 1
    release.set()
    await asyncio.gather(*holders)
    assert await bench.names() == set()


async def test_connections_killed_between_uses_cost_no_request(bench: Bench, cluster: Cluster, database: URL) -> None:
    await asyncio.gather(*(bench.add(f"before{n}") for n in range(4)))
    assert terminate(cluster, database) >= 2
    with capture_logs() as logs:
        await asyncio.gather(*(bench.add(f"after{n}") for n in range(8)))
    assert logs == []
    assert len(await bench.names()) == 12


async def test_connection_killed_in_a_transaction_is_a_retryable_refusal(
    bench: Bench, cluster: Cluster, database: URL
) -> None:
    with capture_logs() as logs:
        with pytest.raises(DatabaseUnavailableError) as caught:
            await bench.do(
                sql("INSERT INTO item VALUES ('lost')"),
                lambda _: asyncio.to_thread(terminate, cluster, database),
                sql("INSERT INTO item VALUES ('also lost')"),
            )
        assert await bench.names() == set()
    assert caught.value.retryable
    assert bench.errors("connection") == 1
    assert [line["event"] for line in logs] == ["database connection failed", "database connection restored"]


async def test_retry_carries_work_over_a_killed_connection(bench: Bench, cluster: Cluster, database: URL) -> None:
    killed: list[int] = []

    async def work() -> None:
        async with unit_of_work(bench.sessions) as session:
            await session.execute(ADD, {"name": "kept"})
            if not killed:
                killed.append(await asyncio.to_thread(terminate, cluster, database))

    await with_retry(work, attempts=3, first_delay=0.01)
    assert await bench.names() == {"kept"}


async def test_retry_gives_up_on_the_last_attempt_and_at_once_on_what_is_not_passing() -> None:
    calls: list[int] = []

    class Final(UnavailableError):
        retryable = False

    def failing(error: UnavailableError) -> Callable[[], Any]:
        async def call() -> None:
            calls.append(1)
            raise error

        return call

    with pytest.raises(DatabaseUnavailableError):
        await with_retry(failing(DatabaseUnavailableError("away")), attempts=3, first_delay=0.001)
    assert len(calls) == 3
    with pytest.raises(Final):
        await with_retry(failing(Final("for ever")), attempts=3, first_delay=0.001)
    assert len(calls) == 4


async def test_outage_is_one_line_at_its_begin_and_one_with_a_count_at_its_end(bench: Bench, database: URL) -> None:
    async with proxied(database) as (proxy, url), bench_on(url) as far:
        await far.names()
        with capture_logs() as logs:
            await proxy.refuse()
            for _ in range(10):
                began = time.monotonic()
                with pytest.raises(DatabaseUnavailableError) as caught:
                    await far.add("lost")
                assert time.monotonic() - began < 10
                assert str(url.password) not in str(caught.value)
            await proxy.accept()
            await far.add("back")
            await far.add("and stays")
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("database connection failed", "error"),
        ("database connection restored", "info"),
    ]
    assert logs[0]["service"] == "database"
    assert logs[1]["failures"] == 10
    assert far.errors("connection") == 10


@pytest.mark.slow  # psycopg waits 5 s for the answer to its cancel
async def test_stopped_backend_does_not_hold_the_task_for_ever(bench: Bench, cluster: Cluster, database: URL) -> None:
    async with bench_on(database, name="atom-test-stopped", seconds=0.5) as other:
        await other.names()
        [(pid, _)] = backends(cluster, database, "atom-test-stopped")
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(DatabaseUnavailableError):
                await other.names()
            assert other.pool.checkedout() == 0
            assert await other.names() == set()
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_own_timeout_of_the_caller_stays_the_callers(bench: Bench) -> None:
    with pytest.raises(TimeoutError):
        await bench.do(fails(TimeoutError))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.do(sql("SELECT pg_sleep(5)")), 0.05)
    assert bench.errors("connection") == 0


async def test_statement_that_takes_too_long_is_busy_not_lost(database: URL) -> None:
    async with bench_on(database, SMALL.model_copy(update={"statement_timeout": 0.1})) as slow:
        with capture_logs() as logs, pytest.raises(DatabaseBusyError) as caught:
            await slow.do(sql("SELECT pg_sleep(5)"))
        assert caught.value.code == "database_busy"
        assert caught.value.retryable
        assert "connection failed" not in repr(logs)


async def test_deadlock_is_a_retryable_refusal(bench: Bench) -> None:
    await bench.add("one")
    await bench.add("two")
    lock = text("SELECT 1 FROM item WHERE name = :name FOR UPDATE")
    ready = [asyncio.Event(), asyncio.Event()]

    async def work(me: int, names: tuple[str, str]) -> None:
        async with unit_of_work(bench.sessions) as session:
            await session.execute(lock, {"name": names[0]})
            ready[me].set()
            await ready[1 - me].wait()
            await session.execute(lock, {"name": names[1]})

    done = await asyncio.gather(work(0, ("one", "two")), work(1, ("two", "one")), return_exceptions=True)
    [refused] = [one for one in done if one is not None]
    assert isinstance(refused, DatabaseBusyError)


async def test_read_only_server_is_left_for_the_one_that_takes_writes(
    bench: Bench, cluster: Cluster, database: URL
) -> None:
    """After a failover the pool still holds connections to the old primary, now a standby."""
    switch = "ALTER DATABASE {} SET default_transaction_read_only = {}"
    with cluster.admin() as admin:
        admin.execute(switch.format(database.database, "on").encode())
        await bench.engine.dispose()
        await asyncio.gather(*(bench.names() for _ in range(4)))
        admin.execute(switch.format(database.database, "off").encode())
    with pytest.raises(DatabaseReadOnlyError):
        await bench.add("refused")
    await bench.add("taken")
    assert await bench.names() == {"taken"}


async def test_database_without_the_schema_says_what_to_run(cluster: Cluster) -> None:
    url = cluster.create("test_no_schema")
    async with bench_on(url) as empty:
        with capture_logs() as logs:
            for _ in range(5):
                with pytest.raises(SchemaMissingError, match="atom migrate"):
                    await empty.do(sql("SELECT 1 FROM agent"))
    cluster.drop("test_no_schema")
    assert [line["error_code"] for line in logs] == ["schema_incompatible"]


@pytest.mark.parametrize(
    ("change", "value"),
    [("password", "wrong"), ("database", "no_such_database"), ("username", "no_such_role"), ("port", 1)],
)
async def test_wrong_address_is_an_outage_that_tells_nothing(database: URL, change: str, value: Any) -> None:
    async with bench_on(database.set(**{change: value})) as wrong:
        with capture_logs() as logs, pytest.raises(DatabaseUnavailableError) as caught:
            await wrong.names()
        assert str(value) not in str(caught.value)
        assert [line["event"] for line in logs] == ["database connection failed"]
        assert wrong.pool.checkedout() == 0


async def test_what_the_url_says_about_the_connection_is_kept(database: URL) -> None:
    words = {"application_name": "mine", "options": "-c search_path=atom_test", "connect_timeout": "9"}
    async with bench_on(database.set(query=words)) as own, unit_of_work(own.sessions) as session:
        shown = {
            name: await session.scalar(text("SELECT current_setting(:name)"), {"name": name})
            for name in ("application_name", "search_path", "statement_timeout", "idle_in_transaction_session_timeout")
        }
    assert shown == {
        "application_name": "mine",
        "search_path": "atom_test",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "10s",
    }


async def test_pgbouncer_mode_prepares_nothing_and_sends_no_startup_options(cluster: Cluster, database: URL) -> None:
    async with bench_on(database, SMALL.model_copy(update={"prepared_statements": False})) as plain:
        for _ in range(12):  # psycopg prepares a statement after its fifth use
            async with unit_of_work(plain.sessions) as session:
                await session.execute(text("SELECT :n + 1"), {"n": 1})
        async with unit_of_work(plain.sessions) as session:
            assert await session.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
            assert await session.scalar(text("SHOW statement_timeout")) == "0"
