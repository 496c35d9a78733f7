"""Waiting for what another task, thread or process does: polled, with a bound, never a bare sleep."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

SECONDS = 15.0


async def eventually(condition: Callable[[], Any | Awaitable[Any]], seconds: float = SECONDS, what: str = "") -> Any:
    """What `condition` says once it is true; fails when it never is."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}"
        await asyncio.sleep(0.01)
