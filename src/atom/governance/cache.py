"""What was decided before, and what it was decided from, kept in memory.

Keys name everything a value follows from (the agent's row, its callers' rows, the policies, the action, the trigger),
so an entry is never wrong, only unused: what has changed has another key. Letting go of entries is about memory.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
WINDOW = 300.0  # seconds the hit rate looks back
SAMPLE = 5.0
GRAIN = 1.0  # an entry is moved to the young end once a second at most: moving it at every hit doubled a hit's price


@dataclass(slots=True)
class Held(Generic[V]):
    value: V
    until: float
    tags: tuple[Hashable, ...]
    fresh: float


class TaggedLru(Generic[K, V]):
    """At most `most` entries, the least recently used (to the second) go first; each until its own time, and droppable
    by its tags. For one event loop: nothing here waits.
    """

    __slots__ = ("_held", "_most", "_tagged")

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[K, Held[V]] = OrderedDict()
        self._tagged: dict[Hashable, set[K]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K, now: float) -> V | None:
        held = self._held.get(key)
        if held is None:
            return None
        if now >= held.fresh:
            if held.until <= now:
                self._drop(key)
                return None
            self._held.move_to_end(key)
            held.fresh = min(now + GRAIN, held.until)
        return held.value

    def put(self, key: K, value: V, *, until: float, tags: Iterable[Hashable]) -> None:
        if key in self._held:
            self._drop(key)
        kept = tuple(tags)
        self._held[key] = Held(value, until, kept, float("-inf"))
        for tag in kept:
            self._tagged.setdefault(tag, set()).add(key)
        if len(self._held) > self._most:
            self._drop(next(iter(self._held)))

    def drop(self, tag: Hashable) -> int:
        keys = self._tagged.get(tag, set()).copy()
        for key in keys:
            self._drop(key)
        return len(keys)

    def clear(self) -> int:
        cleared = len(self._held)
        self._held.clear()
        self._tagged.clear()
        return cleared

    def _drop(self, key: K) -> None:
        for tag in self._held.pop(key).tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]


@dataclass(slots=True)
class SingleFlight(Generic[K, V]):
    """Those who want the same thing at once wait for the first of them to get it. Whoever fails, or is cancelled, fails
    for itself alone: the next one tries."""

    _under_way: "dict[K, asyncio.Future[V | None]]" = field(default_factory=dict, init=False)

    async def do(self, key: K, get: Callable[[], Awaitable[V]]) -> V:
        while (waiting := self._under_way.get(key)) is not None:
            found = await asyncio.shield(waiting)
            if found is not None:
                return found
        self._under_way[key] = mine = asyncio.get_running_loop().create_future()
        got: V | None = None
        try:
            got = await get()
            return got
        finally:
            del self._under_way[key]
            mine.set_result(got)


class HitRate:
    """Counts since the start, and the share of hits over the last five minutes; when nothing was asked in them, the
    last share there was."""

    __slots__ = ("_last", "_samples", "bypassed", "hits", "misses", "next_sample")

    def __init__(self) -> None:
        self.hits = self.misses = self.bypassed = 0
        self.next_sample = float("-inf")
        self._samples: deque[tuple[float, int, int]] = deque()
        self._last = 0.0

    def sample(self, now: float) -> None:
        """To be called about every five seconds while there is something to count."""
        self.next_sample = now + SAMPLE
        self._samples.append((now, self.hits, self.misses))
        while len(self._samples) > 1 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()

    def rate(self, now: float) -> float:
        if now >= self.next_sample:
            self.sample(now)
        _, hits, misses = self._samples[0] if self._samples else (now, 0, 0)
        asked = self.hits - hits + self.misses - misses
        if asked:
            self._last = (self.hits - hits) / asked
        return self._last


@dataclass(frozen=True, slots=True, eq=False)
class CacheMetrics(Collector):
    """Read when scraped, so that a look into the cache costs one addition."""

    rate: HitRate
    entries: Callable[[], int]
    monotonic: Callable[[], float]

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        share = GaugeMetricFamily(
            "governance_cache_hit_rate", "Share of cacheable decisions answered from the cache in the last 5 minutes."
        )
        share.add_metric([], self.rate.rate(self.monotonic()))
        yield share
        entries = GaugeMetricFamily("governance_cache_entries", "Decisions in the cache of this process.")
        entries.add_metric([], self.entries())
        yield entries
        counters = (
            ("governance_cache_hits_total", "Decisions answered from the cache.", self.rate.hits),
            ("governance_cache_misses_total", "Decisions that could have been in the cache.", self.rate.misses),
            (
                "governance_cache_bypassed_total",
                "Decisions that are never kept: they depend on arguments, time or money.",
                self.rate.bypassed,
            ),
        )
        for name, help_, value in counters:
            family = CounterMetricFamily(name.removesuffix("_total"), help_)
            family.add_metric([], value)
            yield family
