"""Watching a job to its end by asking, over interruptions that pass."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

from atom.client.errors import LostStreamError
from atom.client.follow import PATIENCE, OnDrop
from atom.client.transport import Pause, backoff
from atom.errors import AtomError

FASTEST, SLOWEST = 0.2, 2.0


class Ends(Protocol):
    @property
    def ended(self) -> bool: ...


E = TypeVar("E", bound=Ends)


async def watch(
    ask: Callable[[], Awaitable[E]], *, pause: Pause, on_drop: OnDrop | None = None, patience: int = PATIENCE
) -> AsyncIterator[E]:
    """States of a job, or of what is like one, the last one ended. Asks more slowly the longer nothing changes."""
    before: E | None = None
    wait, failures, problem = FASTEST, 0, ""
    while failures <= patience:
        try:
            job = await ask()
        except AtomError as error:
            if not error.retryable:
                raise
            wait, problem = backoff(failures), error.message
            failures += 1
            if on_drop is not None:
                on_drop(error, wait)
        else:
            failures = 0
            yield job
            if job.ended:
                return
            wait = FASTEST if job != before else min(SLOWEST, wait * 1.5)
            before = job
        await pause(wait)
    raise LostStreamError("Atom could not be reached again.", hint=problem)
