"""Keeps a lease alive while its owner works, and stops the owner the moment the lease is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from atom.durable.lease import FencedError
from atom.errors import UnavailableError


@dataclass(slots=True)
class Heartbeat:
    """`renew` writes the lease; `seconds` is its length. Use as an async context around the work of one task."""

    renew: Callable[[], Awaitable[None]]
    seconds: float
    lost: bool = False
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    async def __aenter__(self) -> "Heartbeat":
        worker = asyncio.current_task()
        assert worker is not None
        self._task = asyncio.create_task(self._beat(worker))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self, worker: asyncio.Task[Any]) -> None:
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self.seconds / 4)
            try:
                await self.renew()
                renewed = time.monotonic()
            except FencedError:
                break
            except UnavailableError:  # the database is away: the lease still holds for what is left of it
                if time.monotonic() - renewed > self.seconds:
                    break
        self.lost = True
        worker.cancel()
