"""Procrastinate's connector, with patience: an outage of the server does not end the worker.

Left to itself, a worker ends on the first failed statement: it takes nothing new until its work in progress is done,
and cancels that when it is not done within the grace. A restart of PostgreSQL would cost every long run that way.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import procrastinate
import psycopg
from procrastinate.exceptions import ConnectorException

T = TypeVar("T")
RETRY_SECONDS = 0.2  # beside the time that the pool itself waits for a connection
LISTEN_RETRY_SECONDS = 1.0
LOST = (ConnectorException, psycopg.Error, OSError)


class PatientConnector(procrastinate.PsycopgConnector):
    """Repeats a statement until the server takes it, or until `stop`. `lost` is told of each failure.

    Repeating is safe here: a ring that was taken and not told is rung again by the sweep, as any lost ring is.
    """

    def __init__(self, stop: asyncio.Event, lost: Callable[[BaseException], None]) -> None:
        super().__init__()
        self._stop = stop
        self._lost = lost

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        call = super().execute_query_async
        await self._patiently(lambda: call(query, **arguments))

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        call = super().execute_query_one_async
        return await self._patiently(lambda: call(query, **arguments))

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        call = super().execute_query_all_async
        return await self._patiently(lambda: call(query, **arguments))

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        names = list(channels)
        while not self._stop.is_set():
            try:
                await super().listen_notify(on_notification=on_notification, channels=names)
            except LOST as error:
                self._lost(error)
                await pause(LISTEN_RETRY_SECONDS, self._stop)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                found = await call()
                _still_wanted()
                return found
            except LOST as error:
                if self._stop.is_set() or not _away(error):
                    raise
                self._lost(error)
            await pause(RETRY_SECONDS, self._stop)


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, but not past `stop`."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _still_wanted() -> None:
    """Python 3.11's `wait_for`, which the pool is built on, loses a cancel that arrives together with its result. A
    worker that was stopped while it started would go on for as long as the process, and hold up its end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _away(error: BaseException) -> bool:
    """The server did not answer, or did not finish; not a statement that it refused."""
    cause = error.__cause__ if isinstance(error, ConnectorException) else error
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | OSError)
