"""What one viewer sees: history from its cursor, then live, with no gap and no event twice."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from uuid import UUID

from atom.events.models import Event
from atom.events.service import EventReader
from atom.feed.hub import FeedHub, Subscriber
from atom.identity.errors import CredentialInvalidError
from atom.runs.ports import Delta

BATCH = 200
HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing happened for a while; the connection is alive."""


Item = Event | Delta | Heartbeat


@dataclass(frozen=True, slots=True)
class Stream:
    """Holds no database connection while it waits."""

    hub: FeedHub
    reader: EventReader

    async def follow(self, after: int | None, *, key_id: UUID, run_id: UUID | None = None) -> AsyncGenerator[Item]:
        """Events with `seq > after` (None: from now on) in order, deltas in between, heartbeats when it is quiet.

        Ends with the hub. Raises CredentialInvalidError as soon as the viewer's key is revoked. A cursor that is ahead
        of every event (of a database that was restored since) counts as the newest one.
        """
        subscriber = self.hub.subscribe(run_id, key_id)  # before the table is read: nothing falls in between
        try:
            seq = await self._start(after)
            while not self.hub.closed:
                for item in await self._take(subscriber, seq):
                    if subscriber.revoked:
                        raise CredentialInvalidError
                    if isinstance(item, Event):
                        if item.seq <= seq:
                            continue  # the table has given it already
                        seq = item.seq
                    if item is not None:
                        yield item
        finally:
            self.hub.unsubscribe(subscriber)

    async def _start(self, after: int | None) -> int:
        """The table is asked only about a cursor that is ahead of what this process has seen."""
        newest = self.hub.newest
        if after is None and newest is not None:
            return newest
        if after is not None and after <= (newest or 0):
            return after
        last = await self.reader.last_seq()
        return last if after is None else min(after, last)

    async def _take(self, subscriber: Subscriber, seq: int) -> Sequence[Item | None]:
        """What is next: from the table for a viewer that is behind, else from its queue."""
        if not subscriber.behind:
            try:
                return [await asyncio.wait_for(subscriber.queue.get(), HEARTBEAT_SECONDS)]
            except TimeoutError:
                return [Heartbeat()]
        subscriber.catch_up()
        events = await self.reader.after(seq, limit=BATCH, run_id=subscriber.run_id)
        subscriber.behind |= len(events) == BATCH
        return events
