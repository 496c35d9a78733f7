"""The response cache in a real Redis that is killed, frozen, emptied and filled while it is used."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from atom.agents.names import AgentNames
from atom.events.service import Outbox, Signal
from atom.infra.db import Sessions
from atom.infra.redis import RedisUrlError
from atom.infra.trace import NO_TRACER
from atom.kit.clock import FrozenClock
from atom.llm.access import Access
from atom.llm.adapters.redis_cache import AWAY_SECONDS, ENTRY_BYTES, PREFIX, RedisCache, redis_cache
from atom.llm.calls import CompletedCall
from atom.llm.directory import EnvironmentOnly
from atom.llm.errors import CacheAwayError
from atom.llm.layer import Base, build_models
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatModel, Completion, FinishReason, Usage
from atom.llm.service import LlmService
from atom.llm.testing import ScriptedModel, ask
from atom.settings import LlmSettings, Provider, RedisSettings, VaultSettings
from tests.support.own_redis import OwnRedis

TIMEOUT = 1.0  # seconds of an operation
SLOWER = 1.6  # seconds; the most that a Redis in trouble may add to a call, on a busy machine
Open = Callable[..., RedisCache]


@pytest_asyncio.fixture
async def opened(own_redis: OwnRedis) -> AsyncIterator[Open]:
    """Caches of as many processes as the test opens."""
    found: list[RedisCache] = []

    def open_(max_bytes: int = 1_000_000) -> RedisCache:
        found.append(redis_cache(own_redis.url, timeout=TIMEOUT, max_bytes=max_bytes, clock=FrozenClock()))
        return found[-1]

    yield open_
    for cache in found:
        await cache.aclose()


@contextmanager
def quick(seconds: float = SLOWER) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def pass_time(cache: RedisCache, seconds: float = AWAY_SECONDS) -> None:
    assert isinstance(cache.clock, FrozenClock)
    cache.clock.advance(seconds)


async def entries(cache: RedisCache) -> list[bytes]:
    return [key async for key in cache.redis.scan_iter(match=f"{PREFIX}:answer:*")]


async def test_replicas_share_answers_and_every_key_has_the_prefix_and_an_end(opened: Open) -> None:
    one, other = opened(), opened()
    await one.put("k", b"v", 100)
    await one.put("l", b"w", 50)
    assert await other.get("k") == b"v"
    keys = [key async for key in one.redis.scan_iter()]
    assert all(key.startswith(PREFIX.encode()) for key in keys)
    assert len(keys) == 5  # two answers and the three books of account
    assert all([0 < await one.redis.pttl(key) <= 100_000 for key in keys])


async def test_an_answer_ends_with_its_time(opened: Open) -> None:
    cache = opened()
    await cache.put("k", b"v", 0.05)
    await asyncio.sleep(0.1)
    assert await cache.get("k") is None
    await cache.put("l", b"v", 50)
    assert (await cache.stats()).bytes == 1 + ENTRY_BYTES


async def test_the_oldest_go_first_and_redis_needs_no_more_memory_than_the_bound(opened: Open) -> None:
    cache = opened(max_bytes=1_000_000)
    await cache.put("0", b"", 1)  # with the first one come the connection's buffers and the script
    before = (await cache.redis.info("memory"))["used_memory"]
    for number in range(1_500):
        await cache.put(f"{number:064x}", bytes(500), 3600 + number)
    stats = await cache.stats()
    assert stats.bytes <= 1_000_000
    assert stats.entries == 1_000_000 // (500 + ENTRY_BYTES)
    assert await cache.get(f"{1_499:064x}") is not None
    assert await cache.get(f"{0:064x}") is None
    left = sorted(int(key.rsplit(b":", 1)[1], 16) for key in await entries(cache))
    assert left == list(range(1_500 - stats.entries, 1_500))
    assert (await cache.redis.info("memory"))["used_memory"] - before < 1_150_000


async def test_the_same_answer_again_is_counted_once(opened: Open) -> None:
    cache = opened()
    for size in (10, 500, 20):
        await cache.put("k", bytes(size), 60)
    assert (await cache.stats()).bytes == 20 + ENTRY_BYTES


async def test_an_answer_that_would_push_out_all_others_is_not_kept(opened: Open) -> None:
    cache = opened(max_bytes=10_000)
    await cache.put("k", bytes(3_000), 60)
    assert await cache.get("k") is None


async def test_more_calls_than_connections_are_no_outage(opened: Open) -> None:
    cache = opened()
    await cache.put("k", b"v", 60)
    assert await asyncio.gather(*(cache.get("k") for _ in range(200))) == [b"v"] * 200


@pytest.mark.parametrize("trouble", ["killed", "frozen"])
async def test_while_redis_is_away_each_process_keeps_its_own_and_nobody_waits_twice(
    opened: Open, own_redis: OwnRedis, trouble: str
) -> None:
    cache = opened()
    await cache.put("k", b"v", 60)
    own_redis.kill() if trouble == "killed" else own_redis.freeze()
    with quick():
        assert await asyncio.gather(*(cache.get("k") for _ in range(50))) == [None] * 50
    with quick(TIMEOUT * 0.7):
        await cache.put("l", b"w", 60)
        assert await cache.get("l") == b"w"
    pass_time(cache)
    with quick():  # one finds out, the others do not wait for it
        probing = asyncio.create_task(cache.get("l"))
        await asyncio.sleep(0)
        with quick(TIMEOUT * 0.7):
            assert await asyncio.gather(*(cache.get("l") for _ in range(50))) == [b"w"] * 50
        assert await probing == b"w"
    with quick(TIMEOUT * 0.7):
        await cache.put("m", b"x", 60)


@pytest.mark.parametrize("trouble", ["killed", "frozen"])
async def test_it_comes_back_by_itself(opened: Open, own_redis: OwnRedis, trouble: str) -> None:
    cache = opened()
    await cache.put("k", b"v", 60)
    own_redis.kill() if trouble == "killed" else own_redis.freeze()
    await cache.get("k")
    await cache.put("own", b"w", 60)
    assert (await cache.stats()).away
    own_redis.start() if trouble == "killed" else own_redis.thaw()
    pass_time(cache)
    await cache.get("k")
    await cache.put("n", b"y", 60)
    assert await opened().get("n") == b"y"
    stats = await cache.stats()
    assert (stats.place, stats.away) == ("redis", False)
    assert await cache.get("own") is None  # what was kept meanwhile is not an answer that `clear` cannot reach


async def test_connections_that_a_restart_closed_cost_nothing(opened: Open, own_redis: OwnRedis) -> None:
    cache = opened()
    await asyncio.gather(*(cache.get("k") for _ in range(30)))
    own_redis.kill()
    own_redis.start()
    with structlog.testing.capture_logs() as events:
        assert await asyncio.gather(*(cache.get("k") for _ in range(30))) == [None] * 30
    assert not [event for event in events if event["event"] == "llm.cache_away"]


async def test_emptied_in_the_middle_it_goes_on(opened: Open) -> None:
    cache = opened(max_bytes=20_000)
    for number in range(30):
        await cache.put(f"k{number}", bytes(400), 60)
        if number == 15:
            await cache.redis.flushall()
    assert await cache.get("k29") is not None
    assert (await cache.stats()).bytes == 14 * (400 + ENTRY_BYTES)


@pytest.mark.parametrize("book", ["ends", "sizes", "bytes"])
async def test_a_book_that_redis_evicted_does_not_end_the_cache(opened: Open, book: str) -> None:
    """With allkeys-lru, any key may go. Counted on with one book missing, the cache would throw out what it gets."""
    cache = opened(max_bytes=20_000)
    for number in range(15):
        await cache.put(f"k{number}", bytes(400), 60)
    await cache.redis.delete(f"{PREFIX}:{book}")
    for number in range(100, 112):
        await cache.put(f"k{number}", bytes(400), 60)
    assert [await cache.get(f"k{number}") for number in range(100, 112)] == [bytes(400)] * 12
    assert (await cache.stats()).bytes == 12 * (400 + ENTRY_BYTES)


async def test_a_full_redis_keeps_nothing_more_and_gives_what_it_has(opened: Open) -> None:
    cache = opened(max_bytes=50_000_000)
    await cache.put("k", b"v", 60)
    await cache.redis.config_set("maxmemory-policy", "noeviction")
    await cache.redis.config_set("maxmemory", "1mb")
    with structlog.testing.capture_logs() as events:
        for number in range(2_000):
            await cache.put(f"{number}", bytes(2_000), 60)
        assert await cache.get("k") == b"v"
    assert [event["event"] for event in events] == ["llm.cache_full"]
    await cache.redis.config_set("maxmemory", "0")
    pass_time(cache)
    await cache.put("l", b"w", 60)
    assert await cache.get("l") == b"w"


async def test_clear_drops_all_and_only_its_own(opened: Open) -> None:
    cache = opened()
    for number in range(700):
        await cache.put(f"k{number}", b"v", 60)
    await cache.redis.set("of somebody else", b"x")
    assert await cache.clear() == 700
    assert [key async for key in cache.redis.scan_iter()] == [b"of somebody else"]
    assert (await cache.stats()).entries == 0


async def test_clear_says_when_it_could_not(opened: Open, own_redis: OwnRedis) -> None:
    cache = opened()
    await cache.put("k", b"v", 60)
    own_redis.freeze()
    with pytest.raises(CacheAwayError):
        await cache.clear()
    own_redis.thaw()
    assert await cache.clear() == 1  # asked for by a person, Redis is asked whatever happened a moment ago


class Calls:
    """A service on that cache, whose provider always answers, and at once."""

    def __init__(self, cache: RedisCache) -> None:
        settings = LlmSettings(openai_api_key=SecretStr("x"), openai_model="gpt")
        self.model = ScriptedModel(*[Completion("42", (), FinishReason.STOP, Usage(1, 1), "openai", "gpt")] * 2_000)

        async def load(_: Access) -> ChatModel:
            return self.model

        metrics, keys = LlmMetrics(CollectorRegistry()), EnvironmentOnly(settings)
        self.service = LlmService(settings, {Provider.OPENAI: load}, metrics, cache.clock, keys, cache=cache)

    async def ask(self, number: int) -> tuple[CompletedCall, float]:
        began = time.monotonic()
        done = await self.service.complete(None, replace(ask(f"question {number}"), temperature=0.0))
        return done, time.monotonic() - began


TROUBLES: dict[str, Callable[[OwnRedis, RedisCache], Any]] = {
    "killed": lambda redis, cache: redis.kill(),
    "frozen": lambda redis, cache: redis.freeze(),
    "emptied": lambda redis, cache: cache.redis.flushall(),
    "full": lambda redis, cache: cache.redis.config_set("maxmemory", "900kb"),
}


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
async def test_calls_go_on_through_it_and_none_is_much_slower(opened: Open, own_redis: OwnRedis, trouble: str) -> None:
    cache = opened()
    calls = Calls(cache)
    await calls.ask(0)
    again, _ = await calls.ask(0)
    assert again.record.cache_hit
    slowest = 0.0
    for round_ in range(6):
        if round_ == 2:
            done = TROUBLES[trouble](own_redis, cache)
            if done is not None:
                await done
        if round_ == 4:
            pass_time(cache)
        answers = await asyncio.gather(*(calls.ask(round_ * 100 + number) for number in range(20)))
        assert {done.completion.text for done, _ in answers} == {"42"}
        slowest = max(slowest, *(seconds for _, seconds in answers))
    assert slowest < SLOWER


async def test_a_poisoned_entry_is_a_miss_and_is_replaced(opened: Open) -> None:
    cache = opened()
    calls = Calls(cache)
    await calls.ask(0)
    (key,) = await entries(cache)
    await cache.redis.set(key, b'{"v": 2, "text": "poison"}', ex=60)
    again, _ = await calls.ask(0)
    assert (again.completion.text, again.record.cache_hit, len(calls.model.asked)) == ("42", False, 2)
    assert (await calls.ask(0))[0].record.cache_hit


def test_an_address_that_is_none_is_told_by_its_variable_and_without_its_password(
    sessions: Sessions, home: Path
) -> None:
    base = Base(sessions, Outbox(Signal()), FrozenClock(), CollectorRegistry(), home, AgentNames(), NO_TRACER)
    redis = RedisSettings(url=SecretStr("http://user:canary@127.0.0.1:6379"))
    with pytest.raises(RedisUrlError, match="REDIS_URL cannot be read") as caught:
        build_models(base, LlmSettings(), VaultSettings(), redis)
    assert "canary" not in str(caught.value) + caught.value.hint
