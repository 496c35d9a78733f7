"""The response cache of one process: the least recently used answers go first."""

from collections import OrderedDict
from dataclasses import dataclass, field

from atom.kit.clock import Clock
from atom.llm.cache import MAX_ENTRY_BYTES, CacheStats

OVERHEAD = 300  # bytes that an entry costs beside its value: measured 291


@dataclass(slots=True)
class MemoryCache:
    """Bounded in bytes. Entries know when they end."""

    max_bytes: int
    clock: Clock
    _entries: OrderedDict[str, tuple[bytes, float]] = field(default_factory=OrderedDict, init=False, repr=False)
    _bytes: int = field(default=0, init=False)

    async def get(self, key: str) -> bytes | None:
        found = self._entries.get(key)
        if found is None:
            return None
        value, ends = found
        if self.clock.monotonic() >= ends:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        if len(value) > min(MAX_ENTRY_BYTES, self.max_bytes // 4):
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = (value, self.clock.monotonic() + ttl)
        self._bytes += len(value) + OVERHEAD
        while self._bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))

    async def stats(self) -> CacheStats:
        return CacheStats("process", len(self._entries), self._bytes, self.max_bytes)

    async def clear(self) -> int:
        count = len(self._entries)
        self._entries.clear()
        self._bytes = 0
        return count

    async def aclose(self) -> None:
        """Nothing is open."""

    def _drop(self, key: str) -> None:
        value, _ = self._entries.pop(key)
        self._bytes -= len(value) + OVERHEAD
