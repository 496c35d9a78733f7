"""The kill switch over two workers: nothing begins after a second, and nothing is lost.

`PARALLEL_RUNS=100` is the full volume, which `make campaign` takes.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import URL, text

from atom.governance.halt import CHANNEL
from atom.infra.db import unit_of_work
from atom.llm.ports import ChatRequest, Completion, FinishReason, TextDelta, ToolCall, Usage
from atom.llm.testing import call
from atom.settings import DatabaseSettings, LlmSettings, Provider, RunSettings
from atom.tools.ports import ToolContext, ToolOutput
from atom.web.server import ServerRole
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.polling import eventually

RUNS = int(os.environ.get("PARALLEL_RUNS", "30"))
REPLY_SECONDS = (0.5, 2.5)  # in turn: when half of the runs are in an effect, the others still wait for a reply
EFFECT_SECONDS = 3.0  # longer than a second: what follows an effect that was under way comes late if it comes
LISTENERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'atom-listen' AND datname = current_database()
"""
CLAIMS = "SELECT sum(lease_epoch), count(*) FILTER (WHERE lease_owner IS NOT NULL) FROM agent_execution"


@dataclass(eq=False, slots=True)
class World:
    """What happens outside of Atom, with the time of each beginning. While `busy`, the model always wants a tool."""

    busy: bool = True
    asked: list[float] = field(default_factory=list)
    effects: list[float] = field(default_factory=list)
    provider: str = Provider.SCRIPTED

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        self.asked.append(time.monotonic())
        if self.busy:
            await asyncio.sleep(REPLY_SECONDS[len(self.asked) % 2])
        calls: tuple[ToolCall, ...] = (call("current_time"),) if self.busy else ()
        finish = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
        yield TextDelta("Well.")
        yield Completion("Well.", calls, finish, Usage(10, 10, 0), self.provider, request.model)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def effect(self, _: Mapping[str, Any], __: ToolContext) -> ToolOutput:
        self.effects.append(time.monotonic())
        await asyncio.sleep(EFFECT_SECONDS)
        return ToolOutput("now")


@asynccontextmanager
async def process(database: URL, home: Path, world: World, **more: Any) -> AsyncIterator[RunningAtom]:
    """One worker process of the deployment, with half of the runs."""
    home.mkdir(exist_ok=True)
    settings = settings_for_tests(
        home,
        runs=RunSettings(
            lease_seconds=60, sweep_seconds=0.3, max_concurrent=50, max_running_per_agent=100, max_turns=500
        ),
        llm=LlmSettings(provider=Provider.SCRIPTED, scripted_path=home / "unused.json"),
        database=DatabaseSettings(pool_size=12, max_overflow=2, pool_timeout=10),
    )
    async with running_atom(settings, database, world, **more) as atom:
        tools = atom.atom.worker.registry._tools
        tools["current_time"] = replace(tools["current_time"], run=world.effect)
        yield atom


async def one(atom: RunningAtom, sql: str) -> tuple[Any, ...]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        return tuple((await session.execute(text(sql))).one())


async def halted(*atoms: RunningAtom, how: str) -> float:
    """The moment at which PUT /api/halt has answered. `cut`: the connections that listen are gone, and come back after
    a second. `deaf`: no process ever hears of it."""
    if how == "cut":
        async with unit_of_work(atoms[0].atom.parts.base.sessions) as session:
            assert (await session.execute(text(LISTENERS))).all()
    if how == "deaf":
        for atom in atoms:
            cast(dict[str, Any], atom.atom.listener.handlers)[CHANNEL] = lambda _: None
    answer = await atoms[0].http.put("/api/halt", json={"reason": "drill"})
    assert answer.status_code == 200
    return time.monotonic()


