"""The doorbell on Procrastinate, a job queue on PostgreSQL. It needs a direct connection (LISTEN)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import procrastinate
import structlog
from procrastinate.exceptions import ConnectorException
from psycopg import AsyncConnection
from psycopg import Error as PsycopgError
from psycopg_pool import PoolTimeout
from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.ports import Handler, Topic

POLL_SECONDS = 0.5  # retries and delayed jobs send no NOTIFY
HEARTBEAT_SECONDS = 5.0
STALLED_SECONDS = 60.0  # well past any drain: heartbeats stop while a worker drains
RESTART_SECONDS = 1.0
WAITING = text("SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock = ANY(:locks)")
ORPHANS = text("DELETE FROM procrastinate_jobs WHERE status = 'doing' AND worker_id IS NULL")
log = structlog.get_logger(service="worker")


@dataclass(slots=True)
class ProcrastinateDoorbell:
    """`conninfo` is a libpq address of the server itself. Enqueueing uses the caller's own connection."""

    conninfo: str
    grace_seconds: float
    connections: int = 4
    _app: procrastinate.App = field(init=False)
    _handlers: dict[Topic, Handler] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        connector = procrastinate.PsycopgConnector(
            conninfo=self.conninfo,
            min_size=1,
            max_size=self.connections,
            timeout=5,
            kwargs={"application_name": "atom-queue"},
        )
        self._app = procrastinate.App(connector=connector)
        for topic in Topic:
            self._app.task(name=task_name(topic), queue=topic.value)(self._answer(topic))

    async def ring(self, session: AsyncSession, topic: Topic, ids: Sequence[UUID]) -> None:
        locks = {f"{topic}:{id_}": id_ for id_ in ids}
        if not locks:
            return
        waiting = set((await session.scalars(WAITING, {"locks": list(locks)})).all())
        fresh = {lock: id_ for lock, id_ in locks.items() if lock not in waiting}
        raw = await (await session.connection()).get_raw_connection()
        connection = cast(AsyncConnection[Any], raw.driver_connection)
        for lock, id_ in fresh.items():
            job = self._app.configure_task(
                task_name(topic), queue=topic.value, queueing_lock=lock, connection=connection
            )
            try:  # a savepoint: a ring that another process placed meanwhile must not abort the caller's transaction
                async with connection.transaction():
                    await job.defer_async(id=str(id_))
            except procrastinate.exceptions.AlreadyEnqueued:
                continue

    async def work(
        self, handlers: Mapping[Topic, Handler], concurrency: Mapping[Topic, int], stop: asyncio.Event
    ) -> None:
        self._handlers = dict(handlers)
        async with asyncio.TaskGroup() as group:
            for topic in handlers:
                group.create_task(self._work(topic, concurrency[topic], stop))

    async def tidy(self, session: AsyncSession) -> int:
        return cast(CursorResult[Any], await session.execute(ORPHANS)).rowcount

    async def _work(self, topic: Topic, concurrency: int, stop: asyncio.Event) -> None:
        """The outer loop: a worker ends when its connection does, or when it was pruned while it slept."""
        while not stop.is_set():
            worker = asyncio.create_task(self._run_worker(topic, concurrency))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if stop.is_set():
                worker.cancel()  # Procrastinate takes a cancel as: finish what is in progress
            try:
                await worker
            except asyncio.CancelledError:
                if not stop.is_set():
                    raise
            except (ConnectorException, PsycopgError, PoolTimeout, OSError) as error:
                log.warning("worker.queue_connection_lost", topic=topic, error_type=type(error).__name__)
                await _sleep(RESTART_SECONDS, stop)

    async def _run_worker(self, topic: Topic, concurrency: int) -> None:
        async with self._app.open_async():
            await self._app.run_worker_async(
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

    def _answer(self, topic: Topic) -> Any:
        async def answer(id: str) -> None:  # noqa: A002 - the name is stored in the queue's rows
            await self._handlers[topic](UUID(id))

        return answer


def task_name(topic: Topic) -> str:
    return f"atom.{topic}"


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
