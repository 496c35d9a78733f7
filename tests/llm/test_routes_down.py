"""No provider answers: the run waits in sight, goes on by itself, and not for ever."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from llmock.ratelimit import LimitSettings
from llmock.scenarios import Fail, Match, Reply, StreamFault
from llmock.testing import LLMockServer
from sqlalchemy import URL

from atom.client.models import Delta
from atom.llm.testing import CannedProvider, http
from atom.settings import LlmSettings, Provider
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.fault_catalogue import WIRES, wire_answer, wire_text
from tests.support.fault_runs import Screen
from tests.support.sse import seen, watching

TEXT = "It is back and says so."
Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]


@pytest.fixture
def start(database: URL, home: Path, mock: LLMockServer, llm_settings: Callable[..., LlmSettings]) -> Start:
    @asynccontextmanager
    async def run(**changes: Any) -> AsyncIterator[RunningAtom]:
        llm = llm_settings(mock.url, attempts=1, **changes)
        async with running_atom(settings_for_tests(home, llm=llm), database) as atom:
            await atom.agent()
            yield atom

    return run


async def calls(atom: RunningAtom, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await atom.http.get(f"/api/runs/{run_id}/calls")).json()["items"]
    return found


def asked(mock: LLMockServer) -> Counter[str]:
    return Counter(record.provider for record in mock.state.journal.records(wait=5))


async def test_run_waits_in_sight_and_goes_on_by_itself(start: Start, mock: LLMockServer) -> None:
    mock.state.scenarios.add(Fail(503, times=None, message="All our hands are full."))
    async with start() as atom:
        run = await atom.done("worker", "hello")
        assert (run["status"], run["wait_reason"]) == ("waiting", "provider")
        assert "All our hands are full." in run["wait_detail"]
        assert datetime.fromisoformat(run["resume_at"]) > datetime(2000, 1, 1, tzinfo=UTC)
        assert set(asked(mock)) == {Provider.OPENAI, Provider.ANTHROPIC, Provider.GEMINI}
        mock.state.scenarios.clear()
        mock.state.scenarios.add(Reply(text=TEXT, times=None))
        run = await atom.settled(run["id"], "completed", "failed")
        assert (run["status"], run["answer"], run["wait_reason"]) == ("completed", TEXT, None)
        rows = await calls(atom, run["id"])
        assert Counter(row["provider"] for row in rows) == asked(mock)
        assert [row["outcome"] for row in rows[-2:]] == ["llm_unavailable", "ok"]
        events = await seen(atom.http, run["id"])
        waits = [event.data["data"] for event in events if event.type == "run.waiting"]
        assert {(wait["wait_reason"], wait["code"]) for wait in waits} == {("provider", "llm_routes_down")}


async def test_a_run_that_waited_too_long_fails_with_the_providers_own_error(start: Start, mock: LLMockServer) -> None:
    mock.state.scenarios.add(Fail(529, times=None, message="All our hands are full."))
    async with start(provider_wait_seconds=1.0) as atom:
        run = await atom.start("worker", "hello")
        run = await atom.settled(run["id"], "completed", "failed")
        assert (run["status"], run["error"]["code"]) == ("failed", "llm_unavailable")
        assert "All our hands are full." in run["error"]["message"]
        rows = await calls(atom, run["id"])
        assert Counter(row["provider"] for row in rows) == asked(mock)
        assert len(rows) >= 6  # it was tried again before it was given up
        kinds = [event.type for event in await seen(atom.http, run["id"])]
        assert "run.waiting" in kinds
        assert kinds[-1] == "run.failed"


async def test_no_wait_at_all_where_the_bound_is_zero(start: Start, mock: LLMockServer) -> None:
    mock.state.scenarios.add(Fail(503, times=None))
    async with start(provider_wait_seconds=0) as atom:
        run = await atom.done("worker", "hello")
        assert (run["status"], run["error"]["code"]) == ("failed", "llm_unavailable")
        assert sum(asked(mock).values()) == 3


async def test_half_text_before_the_wait_is_replaced_behind_it(start: Start, mock: LLMockServer) -> None:
    cut = StreamFault("stall", after_chunks=3, stall_seconds=30.0)
    mock.state.scenarios.add(Reply(text="the half of an answer that is"), cut, Reply(text=TEXT, times=None))
    screen = Screen()
    async with start(failover=False, provider=Provider.OPENAI, idle_timeout=1.0) as atom:
        run = await atom.start("worker", "hello")
        async with watching(atom.http, run["id"]) as items:
            async for item in items:
                if item.type == "delta":
                    screen.show(screen.transcript.delta(Delta.model_validate(item.data)))
                elif item.type == "model.replied":
                    screen.show(screen.transcript.reply(item.data["data"]["step"], item.data["data"]["text"]))
        run = await atom.run(run["id"])
    assert (run["status"], run["answer"]) == ("completed", TEXT)
    assert screen.void == ["the half "]
    assert screen.text == TEXT


async def test_retry_after_is_kept_by_every_run_of_the_process(start: Start, mock: LLMockServer) -> None:
    """The next run does not ask a provider that has said when it wants to be asked again."""
    mock.state.scenarios.add(Fail(429, retry_after=30.0, times=None, match=Match(provider="openai")))
    mock.state.scenarios.add(Reply(text=TEXT, times=None))
    async with start() as atom:
        for _ in range(3):
            run = await atom.done("worker", "hello", model="openai/m-1")
            assert (run["answer"], run["provider"]) == (TEXT, Provider.ANTHROPIC)
    assert asked(mock) == {"openai": 2, "anthropic": 3}  # the named model once, openai's usual one once


@pytest.mark.parametrize("streaming", [True, False])
async def test_quota_and_context_window_of_a_provider(streaming: bool, start: Start, mock: LLMockServer) -> None:
    mock.state.limiter.configure(LimitSettings(rpm=1, context_window=2_000))
    async with start(streaming=streaming, failover=False, provider_wait_seconds=0) as atom:
        for wire in (Provider.OPENAI, Provider.ANTHROPIC, Provider.GEMINI):
            ends = []
            for task, model in (("hello", "one"), ("hello", "two"), ("word " * 2_500, "three")):
                run = await atom.done("worker", task, model=f"{wire}/{model}")
                ends.append(run["error"]["code"] if run["error"] else run["status"])
            assert ends == ["completed", "llm_rate_limited", "llm_request_refused"]
    records = mock.state.journal.records(wait=5)
    assert {record.stream for record in records} == {streaming}
    assert len(records) == 9


@pytest.mark.parametrize("wire", WIRES)
async def test_odd_names_and_numbers_of_a_provider_do_not_end_a_run(wire: Provider, start: Start) -> None:
    """NUL and lone surrogates fit no column, and nobody used minus a million tokens."""
    odd = "\x00\ud800" + "m" * 5_000
    numbers = {
        "prompt_tokens": -1_000_000,
        "input_tokens": -1_000_000,
        "completion_tokens": 10**30,
        "output_tokens": 10**30,
    }
    gemini = {"promptTokenCount": -1_000_000, "candidatesTokenCount": 10**30}
    names = {"id": odd, "model": odd, "modelVersion": odd, "responseId": odd, "usage": numbers, "usageMetadata": gemini}
    called = json.dumps(wire_answer(wire, TEXT + odd, finish=True)).replace("write_file", "no\\u0000\\ud800such")
    bodies = [json.loads(called) | names, wire_text(wire, TEXT) | names]
    async with CannedProvider([[http(200, body)] for body in bodies]) as canned:
        url = canned.url + ("/v1" if wire is Provider.OPENAI else "")
        place = {f"{wire}_base_url": url}
        async with start(streaming=False, failover=False, provider_wait_seconds=0, **place) as atom:
            run = await atom.done("worker", "hello", model=f"{wire}/m-1")
            assert (run["status"], run["answer"], run["error"]) == ("completed", TEXT, None)
            rows = await calls(atom, run["id"])
    assert [(row["outcome"], row["input_tokens"], row["output_tokens"]) for row in rows] == [("ok", None, None)] * 2