@pytest.mark.parametrize(("count", "how"), [(6, "told"), (6, "cut"), (RUNS, "deaf")])
async def test_nothing_begins_a_second_after_the_switch_and_no_run_is_lost(
    database: URL, home: Path, count: int, how: str, record_property: Any
) -> None:
    world = World()
    worker = frozenset({ServerRole.WORKER})
    async with (
        process(database, home, world) as atom,
        process(database, home / "two", world, roles=worker, token=atom.token) as other,
    ):
        await atom.agent(tools=["current_time"])
        runs = await asyncio.gather(*(atom.start("worker", f"task {number}") for number in range(count)))
        at_work = "SELECT count(DISTINCT lease_owner || id) FROM agent_execution WHERE lease_owner IS NOT NULL"
        await eventually(lambda: _says(atom, at_work, count), 30, "all are at work")
        await eventually(lambda: len(world.effects) >= count // 4, 30, "effects")
        at = await halted(atom, other, how=how)
        await asyncio.sleep(at + 1.0 - time.monotonic())  # the promise is a time, so a time is waited for
        then = await one(atom, CLAIMS)
        await asyncio.sleep(0.5)  # more than one sweep
        assert (await one(atom, CLAIMS))[0] == then[0]  # no claim
        await eventually(lambda: _says(atom, at_work, 0), 10, "every run was let go of")
        late = [moment - at for moment in world.asked + world.effects]
        record_property("latest_model_call", max(moment - at for moment in world.asked))
        record_property("latest_effect", max(moment - at for moment in world.effects))
        assert max(late) < 1.0
        assert await one(atom, "SELECT count(*), sum(crashes) FROM agent_execution WHERE status = 'running'") == (
            count,
            0,
        )
        world.busy = False
        assert (await atom.http.delete("/api/halt")).json()["halted"] is False
        for run in runs:
            assert (await atom.settled(run["id"], "completed", "failed"))["status"] == "completed"
        lost = "SELECT count(*) FROM llm_call WHERE outcome NOT IN ('ok', 'aborted')"
        assert await one(atom, lost) == (0,)
        twice = "SELECT count(*) FROM (SELECT 1 FROM execution_step GROUP BY execution_id, key HAVING count(*) > 1) x"
        assert await one(atom, twice) == (0,)


async def _says(atom: RunningAtom, sql: str, count: int) -> bool:
    return await one(atom, sql) == (count,)


async def test_a_halt_has_a_reason_a_record_and_is_seen(database: URL, home: Path) -> None:
    """Twice is once, in both directions; who may not administrate may not halt; readiness stays 200."""
    world = World(busy=False)
    async with process(database, home, world) as atom:
        await atom.agent()
        assert (await atom.http.get("/api/halt")).json() == {
            "halted": False, "reason": None, "halted_by": None, "halted_at": None,
        }  # fmt: skip
        for body in ({}, {"reason": " "}, {"reason": "x" * 501}, {"reason": None}, {"reason": 5}):
            answer = await atom.http.put("/api/halt", json=body)
            assert (answer.status_code, "reason" in answer.text) == (422, True), body
        first = (await atom.http.put("/api/halt", json={"reason": "drill"})).json()
        again = (await atom.http.put("/api/halt", json={"reason": "another"})).json()
        assert first == again == (await atom.http.get("/api/halt")).json()
        assert (first["halted"], first["reason"], first["halted_by"]) == (True, "drill", "admin:admin")
        ready = await atom.http.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["workers"]) == (200, "degraded")
        run = await atom.start("worker", "wait")
        await asyncio.sleep(0.5)  # several sweeps, and every chance to be claimed
        found = await atom.run(run["id"])
        assert (found["status"], found["halted"], world.asked) == ("queued", True, [])
        assert (await atom.http.get("/api/runs")).json()["halted"] is True
        for _ in range(2):
            assert (await atom.http.delete("/api/halt")).json()["halted"] is False
        assert (await atom.settled(run["id"], "completed"))["answer"] == "Well."
        assert (await atom.http.get("/api/runs")).json()["halted"] is False
        audited = "SELECT array_agg(decision || ':' || reason ORDER BY id) FROM audit_entry WHERE action = 'halt'"
        assert await one(atom, audited) == (["halted:drill", "lifted:lifted"],)
        told = "SELECT array_agg(type ORDER BY id) FROM event WHERE type LIKE 'halt.%'"
        assert await one(atom, told) == (["halt.set", "halt.lifted"],)


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_only_an_admin_halts(database: URL, home: Path, role: str) -> None:
    async with process(database, home, World()) as atom:
        made = (await atom.http.post("/api/tokens", json={"name": "other", "role": role})).json()
        headers = {"Authorization": f"Bearer {made['token']}"}
        for answer in (
            await atom.http.put("/api/halt", json={"reason": "x"}, headers=headers),
            await atom.http.delete("/api/halt", headers=headers),
        ):
            assert answer.status_code == 403
        assert (await atom.http.get("/api/halt")).json()["halted"] is False


async def test_a_reply_that_was_under_way_is_kept_or_paid_for_and_no_effect_follows_it(
    database: URL, home: Path
) -> None:
    """A model call in progress is broken off: it is in the ledger, and the run asks again after the lift."""
    world = World()
    async with process(database, home, world) as atom:
        await atom.agent(tools=["current_time"])
        run = await atom.start("worker", "go")
        await eventually(lambda: world.asked, what="a call")
        await halted(atom, how="told")
        await eventually(lambda: _says(atom, "SELECT count(*) FROM llm_call WHERE outcome = 'aborted'", 1), 5)
        assert world.effects == []
        events = "SELECT count(*) FROM event WHERE type = 'run.halted'"
        assert await one(atom, events) == (1,)
        world.busy = False
        await atom.http.delete("/api/halt")
        assert (await atom.settled(run["id"], "completed"))["answer"] == "Well."
        assert await one(atom, "SELECT array_agg(outcome ORDER BY id) FROM llm_call") == (["aborted", "ok"],)
