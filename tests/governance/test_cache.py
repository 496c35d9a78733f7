"""The cache keeps what it was given, within its bound, until its time, and lets go of what it is told to."""

import asyncio
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from atom.governance.cache import GRAIN, CacheMetrics, HitRate, SingleFlight, TaggedLru
from tests.support.polling import eventually

MOST = 4
KEYS = st.integers(0, 6)
TAGS = st.frozensets(st.sampled_from("abc"), max_size=2)
STEPS = st.lists(
    st.tuples(st.just("put"), KEYS, st.floats(0, 20), TAGS)
    | st.tuples(st.just("get"), KEYS)
    | st.tuples(st.just("drop"), st.sampled_from("abc"))
    | st.tuples(st.just("wait"), st.floats(0, 5))
    | st.tuples(st.just("clear")),
    max_size=60,
)


@given(STEPS)
def test_it_is_a_bounded_lru_with_times_and_tags(steps: list[tuple[Any, ...]]) -> None:
    cache: TaggedLru[int, int] = TaggedLru(MOST)
    model: OrderedDict[int, tuple[int, float, frozenset[str]]] = OrderedDict()
    moved: dict[int, float] = {}  # to the young end: at most once a second
    now = 0.0
    for number, (what, *given_) in enumerate(steps):
        if what == "put":
            key, left, tags = given_
            cache.put(key, number, until=now + left, tags=tags)
            model.pop(key, None)
            model[key] = (number, now + left, tags)
            moved[key] = float("-inf")
            if len(model) > MOST:
                model.popitem(last=False)
        elif what == "get":
            (key,) = given_
            if key in model and model[key][1] <= now:
                del model[key]
            if key in model and now >= moved[key] + GRAIN:
                model.move_to_end(key)
                moved[key] = now
            assert cache.get(key, now) == (model[key][0] if key in model else None)
        elif what == "drop":
            gone = [key for key, (_, _, tags) in model.items() if given_[0] in tags]
            assert cache.drop(given_[0]) == len(gone)
            for key in gone:
                del model[key]
        elif what == "wait":
            now += given_[0]
        else:
            assert cache.clear() == len(model)
            model.clear()
        assert len(cache) == len(model) <= MOST
        assert set(cache._tagged) == {tag for _, _, tags in model.values() for tag in tags}, "nothing leaks"


async def test_many_who_want_the_same_wait_for_one_and_others_do_not() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    gate, asked = asyncio.Event(), list[str]()

    async def get(name: str) -> int:
        asked.append(name)
        await gate.wait()
        return len(asked)

    tasks = [asyncio.create_task(flight.do(name, lambda name=name: get(name))) for name in "aaaab"]  # type: ignore[misc]
    await eventually(lambda: len(asked) == 2)
    gate.set()
    assert await asyncio.gather(*tasks) == [2, 2, 2, 2, 2]
    assert sorted(asked) == ["a", "b"]


@pytest.mark.parametrize("way", ["fails", "is cancelled"])
async def test_whoever_goes_first_and_does_not_arrive_fails_alone(way: str) -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    gate, tries = asyncio.Event(), list[int]()

    async def get() -> int:
        tries.append(1)
        if len(tries) == 1:
            await gate.wait()
            raise ConnectionError
        await asyncio.sleep(0)
        return 7

    first = asyncio.create_task(flight.do("a", get))
    await eventually(lambda: tries)
    others = [asyncio.create_task(flight.do("a", get)) for _ in range(3)]
    await asyncio.sleep(0)
    if way == "fails":
        gate.set()
    else:
        first.cancel()
    with pytest.raises(ConnectionError if way == "fails" else asyncio.CancelledError):
        await first
    assert await asyncio.gather(*others) == [7, 7, 7]
    assert len(tries) == 2


def test_the_hit_rate_looks_back_five_minutes_and_keeps_the_last_it_saw() -> None:
    rate = HitRate()
    now = 1000.0
    assert rate.rate(now) == 0.0
    rate.misses += 10
    assert rate.rate(now) == 0.0
    for _ in range(60):  # five minutes of hits
        now += 5
        rate.hits += 1
        rate.sample(now)
    assert 0.8 < rate.rate(now) <= 60 / 70
    now += 10
    rate.hits += 1
    assert rate.rate(now) == 1.0, "the misses are out of the window"
    assert rate.rate(now + 3600) == 1.0, "nothing was asked since"
    rate.misses += 1
    assert rate.rate(now + 3601) == 0.0


def test_the_metrics_have_the_names_that_people_look_for() -> None:
    rate, registry = HitRate(), CollectorRegistry()
    rate.sample(0)
    rate.hits, rate.misses, rate.bypassed = 9, 1, 5
    registry.register(CacheMetrics(rate, lambda: 4, lambda: 1.0))
    text = generate_latest(registry).decode()
    for line in (
        "governance_cache_hit_rate 0.9",
        "governance_cache_hits_total 9.0",
        "governance_cache_misses_total 1.0",
        "governance_cache_bypassed_total 5.0",
        "governance_cache_entries 4.0",
    ):
        assert f"\n{line}\n" in text
