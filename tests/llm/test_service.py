"""Tries, waits, bounds, and what is logged and counted about them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from llmock.scenarios import Fail, StreamFault
from llmock.scenarios import Reply as WireReply
from llmock.testing import LLMockServer
from prometheus_client import CollectorRegistry

from atom.kit.clock import FrozenClock, SystemClock
from atom.llm.access import Access
from atom.llm.adapters.script import Reply
from atom.llm.directory import EnvironmentOnly
from atom.llm.errors import (
    MalformedReplyError,
    ModelAuthError,
    ModelError,
    ModelNotConfiguredError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
    RoutesDownError,
    TruncatedReplyError,
)
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatModel
from atom.llm.retry import MOST_WAITING, backoff
from atom.llm.service import LlmService, adapter_factories
from atom.llm.testing import ScriptedModel, ask, call
from atom.settings import LlmSettings, Provider

Events = list[dict[str, Any]]


def scripted_limits(**changes: Any) -> LlmSettings:
    """With a scripted model to choose."""
    return LlmSettings(scripted_path=Path("replies.json"), **changes)


def error(kind: type[ModelError] = ModelUnavailableError, retry_after: float | None = None) -> ModelError:
    return kind("no", provider="scripted", model="scripted", retry_after=retry_after)


@dataclass
class Bench:
    """A service over one scripted model, whose waits move a frozen clock."""

    model: ScriptedModel
    settings: LlmSettings = field(default_factory=scripted_limits)
    clock: FrozenClock = field(default_factory=FrozenClock)
    waits: list[float] = field(default_factory=list)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def service(self, *, jitter: float = 0.5) -> LlmService:
        async def load(_: Access) -> ChatModel:
            return self.model

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)
            self.clock.advance(seconds)

        return LlmService(
            self.settings,
            {Provider.SCRIPTED: load},
            LlmMetrics(self.registry),
            self.clock,
            EnvironmentOnly(self.settings),
            sleep=sleep,
            jitter=lambda: jitter,
        )

    def count(self, outcome: str) -> float:
        labels = {"provider": "scripted", "model": "scripted", "outcome": outcome}
        return self.registry.get_sample_value("atom_llm_requests_total", labels) or 0.0


@pytest.fixture
def events() -> Iterator[Events]:
    with structlog.testing.capture_logs() as captured:
        yield captured  # type: ignore[misc]


async def test_first_answer_is_taken() -> None:
    bench = Bench(ScriptedModel("DONE 42"))
    done = await bench.service().complete("scripted", ask("x"))
    assert (done.completion.text, done.attempt, done.waited) == ("DONE 42", 1, 0.0)
    assert bench.count("answered") == 1
    assert bench.registry.get_sample_value("atom_llm_seconds_count", {"provider": "scripted", "model": "scripted"}) == 1
    assert bench.registry.get_sample_value("atom_llm_ttfb_seconds_count", {"provider": "scripted"}) == 1


@pytest.mark.parametrize(
    "kind", [ModelUnavailableError, ModelRateLimitedError, ModelTimeoutError, TruncatedReplyError, MalformedReplyError]
)
async def test_passing_failure_is_tried_again(kind: type[ModelError], events: Events) -> None:
    bench = Bench(ScriptedModel(error(kind), error(kind), "fine"))
    done = await bench.service().complete("scripted", ask("x"))
    assert (done.completion.text, done.attempt) == ("fine", 3)
    assert bench.waits == [0.25, 0.5]  # half of 0.5 and of 1: full jitter over a growing backoff
    assert done.waited == 0.75
    assert (bench.count(kind.code), bench.count("answered")) == (2, 1)
    assert {event["service"] for event in events if event["event"] == "llm.retrying"} == {"byok"}


@pytest.mark.parametrize("kind", [ModelAuthError, ModelRequestError])
async def test_lasting_failure_is_not_tried_again(kind: type[ModelError]) -> None:
    bench = Bench(ScriptedModel(error(kind), "never asked"))
    with pytest.raises(kind):
        await bench.service().complete("scripted", ask("x"))
    assert (len(bench.model.asked), bench.waits) == (1, [])


async def test_attempts_are_counted_out_and_the_last_failure_is_kept() -> None:
    bench = Bench(ScriptedModel(*[error()] * 9), scripted_limits(attempts=2))
    with pytest.raises(RoutesDownError) as caught:
        await bench.service().complete("scripted", ask("x"))
    assert isinstance(caught.value.last, ModelUnavailableError)
    assert (len(bench.model.asked), len(bench.waits)) == (2, 1)


async def test_retry_after_is_never_undercut() -> None:
    bench = Bench(ScriptedModel(error(ModelRateLimitedError, 7.0), "fine"))
    assert (await bench.service(jitter=0.0).complete("scripted", ask("x"))).attempt == 2
    assert 7.0 <= sum(bench.waits) <= 8.0


async def test_wait_too_long_for_a_worker_ends_the_call_and_says_when_to_come_back() -> None:
    bench = Bench(ScriptedModel(error(ModelRateLimitedError, 90.0), "too early"))
    with pytest.raises(RoutesDownError) as caught:
        await bench.service().complete("scripted", ask("x"))
    assert (len(bench.model.asked), bench.waits) == (1, [])
    assert 90.0 <= caught.value.resume_after <= 92.0


async def test_waits_of_one_call_are_bounded_in_all() -> None:
    bench = Bench(ScriptedModel(*[error(ModelRateLimitedError, 4.0)] * 9), scripted_limits(attempts=10))
    with pytest.raises(RoutesDownError):
        await bench.service(jitter=0.0).complete("scripted", ask("x"))
    assert len(bench.waits) == 2
    assert sum(bench.waits) <= MOST_WAITING


async def test_breaker_keeps_later_calls_from_a_route_that_failed() -> None:
    bench = Bench(ScriptedModel(*[error()] * 3, "back"))
    service = bench.service()
    with pytest.raises(RoutesDownError):
        await service.complete("scripted", ask("x"))
    bench.waits.clear()
    assert (await service.complete("scripted", ask("x"))).completion.text == "back"
    assert sum(bench.waits) >= 1.0
    assert len(bench.model.asked) == 4


@pytest.mark.parametrize("round_", range(1, 20))
@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_backoff_grows_to_its_bound(round_: int, jitter: float) -> None:
    assert backoff(round_, jitter) == jitter * min(8.0, 0.5 * 2 ** (round_ - 1))


async def test_deltas_carry_attempt_and_offset_and_start_again() -> None:
    broken = Reply(chunks=("half ", "an "), error=error(TruncatedReplyError))
    bench = Bench(ScriptedModel(broken, ["a whole ", "", "answer"]))
    seen: list[tuple[int, int, str]] = []
    await bench.service().complete("scripted", ask("x"), lambda *delta: seen.append(delta))
    assert seen == [(1, 0, "half "), (1, 5, "an "), (2, 0, "a whole "), (2, 8, "answer")]


async def test_slow_listener_is_awaited() -> None:
    seen: list[str] = []

    async def listen(_attempt: int, _offset: int, text: str) -> None:
        await asyncio.sleep(0)
        seen.append(text)

    await Bench(ScriptedModel("a b")).service().complete("scripted", ask("x"), listen)
    assert "".join(seen) == "a b"


@pytest.mark.parametrize(
    ("reply", "limits", "said"),
    [
        (Reply("a", delay=5), {"first_byte_timeout": 0.05}, "did not begin"),
        (Reply(chunks=("a", "b"), chunk_delay=5), {"idle_timeout": 0.05}, "stopped in its answer"),
        (Reply(chunks=("a",) * 100, chunk_delay=0.03), {"timeout": 0.1}, "did not finish"),
    ],
)
async def test_three_deadlines(reply: Reply, limits: dict[str, float], said: str, events: Events) -> None:
    bench = Bench(ScriptedModel(reply), scripted_limits(attempts=1, **limits))
    with pytest.raises(RoutesDownError, match=said) as caught:
        await bench.service().complete("scripted", ask("x"))
    assert isinstance(caught.value.last, ModelTimeoutError)
    assert bench.model.closed == 1
    (line,) = [event for event in events if event["event"] == "llm timeout"]
    assert (line["service"], line["provider"], line["model"]) == ("agent_execution", "scripted", "scripted")
    assert "seconds" in line


async def test_bound_is_for_each_attempt() -> None:
    first = Reply(chunks=("a",) * 100, chunk_delay=0.03)
    bench = Bench(ScriptedModel(first, "in time"), scripted_limits(timeout=0.3))
    done = await bench.service().complete("scripted", ask("x"))
    assert (done.completion.text, done.attempt) == ("in time", 2)


async def test_slow_answer_is_logged(events: Events) -> None:
    bench = Bench(ScriptedModel("late"), scripted_limits(slow_seconds=1))

    def late(*_: object) -> None:
        bench.clock.advance(16)

    done = await bench.service().complete("scripted", ask("x"), late)
    assert done.seconds == 16
    (line,) = [event for event in events if event["event"] == "llm slow response"]
    assert (line["service"], line["provider"], line["seconds"]) == ("agent_execution", "scripted", 16)


async def test_times_are_of_the_answering_attempt() -> None:
    bench = Bench(ScriptedModel(error(), ["a", "b"], call("f")))

    def tick(*_: object) -> None:
        bench.clock.advance(1)

    service = bench.service()
    done = await service.complete("scripted", ask("x"), tick)
    assert (done.seconds, done.first_byte_seconds, done.first_token_seconds, done.waited) == (2, 0, 0, 0.25)
    assert (await service.complete("scripted", ask("x"))).first_token_seconds is None


async def test_refused_key_is_logged_by_byok(events: Events) -> None:
    with pytest.raises(ModelAuthError):
        await Bench(ScriptedModel(error(ModelAuthError))).service().complete("scripted", ask("x"))
    (line,) = [event for event in events if event["event"] == "llm.key_refused"]
    assert (line["service"], line["log_level"], line["error_code"]) == ("byok", "error", "llm_key_refused")


@pytest.mark.parametrize("reply", [["x" * 1_000_000] * 3, call("f", a="x" * 2_100_000)], ids=["text", "arguments"])
async def test_reply_past_the_bound_is_refused(reply: Any) -> None:
    bench = Bench(ScriptedModel(reply), scripted_limits(attempts=1))
    with pytest.raises(RoutesDownError, match="2000000 characters") as caught:
        await bench.service().complete("scripted", ask("x"))
    assert isinstance(caught.value.last, MalformedReplyError)
    assert bench.model.closed == 1


async def test_cancelled_call_is_counted_and_closed() -> None:
    bench = Bench(ScriptedModel(Reply("a", delay=5)))
    task = asyncio.create_task(bench.service().complete("scripted", ask("x")))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (bench.model.closed, bench.count("aborted")) == (1, 1)


async def test_failing_listener_is_not_taken_for_a_model_failure() -> None:
    bench = Bench(ScriptedModel("a", "b"))

    def broken(*_: object) -> None:
        raise TimeoutError("the feed")

    with pytest.raises(TimeoutError, match="the feed"):
        await bench.service().complete("scripted", ask("x"), broken)
    assert (len(bench.model.asked), bench.model.closed) == (1, 1)


async def test_unknown_provider_names_the_known_ones() -> None:
    settings = scripted_limits(openai_api_key="key")
    with pytest.raises(ModelNotConfiguredError, match="scripted"):
        await Bench(ScriptedModel(), settings).service().complete("openai", ask("x"))


async def test_provider_is_loaded_once() -> None:
    bench = Bench(ScriptedModel("a", "b", "c"))
    loads = []

    async def load(_: Access) -> ChatModel:
        loads.append(1)
        await asyncio.sleep(0.01)
        return bench.model

    service = LlmService(
        bench.settings,
        {Provider.SCRIPTED: load},
        LlmMetrics(CollectorRegistry()),
        bench.clock,
        EnvironmentOnly(bench.settings),
    )
    await asyncio.gather(*(service.complete("scripted", ask("x")) for _ in range(3)))
    assert loads == [1]
    await service.aclose()


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.ANTHROPIC, Provider.GEMINI])
async def test_storm_on_the_wire_is_ridden_out(
    provider: Provider,
    mock: LLMockServer,
    llm_settings: Callable[..., LlmSettings],
    no_leak: Callable[[ModelError], None],
) -> None:
    settings = llm_settings(mock.url, attempts=5, idle_timeout=0.2, failover=False)
    mock.state.scenarios.add(
        Fail(429, retry_after=0.2),
        Fail(500),
        WireReply(text="one two three four"),
        StreamFault("stall", after_chunks=3, stall_seconds=1.0),
        WireReply(text="one two three four"),
        StreamFault("truncate", after_chunks=3),
        WireReply(text="The end."),
    )
    service = LlmService(
        settings,
        adapter_factories(settings),
        LlmMetrics(CollectorRegistry()),
        SystemClock(),
        EnvironmentOnly(settings),
        jitter=lambda: 0.0,
    )
    done = await service.complete(f"{provider}/m-1", ask("x"))
    assert (done.completion.text, done.attempt) == ("The end.", 5)
    mock.state.scenarios.add(Fail(401))
    with pytest.raises(ModelAuthError) as caught:
        await service.complete(f"{provider}/m-1", ask("x"))
    no_leak(caught.value)
    first, second = mock.state.journal.records(wait=2)[:2]
    assert second.started_at - first.ended_at >= 0.2
    await service.aclose()


def test_no_sdk_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, json, atom.llm.service, atom.llm.choice, atom.llm.testing;"
        "lazy = ('openai', 'anthropic', 'google.genai', 'redis', 'xllamacpp', 'httpx2');"
        "print(json.dumps([m for m in lazy if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60)
    assert json.loads(done.stdout) == []
