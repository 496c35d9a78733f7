"""Following events over a connection that may break: every event once and in order, or an error that says so."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from atom.client.errors import BadReplyError, DroppedError, LostStreamError
from atom.client.models import Delta, Event
from atom.client.transport import LONGEST_WAIT, Pause, backoff
from atom.errors import AtomError

Item = Event | Delta
OnDrop = Callable[[AtomError, float], None]
RUN_ENDED = frozenset({"run.completed", "run.failed", "run.cancelled"})
PATIENCE = 12  # tries in a row without anything new: about 40 s, longer than a restart or a takeover takes


@dataclass(frozen=True, slots=True)
class Source:
    """Where items come from. `open` connects behind a sequence number; `over` says whether none can follow any more."""

    url: str
    open: Callable[[int], AsyncGenerator[Item, None]]
    over: Callable[[], Awaitable[bool]]
    last: Callable[[Event], bool]


@dataclass(slots=True)
class Cursor:
    seq: int
    failures: int = 0

    def take(self, item: Item) -> bool:
        """Whether `item` is new. What was seen before a cut comes again after it."""
        if isinstance(item, Event):
            if item.seq <= self.seq:
                return False
            self.seq = item.seq
        self.failures = 0
        return True


async def follow(
    source: Source, after: int, *, pause: Pause, on_drop: OnDrop | None = None, patience: int = PATIENCE
) -> AsyncIterator[Item]:
    """Items behind `after`. A cut is mended from the last event seen; `on_drop` hears of each, with the wait ahead.

    Deltas that are lost in a cut stay lost: the journaled reply (`model.replied`) has the whole text.
    """
    cursor = Cursor(after)
    problem: AtomError = DroppedError(source.url)
    while cursor.failures <= patience:
        try:
            async with aclosing(source.open(cursor.seq)) as items:
                async for item in items:
                    if not cursor.take(item):
                        continue
                    yield item
                    if isinstance(item, Event) and source.last(item):
                        return
            if await source.over():
                return
            problem = DroppedError(source.url)
        except AtomError as error:
            if not error.retryable:
                raise
            problem = error
        wait = _wait(problem, cursor.failures)
        cursor.failures += 1
        if on_drop is not None:
            on_drop(problem, wait)
        await pause(wait)
    raise LostStreamError("Atom could not be reached again.", hint=problem.message, after=cursor.seq) from problem


def _wait(problem: AtomError, failures: int) -> float:
    asked = problem.details.get("retry_after")
    return max(backoff(failures), min(asked, LONGEST_WAIT)) if isinstance(asked, float) else backoff(failures)


def read_event(url: str, text: str) -> Event:
    try:
        return Event.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadReplyError(url, f"an event of its stream, {place}: {first['msg']}") from None


def read_items(url: str, text: str, *, delta: bool) -> list[Item]:
    """The event or delta of a JSON text; none for a delta that cannot be read."""
    if not delta:
        return [read_event(url, text)]
    try:
        return [Delta.model_validate_json(text)]
    except ValidationError:  # half an emoji, say; the journaled reply has the whole text
        return []


def read_frame(url: str, text: str) -> list[Item]:
    """The same from a WebSocket frame, where `type` tells them apart."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        raise BadReplyError(url, "a frame of the feed is not JSON") from None
    return read_items(url, text, delta=isinstance(value, dict) and value.get("type") == "delta")
