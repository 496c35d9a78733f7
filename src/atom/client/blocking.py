"""The client for code without an event loop: scripts, the CLI."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar

from atom.client.api import AtomClient

T = TypeVar("T")


class _End(Enum):
    END = 0


class BlockingAtom:
    """Runs the client's coroutines to their end, one at a time.

    `with BlockingAtom(AtomClient(url, token)) as atom: run = atom.call(atom.client.runs.get(run_id))`
    """

    def __init__(self, client: AtomClient) -> None:
        self.client = client
        self._runner = asyncio.Runner()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Raises KeyboardInterrupt for Ctrl-C: also where a library below has cancelled the task once more, and asyncio
        no longer takes it for one."""
        try:
            return self._runner.run(work)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    def each(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items as they come. Leaving the loop early closes their connection."""
        try:
            while (item := self.call(_next(items))) is not _End.END:
                yield item
        finally:
            self.call(_close(items))

    def close(self) -> None:
        try:
            self.call(self.client.aclose())
        finally:
            self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _next(items: AsyncIterator[T]) -> T | _End:
    return await anext(items, _End.END)


async def _close(items: AsyncIterator[Any]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
