"""The response cache in Redis, shared by all replicas. While Redis is away, each process keeps its own.

Keys carry one hash tag, so that a cluster keeps them in one slot and the script may touch them all:
`{atom:llm}:answer:KEY` (the answer, with a TTL), `{atom:llm}:ends` (keys by the second they end),
`{atom:llm}:sizes` (bytes by key) and `{atom:llm}:bytes` (their sum).
"""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from atom.kit.clock import Clock
from atom.llm.adapters.memory_cache import MemoryCache
from atom.llm.cache import MAX_ENTRY_BYTES, CacheStats

PREFIX = "{atom:llm}"
AWAY_SECONDS = 5.0  # Redis that failed is left alone for that long: no call waits for it again and again
CLEAR_AT_ONCE = 500
MOST_EVICTED = 1000
FAILURES = (RedisError, OSError, TimeoutError)
log = structlog.get_logger(service="byok")
# What ended is forgotten, what is new is added, and the answers that end soonest go until all fit.
PUT = """
local function forget(key)
  local size = tonumber(redis.call('HGET', KEYS[3], key) or '0')
  redis.call('HDEL', KEYS[3], key)
  redis.call('ZREM', KEYS[2], key)
  redis.call('DECRBY', KEYS[4], size)
  redis.call('DEL', ARGV[6] .. key)
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[4], 'LIMIT', 0, ARGV[7])) do forget(key) end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then forget(ARGV[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('HSET', KEYS[3], ARGV[1], #ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4] + ARGV[3], ARGV[1])
redis.call('INCRBY', KEYS[4], #ARGV[2])
for _ = 1, tonumber(ARGV[7]) do
  if tonumber(redis.call('GET', KEYS[4]) or '0') <= tonumber(ARGV[5]) then break end
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)
  if #oldest == 0 then break end
  forget(oldest[1])
end
return 1
"""


@dataclass(slots=True)
class RedisCache:
    """`fallback` is this process's own, for the time without Redis."""

    redis: Redis
    max_bytes: int
    fallback: MemoryCache
    clock: Clock
    _away_until: float = field(default=float("-inf"), init=False)

    async def get(self, key: str) -> bytes | None:
        found = await self._ask(self.redis.get(f"{PREFIX}:answer:{key}")) if self._here() else None
        return cast("bytes | None", found) if found is not None else await self.fallback.get(key)

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        if len(value) > min(MAX_ENTRY_BYTES, self.max_bytes // 4):
            return
        if not self._here() or await self._ask(self._put(key, value, ttl)) is None:
            await self.fallback.put(key, value, ttl)

    async def stats(self) -> CacheStats:
        names = (f"{PREFIX}:bytes", f"{PREFIX}:ends")
        if self._here():
            size = await self._ask(self.redis.get(names[0]))
            count = await self._ask(self.redis.zcount(names[1], int(self.clock.now().timestamp() * 1000), "+inf"))
            if count is not None:
                return CacheStats("redis", int(count), int(size or 0), self.max_bytes)
        own = await self.fallback.stats()
        return CacheStats("process", own.entries, own.bytes, own.max_bytes, away=True)

    async def clear(self) -> int:
        count = await self.fallback.clear()
        if not self._here():
            return count
        keys: list[bytes] = []
        try:
            async for key in self.redis.scan_iter(match=f"{PREFIX}:*", count=CLEAR_AT_ONCE):
                keys.append(key)
                if len(keys) >= CLEAR_AT_ONCE:
                    count += await self._delete(keys)
                    keys = []
            count += await self._delete(keys)
        except FAILURES as error:
            self._away(error)
        return count

    async def aclose(self) -> None:
        await self.redis.aclose()

    async def _delete(self, keys: list[bytes]) -> int:
        if keys:
            await self.redis.delete(*keys)
        return sum(1 for key in keys if b":answer:" in key)

    def _put(self, key: str, value: bytes, ttl: float) -> Awaitable[Any]:
        keys = [f"{PREFIX}:answer:{key}", f"{PREFIX}:ends", f"{PREFIX}:sizes", f"{PREFIX}:bytes"]
        now = int(self.clock.now().timestamp() * 1000)
        values: list[str | bytes | int] = [
            key,
            value,
            int(ttl * 1000),
            now,
            self.max_bytes,
            f"{PREFIX}:answer:",
            MOST_EVICTED,
        ]
        return self.redis.eval(PUT, len(keys), *keys, *values)

    def _here(self) -> bool:
        return self.clock.monotonic() >= self._away_until

    async def _ask(self, asking: Awaitable[Any]) -> Any:
        """None when Redis fails: a miss, and nothing more."""
        try:
            return await asking
        except FAILURES as error:
            self._away(error)
            return None

    def _away(self, error: Exception) -> None:
        self._away_until = self.clock.monotonic() + AWAY_SECONDS
        log.warning("llm.cache_away", error_type=type(error).__name__, seconds=AWAY_SECONDS)


def redis_cache(url: str, *, timeout: float, max_bytes: int, clock: Clock) -> RedisCache:
    """`timeout` bounds each operation, in seconds. Nothing is connected yet."""
    client = Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, max_connections=20, health_check_interval=15
    )
    return RedisCache(client, max_bytes, MemoryCache(max_bytes // 4, clock), clock)
