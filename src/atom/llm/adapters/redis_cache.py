"""The response cache in Redis, shared by all replicas. While Redis is away, each process keeps its own.

Keys carry one hash tag, so that a cluster keeps them in one slot and the script may touch them all:
`{atom:llm}:answer:KEY` (the answer, with a TTL), `{atom:llm}:ends` (keys by the second they end),
`{atom:llm}:sizes` (bytes by key) and `{atom:llm}:bytes` (their sum). All of them end when the last answer does.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError

from atom.kit.clock import Clock
from atom.llm.adapters.memory_cache import MemoryCache
from atom.llm.cache import MAX_ENTRY_BYTES, CacheStats
from atom.llm.errors import CacheAwayError

PREFIX = "{atom:llm}"
AWAY_SECONDS = 5.0  # Redis that failed is left alone for that long: no call waits for it again and again
CLEAR_AT_ONCE = 500
MOST_EVICTED = 1000
CONNECTIONS = 20
ENTRY_BYTES = 600  # what Redis needs for an entry beside its answer: measured 537 to 614
FAILURES = (RedisError, OSError, TimeoutError)
log = structlog.get_logger(service="byok")
# What ended is forgotten, what is new is added, and the answers that end soonest go until all fit. Redis may have
# evicted one of the three books of account: then they are begun anew, and what they held ends by its TTL.
PUT = """
local books = {KEYS[2], KEYS[3], KEYS[4]}
local ttl, most = tonumber(ARGV[3]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('EXISTS', unpack(books))
if known ~= 0 and known ~= 3 then redis.call('DEL', unpack(books)) end
local function forget(key)
  local size = tonumber(redis.call('HGET', KEYS[3], key) or '0')
  redis.call('HDEL', KEYS[3], key)
  redis.call('ZREM', KEYS[2], key)
  redis.call('DECRBY', KEYS[4], size)
  redis.call('DEL', ARGV[5] .. key)
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, most)) do forget(key) end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then forget(ARGV[1]) end
local size = #ARGV[2] + tonumber(ARGV[7])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ttl)
redis.call('HSET', KEYS[3], ARGV[1], size)
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ttl), ARGV[1])
redis.call('INCRBY', KEYS[4], size)
for _ = 1, most do
  if tonumber(redis.call('GET', KEYS[4]) or '0') <= tonumber(ARGV[4]) then break end
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)
  if #oldest == 0 then break end
  forget(oldest[1])
end
for _, book in ipairs(books) do
  if redis.call('PTTL', book) < ttl then redis.call('PEXPIRE', book, ttl) end
