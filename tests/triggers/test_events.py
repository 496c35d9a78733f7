"""Event triggers: every event is heard once, in order, across restarts, and none of its own echoes."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.events.models import Event, EventType
from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.triggers.definition import Listening, check
from atom.triggers.errors import TriggerInvalidError
from atom.triggers.firing import MAX_OPEN
from atom.triggers.jobs import EVENTS_AT_ONCE, MAX_DEPTH
from atom.triggers.models import TriggerKind
from atom.web.server import ServerRole
from tests.support.polling import eventually
from tests.triggers.conftest import Bench, Start


def event(type_: str, data: Mapping[str, Any], agent_id: UUID | None = None) -> Event:
    return Event(1, new_id(), type_, datetime(2026, 1, 1, tzinfo=UTC), "system:test", agent_id, None, dict(data), 1)


@given(
    st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(0, 2), st.text(max_size=2), st.none()), max_size=3)
)
def test_a_filter_needs_every_value(data: dict[str, Any]) -> None:
    agent = new_id()
    listening = Listening(("run.failed",), agent, data)
    assert listening.hears(event("run.failed", {**data, "more": 1}, agent))
    assert not listening.hears(event("run.completed", data, agent))
    assert not listening.hears(event("run.failed", data, new_id()))
    for name, value in data.items():
        if value is not None:
            assert not listening.hears(event("run.failed", {**data, name: "another"}, agent))
    nested = Listening(("run.failed",), None, {"error.code": "x"})
    assert nested.hears(event("run.failed", {"error": {"code": "x"}}))
    assert not nested.hears(event("run.failed", {"error": "x"}))


@pytest.mark.parametrize(
    "definition",
    [
        {}, {"types": []}, {"types": ["trigger.fired"]}, {"types": ["tool.finished"]}, {"types": "run.failed"},
        {"types": ["run.failed"], "agent": "nobody"}, {"types": ["run.failed"], "where": ["x"]},
        {"types": ["run.failed"], "where": {"a": {"b": 1}}}, {"types": ["run.failed"], "cron": "* * * * *"},
        {"types": ["run.failed"], "agent": 7}, {"types": [["run.failed"]]}, {"types": [{}]}, {"types": [None]},
    ],
)  # fmt: skip
def test_what_is_no_event_rule_is_refused(definition: dict[str, Any]) -> None:
    with pytest.raises(TriggerInvalidError):
        check(TriggerKind.EVENT, definition)


async def test_a_failed_run_of_one_agent_is_looked_at_by_another(start: Start) -> None:
    async with start(RuntimeError("down"), "I looked.", "fine") as bench:
        await bench.atom.agent("worker")
        await bench.atom.agent("doctor", maturity="autonomous")
        await bench.add("sick", "doctor", "event", types=["run.failed"], agent="worker")
        failed = await bench.atom.done("worker", "Try.")
        assert failed["status"] == "failed"
        run_id = await eventually(lambda: run_of(bench, "sick"))
        run = await bench.atom.settled(run_id)
        assert (run["agent"], run["answer"]) == ("doctor", "I looked.")
        assert failed["id"] in run["task"]
        assert "untrusted data" in run["task"]
        assert (await bench.atom.done("worker", "Again."))["status"] == "completed"
        await bench.sweep()
        assert len(await bench.firings("sick")) == 1


async def test_an_agent_goes_on_with_the_answer_of_another_and_no_circle_turns(start: Start) -> None:
    """worker -> editor -> worker would go on for ever: the second firing of the same trigger is its own echo."""
    async with start("Draft.", "Edited.", "Rewritten.", "never", "never") as bench:
        for name in ("worker", "editor"):
            await bench.atom.agent(name, maturity="autonomous")
        await bench.add("edit", "editor", "agent", agent="worker")
        await bench.add("rewrite", "worker", "agent", agent="editor")
        await bench.atom.done("worker", "Write.")
        rewritten = await bench.atom.settled(await eventually(lambda: run_of(bench, "rewrite")))
        assert rewritten["answer"] == "Rewritten."
        await heard_all(bench)
        assert [len(await bench.firings(name)) for name in ("edit", "rewrite")] == [1, 1]
        edited = (await bench.firings("edit"))[0]
        assert "Draft." in edited["task"]
        assert await bench.rows("SELECT trigger FROM agent_execution ORDER BY id") == [
            ("manual",),
            ("agent",),
            ("agent",),
        ]


async def test_the_training_that_a_trigger_led_to_does_not_fire_it_again(start: Start) -> None:
    async with start("Draft.", "Trained.", "never") as bench:
        await bench.atom.agent("worker", maturity="autonomous")
        await bench.atom.agent("novice")
        await bench.add("any", "novice", "event", types=["run.completed"])
        await bench.atom.done("worker", "Write.")
        firing = await eventually(lambda: first(bench, "any"))
        opened = await bench.atom.http.post(f"/api/training/{firing['training_id']}/open")
        assert (await bench.atom.settled(opened.json()["run_id"]))["answer"] == "Trained."
        await heard_all(bench)
        assert len(await bench.firings("any")) == 1


async def test_a_long_chain_ends_at_its_bound_visibly(start: Start) -> None:
    count = MAX_DEPTH + 3
    async with start(*[f"answer {number}" for number in range(count)]) as bench:
        for number in range(count):
            await bench.atom.agent(f"a{number}", maturity="autonomous")
        for number in range(1, count):
            await bench.add(f"t{number}", f"a{number}", "agent", agent=f"a{number - 1}")
        await bench.atom.start("a0", "Begin.")
        deep = f"t{MAX_DEPTH + 1}"
        firing = await eventually(lambda: first(bench, deep), seconds=40)
        assert (firing["outcome"], firing["reason"]) == ("blocked", "too_deep")
        assert len(await bench.runs_of(f"a{MAX_DEPTH}")) == 1


async def test_the_cursor_loses_and_doubles_nothing_whoever_reads(start: Start) -> None:
    """More events than one look takes, three readers at once, and a reader that is gone before its commit."""
    async with start(roles=frozenset({ServerRole.WEB})) as bench:
        agent = await bench.atom.agent("doctor", maturity="student")
        await bench.add("all", "doctor", "event", types=["job.changed"])
        parts = bench.atom.atom.parts
        hear = parts.triggers.chores[1]
        total = 2 * EVENTS_AT_ONCE + 7
        for batch in range(0, total, 50):
            async with unit_of_work(parts.base.sessions) as session:
                for number in range(batch, min(batch + 50, total)):
                    await parts.base.outbox.emit(
                        session, EventType.JOB_CHANGED, actor="system:test", data={"n": number}
                    )

        async def stamped() -> bool:
            return await bench.rows("SELECT count(*) FROM event WHERE seq IS NULL") == [(0,)]

        await eventually(stamped)

        async def read(*, die: bool = False) -> None:
            try:
                async with unit_of_work(parts.base.sessions) as session:
                    await hear(session)
                    if die:
                        raise ConnectionAbortedError
            except ConnectionAbortedError:
                return

        await read(die=True)
        assert await bench.rows("SELECT count(*) FROM trigger_firing") == [(0,)]
        for _ in range(5):
            await asyncio.gather(read(), read(), read())
        heard = await bench.rows("SELECT count(*), count(DISTINCT key) FROM trigger_firing")
        assert heard == [(total, total)]
        order = "SELECT task FROM trigger_firing ORDER BY id"
        numbers = [int(task.split('"n":')[1].split("}")[0]) for (task,) in await bench.rows(order)]
        assert numbers == list(range(total))
        open_ones = "SELECT count(*) FROM training_session WHERE agent_id = :id AND status = 'proposed'"
        # A flood is on record, and does not bury the people who decide.
        assert await bench.rows(open_ones, id=UUID(agent["id"])) == [(MAX_OPEN,)]


async def test_what_happened_while_it_was_disabled_is_not_made_up_for(start: Start) -> None:
    async with start("a", "b", "c", "d") as bench:
        for name in ("worker", "editor"):
            await bench.atom.agent(name, maturity="autonomous")
        await bench.add("edit", "editor", "agent", agent="worker")
        await bench.atom.http.patch("/api/triggers/edit", json={"enabled": False})
        await bench.atom.done("worker", "Write.")
        await heard_all(bench)
        await bench.atom.http.patch("/api/triggers/edit", json={"enabled": True})
        await heard_all(bench)
        assert await bench.firings("edit") == []
        await bench.atom.done("worker", "Write.")
        await eventually(lambda: run_of(bench, "edit"))


async def first(bench: Bench, name: str) -> dict[str, Any] | None:
    found = await bench.firings(name)
    return found[0] if found else None


async def run_of(bench: Bench, name: str) -> str | None:
    found = await first(bench, name)
    return found["run_id"] if found else None


async def heard_all(bench: Bench) -> None:
    """Every event there is now has been looked at."""

    async def caught_up() -> bool:
        behind = "SELECT count(*) FROM trigger WHERE enabled AND seen_seq < (SELECT max(seq) FROM event)"
        unstamped = "SELECT count(*) FROM event WHERE seq IS NULL"
        await bench.sweep()
        return [*await bench.rows(behind), *await bench.rows(unstamped)] == [(0,), (0,)]

    await eventually(caught_up)
