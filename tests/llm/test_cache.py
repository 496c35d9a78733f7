"""The response cache: which questions are the same, which answers are kept, and calls that share one."""

import asyncio
import json
import tracemalloc
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from atom.kit.clock import FrozenClock, SystemClock
from atom.llm.access import Access, KeyInfo
from atom.llm.adapters.memory_cache import OVERHEAD, MemoryCache
from atom.llm.adapters.script import Reply
from atom.llm.cache import CacheStats, cache_key, cacheable, decode, encode, keeps
from atom.llm.calls import Caller, CompletedCall
from atom.llm.directory import EnvironmentOnly
from atom.llm.errors import ModelRequestError, ModelUnavailableError
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatModel, ChatRequest, Completion, FinishReason, Message, Role, ToolCall, ToolSpec, Usage
from atom.llm.routes import Config, Route
from atom.llm.service import MOST_FOLLOWED, LlmService
from atom.llm.testing import ScriptedModel, ask, call
from atom.settings import LlmSettings, Provider

KEY = KeyInfo(Provider.OPENAI, "team", UUID(int=1), base_url="http://one/v1")
ROUTE = Route(Provider.OPENAI, "gpt", KEY)
TOOL = ToolSpec("f", "does f", {"type": "object"})
REQUEST = ChatRequest(
    model="gpt",
    messages=(Message(Role.SYSTEM, "be good"), Message(Role.USER, "hello")),
    tools=(TOOL,),
    temperature=0.0,
    response_schema={"type": "object"},
)
CHANGES: dict[str, Any] = {
    "messages": REQUEST.messages[:1],
    "tools": (),
    "max_tokens": 7,
    "temperature": 0.1,
    "response_schema": None,
}
COLD = replace(ask("x"), temperature=0.0)
ANSWER = Completion("four", (), FinishReason.STOP, Usage(10, 2, 1), "openai", "gpt-1", "req-1")


def test_every_field_of_a_request_is_part_of_the_question() -> None:
    """A field that is added later and forgotten in the key fails here."""
    changed = {name: cache_key(ROUTE, replace(REQUEST, **{name: value})) for name, value in CHANGES.items()}
    apart = {"model", "stream"}  # the model is the route's; how an answer travels does not change it
    assert {one.name for one in fields(ChatRequest)} - apart == set(changed)
    assert len({cache_key(ROUTE, REQUEST), *changed.values()}) == len(CHANGES) + 1


@pytest.mark.parametrize(
    "route",
    [
        replace(ROUTE, provider=Provider.COMPATIBLE),
        replace(ROUTE, model="gpt-2"),
        replace(ROUTE, key=replace(KEY, id=UUID(int=2))),
        replace(ROUTE, key=replace(KEY, owner="alice")),
        replace(ROUTE, key=replace(KEY, base_url="http://two/v1")),
        replace(ROUTE, key=replace(KEY, options=(("api_version", "2"),))),
    ],
)
def test_who_answers_and_who_pays_are_part_of_the_question(route: Route) -> None:
    assert cache_key(route, REQUEST) != cache_key(ROUTE, REQUEST)


def test_two_deployments_on_one_redis_share_nothing_through_unnamed_keys() -> None:
    route = Route(Provider.OPENAI, "gpt", KeyInfo(Provider.OPENAI))
    keys = {cache_key(route, REQUEST, secret) for secret in (SecretStr("a"), SecretStr("b"), None)}
    assert len(keys) == 3
    assert not any("sk-" in key for key in keys)


MESSAGES = st.builds(
    Message,
    st.sampled_from(list(Role)),
    st.text(max_size=6),
    st.lists(st.builds(ToolCall, st.text(max_size=3), st.text(max_size=3), st.text(max_size=3)), max_size=2).map(tuple),
    st.none() | st.text(max_size=3),
)
REQUESTS = st.builds(
    ChatRequest,
    st.just("gpt"),
    st.lists(MESSAGES, max_size=3).map(tuple),
    st.lists(st.builds(ToolSpec, st.text(max_size=3), st.text(max_size=3), st.just({"a": 1})), max_size=2).map(tuple),
    st.integers(1, 3),
    st.sampled_from([None, 0.0, 1.0]),
    st.none() | st.just({"b": 2}),
)


@given(REQUESTS, REQUESTS)
def test_two_questions_share_an_answer_exactly_when_they_are_equal(one: ChatRequest, other: ChatRequest) -> None:
    assert (cache_key(ROUTE, one) == cache_key(ROUTE, other)) == (one == other)
    assert cache_key(ROUTE, replace(one)) == cache_key(ROUTE, one)


@pytest.mark.parametrize(
    ("cache", "temperature", "expected"),
    [
        ("exact", 0.0, True), ("exact", None, False), ("exact", 0.7, False),
        ("sampled", 0.7, True), ("sampled", None, True), ("off", 0.0, False),
    ],
)  # fmt: skip
def test_only_what_may_be_the_same_again_is_looked_for(cache: Any, temperature: float | None, expected: bool) -> None:
    assert cacheable(replace(REQUEST, temperature=temperature), LlmSettings(cache=cache)) is expected


