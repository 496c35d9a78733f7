"""Fan-out inside one process: stamped events and token deltas, to bounded queues."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from prometheus_client import Counter

from atom.errors import UnavailableError
from atom.events.models import Event
from atom.events.service import EventReader, Signal
from atom.runs.ports import Delta

BATCH = 500
POLL_SECONDS = 1.0  # the longest a wake-up that was lost can cost
QUEUE_SIZE = 1000
log = structlog.get_logger(service="websocket_manager")


@dataclass(eq=False, slots=True)
class Subscriber:
    """One viewer. When its queue is full it is `behind`: deltas are dropped, and events come from the table again."""

    run_id: UUID | None
    queue: asyncio.Queue[Event | Delta | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_SIZE))
    behind: bool = False

    def wake(self) -> None:
        """Let its reader look again; a full queue wakes it anyway."""
        if not self.queue.full():
            self.queue.put_nowait(None)

    def offer(self, item: Event | Delta) -> bool:
        if self.run_id is not None and item.run_id != self.run_id:
            return True
        try:
            self.queue.put_nowait(item)
        except asyncio.QueueFull:
            self.behind = True
            return False
        return True


@dataclass(slots=True)
class FeedHub:
    """Reads each stamped event once for the whole process. Also the `DeltaSink` of the runs worked on here."""

    reader: EventReader
    stamped: Signal
    dropped: Counter
    _subscribers: set[Subscriber] = field(default_factory=set, init=False)
    _seq: int | None = field(default=None, init=False)
    closed: bool = field(default=False, init=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. An outage of the database delays events; none is skipped."""
        wake = self.stamped.listen()
        try:
            while not stop.is_set():
                wake.clear()
                try:
                    more = await self._pull()
                except UnavailableError:
                    more = False
                if more:
                    continue
                try:
                    await asyncio.wait_for(wake.wait(), POLL_SECONDS)
                except TimeoutError:
                    continue
        finally:
            self.stamped.forget(wake)

    def close(self) -> None:
        """End every stream: this process is going away, and its viewers resume elsewhere from their cursor."""
        self.closed = True
        self.stamped.set()  # the reading task looks again, and sees its stop
        for subscriber in self._subscribers:
            subscriber.wake()

    def show(self, delta: Delta) -> None:
        for subscriber in self._subscribers:
            if not subscriber.offer(delta):
                self.dropped.labels(kind="delta").inc()

    def subscribe(self, run_id: UUID | None) -> Subscriber:
        subscriber = Subscriber(run_id)
        self._subscribers.add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    async def _pull(self) -> bool:
        if self._seq is None:
            self._seq = await self.reader.last_seq()
        events = await self.reader.after(self._seq, limit=BATCH)
        for event in events:
            self._seq = event.seq
            for subscriber in self._subscribers:
                if not subscriber.offer(event):
                    self.dropped.labels(kind="event").inc()
        return len(events) == BATCH
