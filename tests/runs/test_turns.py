"""Whose turn it is: bounds that hold, agents that share, priorities that count and nothing that starves."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.llm.adapters.script import Reply
from atom.runs import store
from atom.runs.models import Priority
from atom.runs.turns import AGING_SECONDS, Bounds, Head, Waiting, choose, effective, rooms
from atom.settings import RunSettings
from atom.web.testing import RunningAtom
from tests.support.databases import rows
from tests.support.polling import eventually

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]
WIDE = Bounds(total=100, per_agent=100)


def head(**values: Any) -> Head:
    plain = {"priority": 0, "waited": 0.0, "running": 0, "limit": None, "served": 0.0}
    return Head(**({"run_id": new_id(), "agent_id": new_id()} | plain | values))


heads = st.builds(
    head,
    priority=st.integers(-1, 1),
    waited=st.floats(-5, 5000),
    running=st.integers(0, 5),
    limit=st.none() | st.integers(1, 5),
    served=st.floats(0, 1e9),
)


@given(st.lists(heads, max_size=8), st.integers(0, 12), st.integers(1, 6), st.integers(1, 12))
def test_no_bound_is_exceeded_and_room_is_used(found: list[Head], running: int, per_agent: int, total: int) -> None:
    bounds = Bounds(total, per_agent)
    fits = {h.run_id for h in found if running < total and h.running < (per_agent if h.limit is None else h.limit)}
    chosen = choose(Waiting([], found, running), bounds)
    assert (chosen is not None) == bool(fits)
    assert chosen is None or chosen in fits
    room = rooms(Waiting([], found, running), bounds)
    assert {h.agent_id for h in found if h.run_id in fits} == set(room)
    assert all(0 < count <= total - running for count in room.values())


@given(st.lists(heads, max_size=5), st.lists(st.uuids(), min_size=1, max_size=3))
def test_what_a_dead_worker_left_comes_first_even_where_everything_is_full(found: list[Head], lost: list[UUID]) -> None:
    assert choose(Waiting(lost, found, 100), Bounds(1, 1)) == lost[0]


def test_order_is_priority_then_least_at_work_then_longest_without_a_turn() -> None:
    urgent = head(priority=1, running=5, served=9.0)
    idle = head(running=0, served=8.0)
    rested = head(running=1, served=1.0)
    tired = head(running=1, served=7.0)
    later = head(priority=-1)
    order = []
    left = [later, tired, rested, idle, urgent]
    while left:
        chosen = choose(Waiting([], left, 0), WIDE)
        order.append(next(h for h in left if h.run_id == chosen))
        left = [h for h in left if h.run_id != chosen]
    assert order == [urgent, idle, rested, tired, later]


def test_waiting_raises_a_priority_up_to_the_highest() -> None:
    assert effective(Priority.LOW.rank, 0) == Priority.LOW.rank
    assert effective(Priority.LOW.rank, AGING_SECONDS) == Priority.NORMAL.rank
    assert effective(Priority.LOW.rank, 1e6) == Priority.HIGH.rank
    assert effective(Priority.HIGH.rank, 1e6) == Priority.HIGH.rank


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5))
def test_each_agent_with_work_has_a_turn_before_another_has_its_second(queued: list[int]) -> None:
    """However many runs one agent has queued: turns go round while all have work."""
    agents = {new_id(): count for count in queued}
    served = dict.fromkeys(agents, 0.0)
    turns: list[UUID] = []
    for now in range(1, sum(queued) + 1):
        waiting = [head(agent_id=a, run_id=a, served=served[a]) for a, left in agents.items() if left]
        chosen = choose(Waiting([], waiting, 0), WIDE)
        assert chosen is not None
        agents[chosen] -= 1
        served[chosen] = float(now)
        turns.append(chosen)
    shortest = min(queued)
    for turn in range(shortest):
        round_ = turns[turn * len(queued) : (turn + 1) * len(queued)]
        assert len(set(round_)) == len(queued)


async def queue(atom: RunningAtom, agent: str, count: int, **fields: Any) -> list[str]:
    return [(await atom.start(agent, f"{agent} {number}", **fields))["id"] for number in range(count)]


async def order_of_starts(atom: RunningAtom) -> list[str]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        query = "SELECT task FROM agent_execution WHERE started_at IS NOT NULL ORDER BY started_at"
        return [row[0] for row in (await session.execute(text(query))).all()]


def slow(count: int, seconds: float = 0.05) -> list[Reply]:
    return [Reply("done", delay=seconds)] * count


async def test_agent_with_one_run_does_not_wait_behind_another_agents_twenty(start: Start) -> None:
    async with start(*slow(23), runs=RunSettings(max_concurrent=1, lease_seconds=30)) as atom:
        for name in ("busy", "rare"):
            await atom.agent(name)
        atom.atom.worker.control.drain()
        runs = await queue(atom, "busy", 20) + await queue(atom, "rare", 2)
        atom.atom.worker.control.draining = False
        for run in runs:
            assert (await atom.settled(run))["status"] == "completed"
        order = await order_of_starts(atom)
        assert {one.split()[0] for one in order[:2]} == {"busy", "rare"}
        assert "rare 1" in order[:5]


async def test_urgent_run_comes_before_what_was_queued_earlier(start: Start) -> None:
    async with start(*slow(8), runs=RunSettings(max_concurrent=1, lease_seconds=30)) as atom:
        await atom.agent()
        atom.atom.worker.control.drain()
        runs = await queue(atom, "worker", 3, priority="low")
        runs += await queue(atom, "worker", 3)
        urgent = (await atom.start("worker", "urgent", priority="high"))["id"]
        atom.atom.worker.control.draining = False
        for run in [*runs, urgent]:
            await atom.settled(run)
        order = await order_of_starts(atom)
        assert order[0] == "urgent"
        assert (await atom.run(urgent))["priority"] == "high"
        lows = [task for task in order if (await atom.run(runs[0])) and task.startswith("worker")]
        assert len(lows) == 6


async def most_at_once(atom: RunningAtom, runs: list[str]) -> tuple[int, Counter[str]]:
    """Highest numbers seen at work while the runs go on: in all, and by agent."""
    total, by_agent = 0, Counter[str]()
    while True:
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            query = (
                "SELECT a.name, count(*) FROM agent_execution e JOIN agent a ON a.id = e.agent_id"
                " WHERE e.status = 'running' GROUP BY a.name"
            )
            found = {row[0]: row[1] for row in (await session.execute(text(query))).all()}
            left = (
                await session.execute(text("SELECT count(*) FROM agent_execution WHERE status <> 'completed'"))
            ).scalar_one()
        total = max(total, sum(found.values()))
        by_agent = Counter({name: max(by_agent[name], found.get(name, 0)) for name in {*by_agent, *found}})
        if not left:
            return total, by_agent
        await asyncio.sleep(0.01)


async def test_bounds_of_the_deployment_and_of_each_agent_hold(start: Start) -> None:
    settings = RunSettings(max_concurrent=10, max_running=5, max_running_per_agent=3, sweep_seconds=0.2)
    async with start(*slow(40, 0.1), runs=settings) as atom:
        for name, limit in (("one", 1), ("three", 0), ("free", 0)):
            await atom.agent(name, max_running=limit)
        atom.atom.worker.control.drain()
        runs = [*await queue(atom, "one", 4), *await queue(atom, "three", 10), *await queue(atom, "free", 10)]
        atom.atom.worker.control.draining = False
        async with asyncio.timeout(30):
            total, by_agent = await most_at_once(atom, runs)
        assert total <= 5
        assert by_agent["one"] == 1
        assert by_agent["three"] <= 3
        assert by_agent["free"] <= 3


async def at_work(atom: RunningAtom) -> dict[str, int]:
    query = (
        "SELECT a.name, count(*) FROM agent_execution e JOIN agent a ON a.id = e.agent_id"
        " WHERE e.status = 'running' GROUP BY a.name"
    )
    return dict(await rows(atom.atom.parts.base.sessions, query))


async def becomes(atom: RunningAtom, expected: dict[str, int]) -> bool:
    async def same() -> bool:
        return await at_work(atom) == expected

    return bool(await eventually(same, what=f"{expected} at work"))


async def test_as_many_work_at_once_as_the_bounds_allow(start: Start) -> None:
    settings = RunSettings(max_concurrent=10, max_running=5, max_running_per_agent=3, sweep_seconds=0.2)
    async with start(*slow(12, 60), runs=settings) as atom:
        for name, limit in (("one", 1), ("three", 0)):
            await atom.agent(name, max_running=limit)
        await queue(atom, "three", 4)
        await queue(atom, "one", 3)
        assert await becomes(atom, {"one": 1, "three": 3})
        await atom.agent("more")
        await queue(atom, "more", 3)
        assert await becomes(atom, {"one": 1, "three": 3, "more": 1})


async def test_sweep_rings_for_no_more_than_could_begin(start: Start) -> None:
    settings = RunSettings(max_concurrent=2, max_running_per_agent=1, lease_seconds=30, sweep_seconds=60)
    async with start(Reply("x", delay=20), runs=settings) as atom:
        await atom.agent()
        runs = await queue(atom, "worker", 30)
        await atom.settled(runs[0], "running")
        async with asyncio.timeout(10):
            while True:  # every ring was answered
                async with unit_of_work(atom.atom.parts.base.sessions) as session:
                    left = (
                        await session.execute(text("SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'"))
                    ).scalar_one()
                if not left:
                    break
                await asyncio.sleep(0.05)
        assert await atom.atom.sweep.once() == 0
        for run in runs:
            await atom.http.post(f"/api/runs/{run}/cancel")


async def test_heads_are_found_without_a_look_at_the_rest(start: Start) -> None:
    """One row for each agent and priority, the oldest, whatever else is queued."""
    async with start() as atom:
        atom.atom.worker.control.drain()
        for name in ("a", "b", "c"):
            await atom.agent(name)
        first = {name: (await queue(atom, name, 3))[0] for name in ("a", "b", "c")}
        urgent = (await queue(atom, "b", 2, priority="high"))[0]
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            waiting = await store.waiting(session, orphans=10)
        assert {str(found.run_id) for found in waiting.heads} == {*first.values(), urgent}
        assert waiting.running == 0