@pytest.mark.parametrize(
    "completion",
    [
        replace(ANSWER, tool_calls=(ToolCall("1", "f", "{}"),), finish_reason=FinishReason.TOOL_CALLS),
        replace(ANSWER, tool_calls=(ToolCall("1", "f", "{}"),)),
        replace(ANSWER, finish_reason=FinishReason.LENGTH),
        replace(ANSWER, finish_reason=FinishReason.CONTENT_FILTER),
        replace(ANSWER, text=""),
    ],
)
def test_half_answers_and_tool_calls_are_never_kept(completion: Completion) -> None:
    assert keeps(ANSWER)
    assert not keeps(completion)


@given(st.text(), st.none() | st.integers(0, 10**9), st.none() | st.text(max_size=9))
def test_what_is_kept_comes_back_whole(text: str, tokens: int | None, request_id: str | None) -> None:
    kept = replace(ANSWER, text=text, usage=Usage(tokens, tokens, tokens), request_id=request_id)
    assert decode("k", encode("k", kept)) == kept


@given(st.data())
def test_a_damaged_entry_is_a_miss(data: st.DataObject) -> None:
    whole = encode("k", ANSWER)
    damaged = data.draw(
        st.binary(max_size=200)
        | st.integers(0, len(whole) - 1).map(lambda end: whole[:end])
        | st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)).map(
            lambda flip: whole[: flip[0]] + bytes([whole[flip[0]] ^ flip[1]]) + whole[flip[0] + 1 :]
        )
    )
    assume(damaged != whole)
    assert decode("k", damaged) is None


@pytest.mark.parametrize(
    "said",
    [b"", b"null", b"[" * 100_000, json.dumps({"v": 1, "text": None}).encode(), encode("other", ANSWER)],
    ids=["empty", "null", "deep", "another version", "another question's"],
)
def test_what_was_not_written_for_this_question_is_a_miss(said: bytes) -> None:
    assert decode("k", said) is None


async def test_an_entry_ends_with_its_time() -> None:
    clock = FrozenClock()
    cache = MemoryCache(100_000, clock)
    await cache.put("k", b"v", 10)
    clock.advance(9.9)
    assert await cache.get("k") == b"v"
    clock.advance(0.2)
    assert await cache.get("k") is None
    assert (await cache.stats()).bytes == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4000)), max_size=60))
def test_memory_stays_within_its_bytes_and_the_oldest_go_first(puts: list[tuple[int, int]]) -> None:
    async def play() -> None:
        cache, kept = MemoryCache(10_000, FrozenClock()), dict[str, int]()
        for number, size in puts:
            await cache.put(str(number), bytes(size), 100)
            if size <= 2_500:
                kept.pop(str(number), None)
                kept[str(number)] = size
            while sum(kept.values()) + OVERHEAD * len(kept) > 10_000:
                kept.pop(next(iter(kept)))
            stats = await cache.stats()
            assert stats == CacheStats("process", len(kept), sum(kept.values()) + OVERHEAD * len(kept), 10_000)
        for name, size in kept.items():
            assert await cache.get(name) == bytes(size)

    asyncio.run(play())


async def test_the_bytes_it_counts_are_the_bytes_it_takes() -> None:
    cache = MemoryCache(1_000_000, SystemClock())
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(10_000):
        await cache.put(f"{number:064x}", bytes(300), 3600)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert (await cache.stats()).bytes <= 1_000_000
    assert taken <= 1_150_000


@dataclass
class Bench:
    """A service whose one provider is scripted. `fallback` answers when it does not."""

    model: ScriptedModel
    settings: LlmSettings = field(
        default_factory=lambda: LlmSettings(openai_api_key=SecretStr("x"), openai_model="gpt", attempts=1)
    )
    fallback: ScriptedModel | None = None
    clock: FrozenClock = field(default_factory=FrozenClock)
    service: LlmService = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        if self.fallback is not None:
            settings = settings.model_copy(update={"anthropic_api_key": SecretStr("y"), "anthropic_model": "claude"})

        async def load(access: Access) -> ChatModel:
            found = self.model if access.provider is Provider.OPENAI else self.fallback
            assert found is not None
            return found

        self.service = LlmService(
            settings,
            dict.fromkeys(Provider, load),
            LlmMetrics(CollectorRegistry()),
            self.clock,
            EnvironmentOnly(settings, Config()),
            cache=MemoryCache(1_000_000, self.clock),
            jitter=lambda: 0.0,
        )

    async def ask(self, request: ChatRequest = COLD, *, use_cache: bool = True) -> CompletedCall:
        return await self.service.complete(None, request, None, Caller(use_cache=use_cache))

    def many(self, count: int) -> "list[asyncio.Task[CompletedCall]]":
        return [asyncio.create_task(self.ask()) for _ in range(count)]


def unavailable() -> ModelUnavailableError:
    return ModelUnavailableError("no", provider="openai", model="gpt")


