"""What one viewer sees: history from its cursor, then live, with no gap and no event twice."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from atom.events.models import Event
from atom.events.service import EventReader
from atom.feed.hub import FeedHub, Subscriber
from atom.runs.ports import Delta

BATCH = 200
HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing happened for a while; the connection is alive."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Holds no database connection while it waits."""

    hub: FeedHub
    reader: EventReader

    async def follow(self, after: int, *, run_id: UUID | None = None) -> AsyncGenerator[Event | Delta | Heartbeat]:
        """Events with `seq > after` in order, deltas in between, heartbeats when it is quiet. Ends with the hub.

        It subscribes before it reads the table, and skips what the table has already given. A viewer that fell behind
        is caught up from the table.
        """
        subscriber = self.hub.subscribe(run_id)
        seq = after
        try:
            while not self.hub.closed:
                async for event in self._history(seq, run_id):
                    seq = event.seq
                    yield event
                async for item in self._live(subscriber):
                    if isinstance(item, Event):
                        if item.seq <= seq:
                            continue
                        seq = item.seq
                    yield item
                self._catch_up(subscriber)
        finally:
            self.hub.unsubscribe(subscriber)

    async def _history(self, after: int, run_id: UUID | None) -> AsyncIterator[Event]:
        seq = after
        while True:
            events = await self.reader.after(seq, limit=BATCH, run_id=run_id)
            for event in events:
                seq = event.seq
                yield event
            if len(events) < BATCH:
                return

    async def _live(self, subscriber: Subscriber) -> AsyncIterator[Event | Delta | Heartbeat]:
        """Until the subscriber has fallen behind."""
        while not (subscriber.behind or self.hub.closed):
            try:
                item = await asyncio.wait_for(subscriber.queue.get(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield Heartbeat()
                continue
            if item is not None:
                yield item

    def _catch_up(self, subscriber: Subscriber) -> None:
        while not subscriber.queue.empty():
            subscriber.queue.get_nowait()
        subscriber.behind = False
