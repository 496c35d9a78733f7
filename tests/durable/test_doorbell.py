"""The doorbell on Procrastinate: rings live and die with their transaction, the worker outlives its connections."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import URL, text
from structlog.testing import capture_logs

from atom.durable.adapters.patient_connector import PatientConnector
from atom.durable.adapters.procrastinate import CONNECTION_SECONDS, CONNECTIONS, STALLED_SECONDS, ProcrastinateDoorbell
from atom.durable.ports import Topic
from atom.errors import UnavailableError
from atom.infra.database_url import libpq
from atom.infra.db import DatabaseUnavailableError, Sessions, unit_of_work
from atom.kit.ids import new_id
from tests.conftest import Cluster
from tests.support.databases import backends, execute, rows, sessions_on, terminate
from tests.support.polling import eventually
from tests.support.proxy import proxied

RINGS = "SELECT count(*) FROM procrastinate_jobs"


@dataclass(slots=True)
class Door:
    """A doorbell with a worker behind it, and what the worker was told."""

    bell: ProcrastinateDoorbell
    sessions: Sessions
    answered: Counter[UUID] = field(default_factory=Counter)
    running: int = 0
    most: int = 0
    seconds: float = 0.0

    async def ring(self, *ids: UUID, topic: Topic = Topic.RUN) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.bell.ring(session, topic, ids)

    async def answer(self, id_: UUID) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.seconds)
        self.answered[id_] += 1
        self.running -= 1


def doorbell(url: URL, grace: float = 2.0) -> ProcrastinateDoorbell:
    return ProcrastinateDoorbell(libpq(url), grace)


@asynccontextmanager
async def working(
    url: URL,
    sessions: Sessions,
    handler: Callable[[UUID], Awaitable[None]] | None = None,
    *,
    concurrency: int = 4,
    grace: float = 2.0,
    ends_within: float = 3.0,
) -> AsyncIterator[Door]:
    door = Door(doorbell(url, grace), sessions)
    stop = asyncio.Event()
    handlers = {Topic.RUN: handler or door.answer}
    task = asyncio.create_task(door.bell.work(handlers, {Topic.RUN: concurrency}, stop))
    try:
        yield door
        began = time.monotonic()
        stop.set()
        await task
        assert time.monotonic() - began < ends_within
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def answered(door: Door, ids: list[UUID]) -> bool:
    return all(door.answered[id_] for id_ in ids)


async def nothing_waits(sessions: Sessions) -> bool:
    return await rows(sessions, RINGS) == [(0,)]


async def test_ring_is_answered_soon_and_leaves_no_row(database: URL, sessions: Sessions) -> None:
    async with working(database, sessions) as door:
        ids = [new_id() for _ in range(5)]
        await door.ring(*ids)
        assert await eventually(lambda: door.answered == Counter(ids), 5)
        assert await eventually(lambda: nothing_waits(sessions), 5)


async def test_ring_of_undone_work_never_happens(sessions: Sessions, database: URL) -> None:
    bell = doorbell(database)

    async def undone() -> None:
        async with unit_of_work(sessions) as session:
            await bell.ring(session, Topic.RUN, [new_id()])
            raise LookupError

    with pytest.raises(LookupError):
        await undone()
    assert await nothing_waits(sessions)


async def test_ringing_for_what_waits_does_nothing_and_harms_nothing(sessions: Sessions, database: URL) -> None:
    bell, one, two = doorbell(database), new_id(), new_id()
    for ids in ([one], [one], [one, two, one], []):
        async with unit_of_work(sessions) as session:
            await bell.ring(session, Topic.RUN, ids)
            await bell.ring(session, Topic.RUN, ids)
    async with unit_of_work(sessions) as session:
        await bell.ring(session, Topic.JOB, [one])
    assert await rows(sessions, "SELECT queueing_lock FROM procrastinate_jobs ORDER BY id") == [
        (f"run:{one}",),
        (f"run:{two}",),
        (f"job:{one}",),
    ]


async def test_ring_placed_meanwhile_by_another_does_not_abort_the_callers_work(database: URL) -> None:
    """Both look, both see nothing waiting, both ring: the later one waits for the first, and goes on."""
    async with sessions_on(database) as one, sessions_on(database) as two:
        await execute(one, "CREATE TABLE item (name text)")
        bell, id_ = doorbell(database), new_id()
        rung = asyncio.Event()

        async def second() -> None:
            await rung.wait()
            async with unit_of_work(two) as session:
                await bell.ring(session, Topic.RUN, [id_])
                await session.execute(insert("second"))

        task = asyncio.create_task(second())
        async with unit_of_work(one) as session:
            await bell.ring(session, Topic.RUN, [id_])
            await session.execute(insert("first"))
            rung.set()
            await eventually(lambda: waits_for_a_lock(two))
        await task
        assert await rows(one, "SELECT name FROM item ORDER BY name") == [("first",), ("second",)]
        assert await rows(one, RINGS) == [(1,)]


def insert(name: str) -> Any:
    return text("INSERT INTO item VALUES (:name)").bindparams(name=name)


async def waits_for_a_lock(sessions: Sessions) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return await rows(sessions, query) == [(1,)]


async def test_many_ringing_for_the_same_at_once_never_deadlock(database: URL) -> None:
    async with sessions_on(database, pool=8) as sessions:
        bell, ids = doorbell(database), [new_id() for _ in range(12)]

        async def ring(number: int) -> None:
            turned = ids[number:] + ids[:number]
            async with unit_of_work(sessions) as session:
                await bell.ring(session, Topic.RUN, turned if number % 2 else turned[::-1])

        await asyncio.gather(*(ring(number) for number in range(8)))
        assert await rows(sessions, RINGS) == [(12,)]


async def test_connection_lost_while_ringing_is_an_outage_to_the_caller(
    database: URL, sessions: Sessions, cluster: Cluster
) -> None:
    async with sessions_on(database, name="atom-ringing") as dying:

        async def ring() -> None:
            async with unit_of_work(dying) as session:
                await doorbell(database).ring(session, Topic.RUN, [new_id()])
                await asyncio.to_thread(terminate, cluster, database, "atom-ringing")
                raw = await (await session.connection()).get_raw_connection()
                connection: Any = raw.driver_connection
                async with connection.transaction():
                    await connection.execute("SELECT 1")

        with pytest.raises(DatabaseUnavailableError):
            await ring()
    assert await nothing_waits(sessions)


async def test_ring_during_the_work_it_asks_for_is_not_swallowed(database: URL, sessions: Sessions) -> None:
    inside, leave, calls = asyncio.Event(), asyncio.Event(), []

    async def handler(id_: UUID) -> None:
        calls.append(id_)
        inside.set()
        await leave.wait()

    async with working(database, sessions, handler, concurrency=1) as door:
        id_ = new_id()
        await door.ring(id_)
        await inside.wait()
        await door.ring(id_)
        await door.ring(id_)
        leave.set()
        await eventually(lambda: nothing_waits(sessions))
    assert calls == [id_, id_]


async def test_failing_handler_does_not_stop_the_worker(database: URL, sessions: Sessions) -> None:
    good: list[UUID] = []
    bad, away = new_id(), new_id()

    async def handler(id_: UUID) -> None:
        if id_ == bad:
            raise LookupError("a bug")
        if id_ == away:
            raise UnavailableError("not now")
        good.append(id_)

    async with working(database, sessions, handler) as door:
        last = new_id()
        with capture_logs() as logs:
            await door.ring(bad, away)
            await eventually(lambda: nothing_waits(sessions))
            await door.ring(last)
            await eventually(lambda: good == [last])
    assert [line["event"] for line in logs] == ["worker.ring_unanswered"]


async def test_worker_takes_no_more_than_its_share_at_once(database: URL, sessions: Sessions) -> None:
    async with working(database, sessions, concurrency=3) as door:
        door.seconds = 0.03
        ids = [new_id() for _ in range(20)]
        await door.ring(*ids)
        await eventually(lambda: sum(door.answered.values()) == 20)
        assert door.most == 3


async def test_topic_that_is_busy_does_not_hold_up_the_other(database: URL, sessions: Sessions) -> None:
    leave, ran, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def long_job(_: UUID) -> None:
        await leave.wait()

    async def run(_: UUID) -> None:
        ran.set()

    bell = doorbell(database)
    task = asyncio.create_task(bell.work({Topic.JOB: long_job, Topic.RUN: run}, {Topic.JOB: 1, Topic.RUN: 1}, stop))
    async with unit_of_work(sessions) as session:
        await bell.ring(session, Topic.JOB, [new_id(), new_id()])
        await bell.ring(session, Topic.RUN, [new_id()])
    async with asyncio.timeout(5):
        await ran.wait()
    assert not leave.is_set()
    stop.set()
    leave.set()
    await task


async def test_worker_outlives_the_death_of_all_its_connections(
    database: URL, sessions: Sessions, cluster: Cluster
) -> None:
    async with working(database, sessions) as door:
        for round_ in range(3):
            ids = [new_id() for _ in range(3)]
            await door.ring(*ids)
            killed = await asyncio.to_thread(terminate, cluster, database, "atom-queue")
            assert killed or not round_
            await eventually(partial(answered, door, ids), 10)
        await eventually(lambda: len(backends(cluster, database, "atom-queue")) <= CONNECTIONS + 1)
    assert backends(cluster, database, "atom-queue") == []


async def test_work_in_progress_outlives_the_death_of_the_workers_connections(
    database: URL, sessions: Sessions, cluster: Cluster
) -> None:
    inside, leave, calls = asyncio.Event(), asyncio.Event(), []

    async def handler(id_: UUID) -> None:
        inside.set()
        await leave.wait()
        calls.append(id_)

    async with working(database, sessions, handler) as door:
        id_ = new_id()
        await door.ring(id_)
        await inside.wait()
        await asyncio.to_thread(terminate, cluster, database, "atom-queue")
        leave.set()
        assert await eventually(lambda: calls == [id_])
        assert await eventually(lambda: nothing_waits(sessions))


async def test_worker_waits_out_an_outage_with_its_work_in_progress_and_tells_it_once(
    database: URL, sessions: Sessions
) -> None:
    inside, leave, done = asyncio.Event(), asyncio.Event(), []

    async def handler(id_: UUID) -> None:
        if not inside.is_set():
            inside.set()
            await leave.wait()
        done.append(id_)

    async with proxied(database) as (proxy, url), working(url, sessions, handler, grace=0.1) as door:
        long, second = new_id(), new_id()
        await door.ring(long)
        await inside.wait()
        with capture_logs() as logs:
            await proxy.refuse()
            await door.ring(second)
            await asyncio.sleep(CONNECTION_SECONDS + 1)  # the pool has given up once at least
            await proxy.accept()
            began = time.monotonic()
            await eventually(lambda: done == [second], 10)
        assert time.monotonic() - began < 5
        assert [line["event"] for line in logs] == ["worker.queue_connection_lost"]
        leave.set()
        await eventually(lambda: done == [second, long])
        await eventually(lambda: nothing_waits(sessions))


async def test_worker_ends_promptly_while_the_server_is_away(database: URL, sessions: Sessions) -> None:
    async with proxied(database) as (proxy, url), working(url, sessions, ends_within=CONNECTION_SECONDS * 2 + 2):
        assert await eventually(lambda: rows(sessions, "SELECT 1 FROM procrastinate_workers"))
        await proxy.refuse()


async def test_worker_that_never_had_a_server_waits_for_it_and_ends_promptly(database: URL, sessions: Sessions) -> None:
    async with proxied(database) as (proxy, url):
        await proxy.refuse()
        async with working(url, sessions, ends_within=4):
            await asyncio.sleep(0.1)
        async with working(url, sessions) as door:
            id_ = new_id()
            await door.ring(id_)
            await proxy.accept()
            assert await eventually(lambda: door.answered[id_] == 1, 10)


async def test_stopping_lets_what_is_in_progress_finish_and_takes_nothing_new(
    database: URL, sessions: Sessions
) -> None:
    inside, finished = asyncio.Event(), []

    async def handler(id_: UUID) -> None:
        inside.set()
        await asyncio.sleep(0.3)
        finished.append(id_)

    one, two = sorted([new_id(), new_id()])
    async with working(database, sessions, handler, concurrency=1) as door:
        await door.ring(one, two)
        await inside.wait()
    assert finished == [one]
    assert await rows(sessions, "SELECT queueing_lock, status::text FROM procrastinate_jobs") == [
        (f"run:{two}", "todo")
    ]
    assert await rows(sessions, "SELECT count(*) FROM procrastinate_workers") == [(0,)]


async def test_what_does_not_finish_within_the_grace_is_cancelled(database: URL, sessions: Sessions) -> None:
    inside, cancelled = asyncio.Event(), []

    async def handler(id_: UUID) -> None:
        inside.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(id_)
            raise

    async with working(database, sessions, handler, grace=0.2) as door:
        id_ = new_id()
        await door.ring(id_)
        await inside.wait()
    assert cancelled == [id_]


async def test_cut_off_worker_leaves_no_task_behind(database: URL, sessions: Sessions) -> None:
    """The server cancels its tasks when the drain took too long."""
    before = asyncio.all_tasks()
    task = asyncio.create_task(
        doorbell(database, 0.1).work(
            {Topic.RUN: Door(doorbell(database), sessions).answer}, {Topic.RUN: 1}, asyncio.Event()
        )
    )
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: asyncio.all_tasks() == before)


async def test_tidying_removes_what_dead_workers_left_and_nothing_else(database: URL, sessions: Sessions) -> None:
    await execute(
        sessions,
        "WITH dead AS (INSERT INTO procrastinate_workers (last_heartbeat)"
        " VALUES (now() - interval '1 hour') RETURNING id),"
        " live AS (INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id),"
        " kinds AS (SELECT 'of the dead' AS name, id FROM dead UNION SELECT 'of the living', id FROM live"
        " UNION SELECT 'of nobody', NULL)"
        " INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id, queueing_lock)"
        " SELECT 'run', 'atom.run', 'doing', id, name FROM kinds",
    )
    todo = "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock) VALUES ('run', 'atom.run', 'waiting')"
    await execute(sessions, todo)
    async with unit_of_work(sessions) as session:
        assert await doorbell(database).tidy(session) == 2
    left = await rows(sessions, "SELECT queueing_lock FROM procrastinate_jobs ORDER BY 1")
    assert left == [("of the living",), ("waiting",)]
    assert STALLED_SECONDS < 3600


async def test_a_cancel_that_is_lost_in_a_statement_is_found_behind_it() -> None:
    """Else a worker that is stopped while it starts never ends."""

    async def lost() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        raise AssertionError

    connector = PatientConnector(asyncio.Event(), lambda error: None)
    task = asyncio.create_task(connector._patiently(lost))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
