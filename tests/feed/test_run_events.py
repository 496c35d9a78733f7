"""A run's events over server-sent events: from the first to the last, once each, whatever happens in between."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import URL

from atom.llm.testing import ScriptedModel, call
from atom.settings import DatabaseSettings, RunSettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.gated import Gate, GatedModel
from tests.support.planted import with_keys
from tests.support.sse import SECONDS, Sent, seen, watching

WHOLE = [
    "run.queued",
    "run.started",
    "model.replied",
    "tool.requested",
    "tool.finished",
    "model.replied",
    "run.completed",
]


async def ended(atom: RunningAtom) -> dict[str, Any]:
    await atom.agent(tools=["current_time"])
    return await atom.done("worker", "What time is it?")


async def test_a_run_that_has_ended_is_told_from_any_point_without_gap_or_repetition(database: URL, home: Path) -> None:
    model = ScriptedModel(call("current_time"), "It is late.")
    async with running_atom(with_keys(settings_for_tests(home)), database, model) as atom:
        run = await ended(atom)
        whole = await seen(atom.http, run["id"])
        assert [item.type for item in whole] == WHOLE
        numbers = [item.id or 0 for item in whole]
        assert numbers == sorted(set(numbers))
        for item in whole:
            assert item.data["seq"] == item.id
            assert (item.data["type"], item.data["run_id"], item.data["agent_id"]) == (
                item.type,
                run["id"],
                run["agent_id"],
            )
            assert set(item.data) == {"seq", "id", "type", "at", "actor", "agent_id", "run_id", "data", "v"}
        for position, number in enumerate(numbers):
            assert await seen(atom.http, run["id"], number) == whole[position + 1 :]
            assert await seen(atom.http, run["id"], 0, **{"Last-Event-ID": str(number)}) == whole[position + 1 :]
        for beyond in (numbers[-1] + 1, 10**12, 2**63 - 1):
            assert await seen(atom.http, run["id"], beyond) == []
        for odd in ("9" * 40, "x", "", "-1"):
            again = await seen(atom.http, run["id"], numbers[-2], **{"Last-Event-ID": odd})
            assert again == ([] if odd.startswith("9") else whole[-1:])
        assert whole[-1].data["data"] == {"answer": "It is late.", "sources": []}


async def test_deltas_arrive_while_the_model_produces_and_events_in_their_order(database: URL, home: Path) -> None:
    gate = Gate()
    async with running_atom(
        with_keys(settings_for_tests(home)), database, GatedModel(["It ", gate, "is late."])
    ) as atom:
        await atom.agent()
        run = await atom.start("worker", "What time is it?")
        items: list[Sent] = []
        async with asyncio.timeout(SECONDS), watching(atom.http, run["id"]) as stream:
            async for item in stream:
                items.append(item)
                if item.type == "delta" and not gate.open.is_set():
                    assert await atom.steps(run["id"]) == [], "the reply is not in the journal yet"
                    assert (await atom.run(run["id"]))["status"] == "running"
                    gate.open.set()
        deltas = [item.data for item in items if item.type == "delta"]
        assert [(d["step"], d["attempt"], d["offset"], d["text"]) for d in deltas] == [
            ("turn-0", 1, 0, "It "),
            ("turn-0", 1, 3, "is late."),
        ]
        assert {d["run_id"] for d in deltas} == {run["id"]}
        assert all(item.id is None for item in items if item.type == "delta")
        assert [item.type for item in items if item.id] == [
            "run.queued",
            "run.started",
            "model.replied",
            "run.completed",
        ]


async def test_a_viewer_who_comes_back_again_and_again_misses_nothing(database: URL, home: Path) -> None:
    turns = [call("current_time") for _ in range(8)]
    async with running_atom(with_keys(settings_for_tests(home)), database, ScriptedModel(*turns, "Done.")) as atom:
        await atom.agent(tools=["current_time"])
        run = await atom.start("worker", "Look eight times.")
        taken: list[Sent] = []
        async with asyncio.timeout(SECONDS):
            while not taken or taken[-1].type != "run.completed":
                async with watching(atom.http, run["id"], taken[-1].id or 0 if taken else 0) as stream:
                    async for item in stream:
                        if item.id:
                            taken.append(item)
                            break  # hang up after every event
        assert taken == await seen(atom.http, run["id"])
        assert len(taken) == 3 + 8 * 3 + 1


async def test_many_viewers_see_the_same_and_hold_no_connection_of_the_pool(database: URL, home: Path) -> None:
    gate = Gate()
    patient = settings_for_tests(  # what is tested is the fan-out, not how fast a busy machine lets 200 in
        home,
        database=DatabaseSettings(pool_size=8, max_overflow=2, pool_timeout=30),
        runs=RunSettings(lease_seconds=60, sweep_seconds=1),
    )
    async with running_atom(patient, database, GatedModel(["One ", gate, "two."])) as atom:
        await atom.agent()
        run = await atom.start("worker", "Count.")
        limits = httpx2.Limits(max_connections=250)
        async with httpx2.AsyncClient(
            base_url=atom.url, headers=atom.http.headers, limits=limits, timeout=SECONDS, trust_env=False
        ) as http:
            turn = asyncio.Semaphore(8)  # fewer than the pool has connections: a stampede is answered with 503

            async def look() -> list[Sent]:
                async with AsyncExitStack() as stack:
                    async with turn:
                        items = await stack.enter_async_context(watching(http, run["id"]))
                        first = await anext(items)
                    return [first, *[item async for item in items]]

            viewers = [asyncio.create_task(look()) for _ in range(200)]
            async with asyncio.timeout(SECONDS):
                await gate.reached.wait()
                while atom.atom.parts.hub.subscribers < 200:
                    await asyncio.sleep(0.01)
                pool: Any = atom.atom.parts.base.engine.pool
                while pool.checkedout():  # the sweep and the sequencer take one for moments
                    await asyncio.sleep(0.005)
            gate.open.set()
            told = await asyncio.gather(*viewers)
        events = [[item for item in items if item.id] for items in told]
        assert all(items == events[0] for items in events)
        assert [item.type for item in events[0]] == ["run.queued", "run.started", "model.replied", "run.completed"]
        async with asyncio.timeout(5):
            while atom.atom.parts.hub.subscribers:
                await asyncio.sleep(0.01)


async def test_a_run_that_waits_is_watched_on(database: URL, home: Path) -> None:
    async with running_atom(
        settings_for_tests(home), database, ScriptedModel(call("write_file", path="a", content="b"))
    ) as atom:
        await atom.agent(tools=["write_file"], maturity="intern")
        run = await atom.done("worker", "Write.")
        assert run["status"] == "waiting"
        async with asyncio.timeout(SECONDS), watching(atom.http, run["id"]) as stream:
            types = []
            async for item in stream:
                types.append(item.type)
                if item.type == "run.waiting":
                    await atom.http.post(f"/api/runs/{run['id']}/cancel")
        assert types[-1] == "run.cancelled"


async def test_a_stream_ends_in_peace_when_the_process_drains(database: URL, home: Path) -> None:
    """The viewer comes back to another process with the number of the last event it has."""
    gate = Gate()
    async with running_atom(with_keys(settings_for_tests(home)), database, GatedModel(["One ", gate])) as atom:
        await atom.agent()
        run = await atom.start("worker", "Count.")
        seen: list[str] = []
        async with asyncio.timeout(5), watching(atom.http, run["id"]) as stream:
            async for item in stream:
                seen.append(item.type)
                if item.type == "delta":
                    atom.server.leave()
        gate.open.set()
        assert "delta" in seen
        assert "run.completed" not in seen


async def test_the_events_of_no_run_are_not_found(database: URL, home: Path) -> None:
    async with running_atom(with_keys(settings_for_tests(home)), database) as atom:
        answer = await atom.http.get("/api/runs/01a20a0d-8e88-7117-9c08-46edfd98777f/events")
        assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
