"""The queue as Atom needs it: a doorbell. It may ring late, twice or never; journal, lease and sweep guarantee."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


class Topic(StrEnum):
    """What a ring is about. Each topic has its own workers, so that long jobs never hold up runs."""

    RUN = "run"
    JOB = "job"


Handler = Callable[[UUID], Awaitable[None]]


class Doorbell(Protocol):
    async def ring(self, session: AsyncSession, topic: Topic, ids: Sequence[UUID]) -> None:
        """Ask for a worker, in the caller's transaction. Ringing for what is already waiting does nothing."""
        ...

    async def work(
        self, handlers: Mapping[Topic, Handler], concurrency: Mapping[Topic, int], stop: asyncio.Event
    ) -> None:
        """Answer rings until `stop`; then let the handlers in progress end, within the adapter's grace."""
        ...

    async def tidy(self, session: AsyncSession) -> int:
        """Remove what dead workers left behind. Returns how many rows."""
        ...
