"""Writing events in the transaction of the change they tell of, and reading them by sequence."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.events import store
from atom.events.models import Event, EventType
from atom.infra.db import Sessions, after_commit, unit_of_work
from atom.kit.ids import new_id

VERSION = 1


@dataclass(slots=True)
class Signal:
    """Wakes the tasks of this process that wait for something to be there. A lost wake-up only costs a poll."""

    _waiters: set[asyncio.Event] = field(default_factory=set)

    def set(self) -> None:
        for waiter in self._waiters:
            waiter.set()

    def listen(self) -> asyncio.Event:
        waiter = asyncio.Event()
        self._waiters.add(waiter)
        return waiter

    def forget(self, waiter: asyncio.Event) -> None:
        self._waiters.discard(waiter)


@dataclass(frozen=True, slots=True)
class Outbox:
    """`written` wakes the sequencer of this process as soon as the transaction is durable."""

    written: Signal

    async def emit(
        self,
        session: AsyncSession,
        type_: EventType,
        *,
        actor: str,
        data: dict[str, Any],
        agent_id: UUID | None = None,
        run_id: UUID | None = None,
    ) -> None:
        """Add an event to the caller's transaction: both happen, or neither."""
        values = {"id": new_id(), "type": type_.value, "actor": actor, "data": data, "v": VERSION}
        await store.add(session, values | {"agent_id": agent_id, "run_id": run_id})
        after_commit(session, self._wake())

    def _wake(self) -> Callable[[], None]:
        return self.written.set


@dataclass(frozen=True, slots=True)
class EventReader:
    """Short reads of the stamped history."""

    sessions: Sessions

    async def after(self, seq: int, *, limit: int, run_id: UUID | None = None) -> list[Event]:
        async with unit_of_work(self.sessions) as session:
            return await store.after(session, seq, limit=limit, run_id=run_id)

    async def first_seq_of(self, run_id: UUID, types: Sequence[str]) -> int | None:
        async with unit_of_work(self.sessions) as session:
            return await store.first_seq_of(session, run_id, types)

    async def last_seq(self) -> int:
        async with unit_of_work(self.sessions) as session:
            return await store.last_seq(session)

    async def head(self, session: AsyncSession) -> int:
        """The newest number, in the caller's transaction. None below it comes later."""
        return await store.last_seq(session)

    async def between(
        self,
        session: AsyncSession,
        after: int,
        upto: int,
        *,
        types: Sequence[str],
        agent_id: UUID | None,
        limit: int,
    ) -> list[Event]:
        """The first of these behind `after`, up to `upto`, in the caller's transaction."""
        return await store.between(session, after, upto, types=types, agent_id=agent_id, limit=limit)
