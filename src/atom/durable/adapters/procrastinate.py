"""The doorbell on Procrastinate, a job queue on PostgreSQL. It needs a direct connection (LISTEN)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast
from uuid import UUID

import procrastinate
import psycopg
import structlog
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.adapters.patient_connector import LOST, PatientConnector, pause
from atom.durable.ports import Handler, Topic
from atom.errors import UnavailableError
from atom.infra.db import KEEPALIVE
from atom.infra.outage import Repeated

POLL_SECONDS = 0.5  # retries and delayed jobs send no NOTIFY
HEARTBEAT_SECONDS = 5.0
STALLED_SECONDS = 60.0  # well past any drain: heartbeats stop while a worker drains
RESTART_SECONDS = 1.0
OPEN_SECONDS = 2.0
CONNECTIONS = 2  # of one topic, beside the one that listens
CONNECTION_SECONDS = 3.0
RECONNECT_SECONDS = 5.0  # the pool's tries come ever later within this time, then anew with the next statement
WAITING = text("SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock = ANY(:locks)")
DEAD = text("DELETE FROM procrastinate_workers WHERE last_heartbeat < now() - make_interval(secs => :seconds)")
ORPHANS = text("DELETE FROM procrastinate_jobs WHERE status = 'doing' AND worker_id IS NULL")
log = structlog.get_logger(service="worker")


@dataclass(slots=True)
class ProcrastinateDoorbell:
    """`conninfo` is a libpq address of the server itself. Enqueueing uses the caller's own connection.

    Each topic has a worker with connections of its own: what one loses, the other does not feel.
    """

    conninfo: str
    grace_seconds: float
    _app: procrastinate.App = field(init=False)
    _told: Repeated = field(init=False)

    def __post_init__(self) -> None:
        self._app = _app({}, procrastinate.PsycopgConnector())
        self._told = Repeated("worker")

    async def ring(self, session: AsyncSession, topic: Topic, ids: Sequence[UUID]) -> None:
        locks = {f"{topic}:{id_}": id_ for id_ in sorted(ids)}  # one order for all, so that two rings never deadlock
        if not locks:
            return
        waiting = set((await session.scalars(WAITING, {"locks": list(locks)})).all())
        raw = await (await session.connection()).get_raw_connection()
        connection = cast(AsyncConnection[Any], raw.driver_connection)
        for lock, id_ in locks.items():
            if lock not in waiting:
                await self._place(connection, topic, lock, id_)

    async def _place(self, connection: AsyncConnection[Any], topic: Topic, lock: str, id_: UUID) -> None:
        """In a savepoint: a ring that another process placed meanwhile must not abort the caller's transaction."""
        job = self._app.configure_task(task_name(topic), queue=topic.value, queueing_lock=lock, connection=connection)
        try:
            async with connection.transaction():
                await job.defer_async(id=str(id_))
        except AlreadyEnqueued:
            return
        except ConnectorException as error:
            if isinstance(error.__cause__, psycopg.Error):
                raise error.__cause__ from None  # what the unit of work understands
            raise

    async def work(
        self, handlers: Mapping[Topic, Handler], concurrency: Mapping[Topic, int], stop: asyncio.Event
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for topic, handler in handlers.items():
                group.create_task(self._work(topic, handler, concurrency[topic], stop))

    async def tidy(self, session: AsyncSession) -> int:
        """Procrastinate itself forgets dead workers only when one starts."""
        await session.execute(DEAD, {"seconds": STALLED_SECONDS})
        return cast(CursorResult[Any], await session.execute(ORPHANS)).rowcount

    async def _work(self, topic: Topic, handler: Handler, concurrency: int, stop: asyncio.Event) -> None:
        """The outer loop: a worker ends when it was pruned while it slept, or when there is no server to begin with."""
        while not stop.is_set():
            worker = asyncio.create_task(self._run_worker(topic, handler, concurrency, stop))
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                worker.cancel()  # Procrastinate takes a cancel as: finish what is in progress
                await asyncio.wait({worker})
            error = None if worker.cancelled() else worker.exception()
            if error is not None and not isinstance(error, LOST):
                raise error
            if not stop.is_set():
                self._lost(topic, error or ConnectorException())
                await pause(RESTART_SECONDS, stop)

    async def _run_worker(self, topic: Topic, handler: Handler, concurrency: int, stop: asyncio.Event) -> None:
        app = _app({topic: handler}, PatientConnector(stop, partial(self._lost, topic)))
        async with self._pool() as pool, app.open_async(pool):
            await app.run_worker_async(
                queues=[topic.value],
                name=f"atom-{topic}",
                concurrency=concurrency,
                fetch_job_polling_interval=POLL_SECONDS,
                update_heartbeat_interval=HEARTBEAT_SECONDS,
                stalled_worker_timeout=STALLED_SECONDS,
                shutdown_graceful_timeout=self.grace_seconds,
                delete_jobs="always",
                install_signal_handlers=False,
            )

    def _lost(self, topic: Topic, error: BaseException) -> None:
        self._told.warn("worker.queue_connection_lost", f"queue_{topic}_lost", error)

    @asynccontextmanager
    async def _pool(self) -> AsyncIterator[AsyncConnectionPool[AsyncConnection[Any]]]:
        pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            self.conninfo,
            kwargs={"application_name": "atom-queue", "connect_timeout": int(CONNECTION_SECONDS), **KEEPALIVE},
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CONNECTION_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )
        try:
            await pool.open(wait=True, timeout=OPEN_SECONDS)
            yield pool
        finally:
            await pool.close()


def task_name(topic: Topic) -> str:
    return f"atom.{topic}"


def _app(handlers: Mapping[Topic, Handler], connector: procrastinate.PsycopgConnector) -> procrastinate.App:
    """An app that can name every topic, and answers those of `handlers`. It opens nothing."""
    app = procrastinate.App(connector=connector)
    for topic in Topic:
        app.task(name=task_name(topic), queue=topic.value)(_answer(topic, handlers.get(topic)))
    return app


def _answer(topic: Topic, handler: Handler | None) -> Any:
    async def answer(id: str) -> None:  # noqa: A002 - the name is stored in the queue's rows
        assert handler is not None
        try:
            await handler(UUID(id))
        except UnavailableError as error:  # the sweep rings again
            log.warning("worker.ring_unanswered", topic=topic, id=id, error_code=error.code)

    return answer