async def test_a_hit_costs_nothing_and_says_so() -> None:
    bench = Bench(ScriptedModel("four"))
    first, second = await bench.ask(), await bench.ask()
    assert (second.completion.text, len(bench.model.asked)) == ("four", 1)
    assert (first.record.cache_hit, second.record.cache_hit) == (False, True)
    assert second.record.cost_usd == Decimal(0)
    assert second.record.usage == second.completion.usage == Usage(0, 0, 0)


async def test_a_call_may_ask_for_a_new_answer() -> None:
    bench = Bench(ScriptedModel("four", "five"))
    await bench.ask()
    assert (await bench.ask(use_cache=False)).completion.text == "five"


async def test_an_answer_ends_with_its_time() -> None:
    bench = Bench(ScriptedModel("four", "five"))
    await bench.ask()
    bench.clock.advance(bench.settings.cache_ttl + 1)
    assert (await bench.ask()).completion.text == "five"


async def test_an_answer_of_a_fallback_is_not_kept_as_the_first_ones() -> None:
    """It is of another model, and perhaps of a key that this question's next asker may not use."""
    bench = Bench(ScriptedModel(unavailable(), "from openai"), fallback=ScriptedModel("from anthropic"))
    assert (await bench.ask()).completion.text == "from anthropic"
    assert (await bench.ask()).completion.text == "from openai"


async def test_a_hundred_who_ask_the_same_at_once_are_one_call() -> None:
    bench = Bench(ScriptedModel(Reply("four", delay=0.05)))
    answers = await asyncio.gather(*bench.many(100))
    assert {done.completion.text for done in answers} == {"four"}
    assert len(bench.model.asked) == 1
    assert sum(not done.record.cache_hit for done in answers) == 1


async def test_when_the_one_who_asks_is_cancelled_the_next_asks() -> None:
    bench = Bench(ScriptedModel(Reply("lost", delay=60), Reply("four", delay=0.05)))
    calls = bench.many(100)
    await asyncio.sleep(0)
    while not bench.model.asked:
        await asyncio.sleep(0)
    calls[0].cancel()
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*calls[1:])
    assert {done.completion.text for done in answers} == {"four"}
    assert len(bench.model.asked) == 2


async def test_when_the_one_who_asks_fails_the_next_asks() -> None:
    refused = ModelRequestError("no", provider="openai", model="gpt")
    bench = Bench(ScriptedModel(Reply(delay=0.05, error=refused), "four"))
    async with asyncio.timeout(5):
        first, *others = await asyncio.gather(*bench.many(100), return_exceptions=True)
    assert first is refused
    assert {done.completion.text for done in others if isinstance(done, CompletedCall)} == {"four"}
    assert len(others) == 99
    assert len(bench.model.asked) == 2


async def test_nobody_stands_in_a_long_queue_of_failures() -> None:
    """Each failure is waited for; a hundred callers in a row would wait for the time of a hundred failures."""
    refused = [Reply(delay=0.05, error=ModelRequestError("no", provider="openai", model="gpt"))] * 100
    bench = Bench(ScriptedModel(*refused))
    began = SystemClock().monotonic()
    answers = await asyncio.gather(*bench.many(100), return_exceptions=True)
    assert SystemClock().monotonic() - began < 0.05 * (MOST_FOLLOWED + 1) + 1.0
    assert {type(one) for one in answers} == {ModelRequestError}


@pytest.mark.parametrize("reply", [call("f"), Reply("")], ids=["tool call", "nothing"])
async def test_answers_that_are_not_for_others_are_not_waited_for_in_turn(reply: Any) -> None:
    """Runs with the same first turn, which calls a tool: they must not ask one after the other."""
    slow = replace(reply, delay=0.1) if isinstance(reply, Reply) else Reply(tool_calls=(reply,), delay=0.1)
    bench = Bench(ScriptedModel(*[slow] * 50))
    began = SystemClock().monotonic()
    answers = await asyncio.gather(*bench.many(50))
    assert SystemClock().monotonic() - began < 2.0
    assert len(bench.model.asked) == 50
    assert not any(done.record.cache_hit for done in answers)


async def test_a_follower_that_is_cancelled_disturbs_nobody() -> None:
    bench = Bench(ScriptedModel(Reply("four", delay=0.1)))
    calls = bench.many(10)
    while not bench.model.asked:
        await asyncio.sleep(0)
    for follower in calls[1:5]:
        follower.cancel()
    answers = await asyncio.gather(calls[0], *calls[5:])
    assert {done.completion.text for done in answers} == {"four"}
    assert all(follower.cancelled() for follower in calls[1:5])
    assert len(bench.model.asked) == 1


async def test_the_text_of_a_kept_answer_is_shown_as_any_other() -> None:
    bench = Bench(ScriptedModel("four"))
    seen: list[tuple[int, int, str]] = []
    await bench.ask()
    await bench.service.complete(None, COLD, lambda *delta: seen.append(delta))
    assert seen == [(1, 0, "four")]
