"""Fan-out inside one process: stamped events and token deltas, to bounded queues."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from prometheus_client import Counter

from atom.errors import UnavailableError
from atom.events.models import Event, EventType
from atom.events.service import EventReader, Signal
from atom.feed.drafts import Drafts
from atom.kit.ids import parse_id
from atom.runs.ports import Delta

BATCH = 500
POLL_SECONDS = 1.0  # the longest a wake-up that was lost can cost
QUEUE_SIZE = 1000
REVOKED_KEPT = 1000  # enough for keys revoked between a viewer's check and its subscription
SILENT = frozenset(
    {EventType.RUN_WAITING, EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_CANCELLED}
)  # after one of these a run says nothing more
log = structlog.get_logger(service="websocket_manager")


@dataclass(eq=False, slots=True)
class Subscriber:
    """One viewer. It begins `behind`, and is so again when its queue overflows: then events come from the table.

    Deltas that find no room are dropped. `revoked`: its credential opens nothing any more.
    """

    run_id: UUID | None
    key_id: UUID
    queue: asyncio.Queue[Event | Delta | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_SIZE))
    behind: bool = True
    revoked: bool = False

    def wake(self) -> None:
        """Let its reader look again; a full queue wakes it anyway."""
        if not self.queue.full():
            self.queue.put_nowait(None)

    def catch_up(self) -> None:
        """It reads the table now. What overflowed has gaps and is thrown away."""
        if self.queue.full():
            while not self.queue.empty():
                self.queue.get_nowait()
        self.behind = False

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
    _drafts: Drafts = field(default_factory=Drafts, init=False)
    _revoked: dict[UUID, None] = field(default_factory=dict, init=False)
    _seq: int | None = field(default=None, init=False)
    closed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        for kind in ("delta", "event"):
            self.dropped.labels(kind=kind)  # a counter that has not counted yet is 0, not absent

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
        for subscriber in self._subscribers:
            subscriber.wake()

    def show(self, delta: Delta) -> None:
        self._drafts.add(delta)
        for subscriber in self._subscribers:
            if not subscriber.offer(delta):
                self.dropped.labels(kind="delta").inc()

    def subscribe(self, run_id: UUID | None, key_id: UUID) -> Subscriber:
        """A new viewer. What is being said is waiting for it, from its beginning."""
        subscriber = Subscriber(run_id, key_id, revoked=key_id in self._revoked)
        for delta in self._drafts.of(run_id)[: QUEUE_SIZE // 2]:
            subscriber.offer(delta)
        self._subscribers.add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)

    @property
    def newest(self) -> int | None:
        """The last number that viewers here were told; None before the first look at the table."""
        return self._seq

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    async def _pull(self) -> bool:
        if self._seq is None:
            self._seq = await self.reader.last_seq()
        events = await self.reader.after(self._seq, limit=BATCH)
        for event in events:
            self._seq = event.seq
            self._note(event)
            for subscriber in self._subscribers:
                if not subscriber.offer(event):
                    self.dropped.labels(kind="event").inc()
        return len(events) == BATCH

    def _note(self, event: Event) -> None:
        if event.type == EventType.TOKEN_REVOKED:
            self._revoke(parse_id(str(event.data.get("key_id"))))
        elif event.type == EventType.MODEL_REPLIED:
            self._drafts.end(event.run_id, event.data.get("step"))
        elif event.type in SILENT:
            self._drafts.end(event.run_id, None)

    def _revoke(self, key_id: UUID | None) -> None:
        """Viewers with this key end now; one that is just coming in with it is told when it subscribes."""
        if key_id is None:
            return
        self._revoked[key_id] = None
        if len(self._revoked) > REVOKED_KEPT:
            del self._revoked[next(iter(self._revoked))]
        for subscriber in self._subscribers:
            if subscriber.key_id == key_id:
                subscriber.revoked = True
                subscriber.wake()
