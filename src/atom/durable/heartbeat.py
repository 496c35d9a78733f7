"""Keeps a lease alive while its owner works, and stops the owner the moment the lease is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from atom.errors import AtomError, UnavailableError

log = structlog.get_logger(service="worker")


@dataclass(slots=True)
class Heartbeat:
    """`renew` writes the lease; `seconds` is its length. Use as an async context around the work of one task.

    The work is cancelled when `renew` raises (FencedError: another worker owns the row), and when the database has
    been away for the whole length of the lease. `lost` says that it was, `reason` why.
    """

    renew: Callable[[], Awaitable[None]]
    seconds: float
    lost: bool = False
    reason: BaseException | None = None
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _worker: asyncio.Task[Any] | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)  # a late end must not cancel what comes after the work

    async def __aenter__(self) -> "Heartbeat":
        self._worker = asyncio.current_task()
        self._task = asyncio.create_task(self._beat())
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        assert self._worker is not None
        self._closed = True
        self._task.cancel()
        if self.lost:
            self._worker.uncancel()
        await asyncio.wait({self._task})

    async def _beat(self) -> None:
        """Ends only by raising."""
        until = time.monotonic() + self.seconds
        while True:
            await asyncio.sleep(self.seconds / 4)
            began = time.monotonic()  # the database counts from here or later
            try:
                await _within(until - began, self.renew())
            except UnavailableError:  # the database is away: the lease still holds for what is left of it
                if time.monotonic() >= until:
                    raise
                continue
            until = began + self.seconds

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or self._closed:
            return
        self.lost, self.reason = True, task.exception()
        if not isinstance(self.reason, AtomError | TimeoutError):
            log.error("worker.heartbeat_failed", error_code="internal_error", exc_info=self.reason)
        assert self._worker is not None
        self._worker.cancel()


async def _within(seconds: float, call: Awaitable[None]) -> None:
    """Unlike a timeout, does not wait for the call to be undone: rolling back may take longer than the lease."""
    task = asyncio.ensure_future(call)
    task.add_done_callback(_seen)
    try:
        await asyncio.wait({task}, timeout=max(0.0, seconds))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    if not task.done():
        task.cancel()
        raise TimeoutError
    task.result()


def _seen(task: "asyncio.Future[None]") -> None:
    if not task.cancelled():
        task.exception()