end
return 1
"""


@dataclass(slots=True)
class RedisCache:
    """`fallback` is this process's own, for the time without Redis. `timeout`: seconds, of one operation in all."""

    redis: Redis
    max_bytes: int
    fallback: MemoryCache
    clock: Clock
    timeout: float
    _away_until: float | None = field(default=None, init=False)
    _full_until: float = field(default=float("-inf"), init=False)
    _left: set["asyncio.Future[Any]"] = field(default_factory=set, init=False)

    async def get(self, key: str) -> bytes | None:
        if self._asks():
            found = await self._bounded(self.redis.get(f"{PREFIX}:answer:{key}"))
            if self._away_until is None:
                return cast("bytes | None", found)
        return await self.fallback.get(key)

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        if len(value) > min(MAX_ENTRY_BYTES, self.max_bytes // 4):
            return
        if self._away_until is not None:  # only `get` finds out whether it is back: no call waits for it twice
            await self.fallback.put(key, value, ttl)
        elif self.clock.monotonic() >= self._full_until:
            await self._bounded(self._put(key, value, ttl))

    async def stats(self) -> CacheStats:
        size = await self._bounded(self.redis.get(f"{PREFIX}:bytes"))
        if self._away_until is None:
            now = int(self.clock.now().timestamp() * 1000)
            count = await self._bounded(self.redis.zcount(f"{PREFIX}:ends", now, "+inf"))
            if self._away_until is None:
                return CacheStats("redis", int(count), int(size or 0), self.max_bytes)
        own = await self.fallback.stats()
        return CacheStats("process", own.entries, own.bytes, own.max_bytes, away=True)

    async def clear(self) -> int:
        """Also where Redis was away a moment ago: a person wants to know whether it is done."""
        count = await self.fallback.clear()
        keys: list[bytes] = []
        try:
            async for key in self.redis.scan_iter(match=f"{PREFIX}:*", count=CLEAR_AT_ONCE):
                keys.append(key)
                if len(keys) >= CLEAR_AT_ONCE:
                    count += await self._delete(keys)
                    keys = []
            count += await self._delete(keys)
        except FAILURES as error:
            self._failed(error)
            raise CacheAwayError(
                "Redis does not answer: what it keeps is still there.",
                hint=f"{count} answers are dropped. `atom doctor` looks at Redis; clear it again when it is back.",
            ) from error
        return count

    async def aclose(self) -> None:
        if self._left:
            await asyncio.wait(set(self._left), timeout=self.timeout)
        await self.redis.aclose()

    async def _delete(self, keys: list[bytes]) -> int:
        if keys:
            await self.redis.delete(*keys)
        return sum(1 for key in keys if b":answer:" in key)

    def _put(self, key: str, value: bytes, ttl: float) -> Awaitable[Any]:
        keys = [f"{PREFIX}:answer:{key}", f"{PREFIX}:ends", f"{PREFIX}:sizes", f"{PREFIX}:bytes"]
        values: list[str | bytes | int] = [
            key, value, int(ttl * 1000), self.max_bytes, f"{PREFIX}:answer:", MOST_EVICTED, ENTRY_BYTES,
        ]  # fmt: skip
        return self.redis.eval(PUT, len(keys), *keys, *values)

    def _asks(self) -> bool:
        """While it is away, one call in a while finds out whether it is back; the others do not wait for it."""
        if self._away_until is None:
            return True
        if self.clock.monotonic() < self._away_until:
            return False
        self._away_until = self.clock.monotonic() + AWAY_SECONDS
        return True

    async def _bounded(self, asking: Awaitable[Any]) -> Any:
        """None when Redis fails: a miss, and nothing more."""
        try:
            found = await self._within(asking)
        except OutOfMemoryError:
            self._full_until = self.clock.monotonic() + AWAY_SECONDS
            log.warning("llm.cache_full", hint="Redis is at its maxmemory and evicts nothing: answers are not kept.")
            return None
        except FAILURES as error:
            self._failed(error)
            return None
        if self._away_until is not None:
            self._away_until = None
            await self.fallback.clear()  # what is cleared or changed in Redis from now on must not come from here
            log.info("llm.cache_back")
        return found

    async def _within(self, asking: Awaitable[Any]) -> Any:
        """The client may go on connecting for a while after it is cancelled (its own timeouts around the connection
        swallow that), so that the caller does not wait for it to give up. Raises TimeoutError."""
        task = asyncio.ensure_future(asking)
        try:
            done, _ = await asyncio.wait({task}, timeout=self.timeout)
        except asyncio.CancelledError:
            self._leave(task)
            raise
        if done:
            return task.result()
        self._leave(task)
        raise TimeoutError(f"Redis did not answer within {self.timeout:g} s")

    def _leave(self, task: "asyncio.Future[Any]") -> None:
        self._left.add(task)
        task.add_done_callback(self._gone)
        task.cancel()

    def _gone(self, task: "asyncio.Future[Any]") -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # it was already counted as away

    def _failed(self, error: Exception) -> None:
        if self._away_until is None:
            log.warning("llm.cache_away", error_type=type(error).__name__)
        self._away_until = self.clock.monotonic() + AWAY_SECONDS


def redis_cache(url: str, *, timeout: float, max_bytes: int, clock: Clock) -> RedisCache:
    """`timeout` bounds each operation, in seconds. Nothing is connected yet."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=2 * timeout,  # the client's own bounds, for `clear`; else `timeout` ends an operation before they do
        socket_timeout=2 * timeout,
        socket_connect_timeout=2 * timeout,
        retry=Retry(NoBackoff(), 1, (RedisConnectionError,)),  # a connection that Redis closed while nobody used it
    )
    return RedisCache(Redis(connection_pool=pool), max_bytes, MemoryCache(max_bytes // 4, clock), clock, timeout)
