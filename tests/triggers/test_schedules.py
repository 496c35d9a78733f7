"""Schedules of a running Atom: each due time fires once, whatever was missed, whoever looks."""

import asyncio
import os
from typing import Any
from uuid import UUID

from atom.infra.db import unit_of_work
from atom.web.server import ServerRole
from tests.support.polling import eventually
from tests.triggers.conftest import Bench, Start

ROUNDS = int(os.environ.get("TRIGGER_ROUNDS", "4"))  # of 20 due times each; a campaign takes 200


async def test_a_due_schedule_starts_a_run_of_its_agent(start: Start) -> None:
    async with start("All is well.") as bench:
        await bench.atom.agent("guard", maturity="autonomous")
        made = await bench.add("morning", "guard", "schedule", cron="0 9 * * *", timezone="Europe/Berlin")
        assert made["next_at"] is not None
        assert made["secret"] is None
        await bench.make_due("morning")
        firing = await eventually(lambda: first(bench, "morning"))
        assert (firing["outcome"], firing["fired_by"]) == ("run", "trigger:morning")
        run = await bench.atom.settled(firing["run_id"])
        assert (run["status"], run["task"], run["requested_by"]) == ("completed", "Say what is new.", "admin:admin")
        ((trigger,),) = await bench.rows("SELECT trigger FROM agent_execution WHERE id = :id", id=UUID(run["id"]))
        assert trigger == "schedule"
        now = (await bench.atom.http.get("/api/triggers/morning")).json()
        assert now["last_run_id"] == run["id"]
        assert now["next_at"] == made["next_at"]  # the one that was made due for this test is behind us


async def test_a_schedule_that_was_missed_for_days_runs_once_and_goes_on(start: Start) -> None:
    async with start(*["ok"] * 5) as bench:
        await bench.atom.agent("guard", maturity="autonomous")
        await bench.add("often", "guard", "schedule", every="10m")
        await bench.make_due("often", ago="3 days 5 minutes")
        await eventually(lambda: first(bench, "often"))
        for _ in range(3):
            await bench.sweep()
        assert len(await bench.firings("often")) == 1
        found = await bench.rows("SELECT next_at - now() < interval '10 minutes', next_at > now() FROM trigger")
        assert found == [(True, True)]


async def test_a_paused_schedule_does_not_fire_and_makes_up_for_nothing(start: Start) -> None:
    async with start("ok") as bench:
        await bench.atom.agent("guard", maturity="autonomous")
        await bench.add("often", "guard", "schedule", every="10m")
        off = await bench.atom.http.patch("/api/triggers/often", json={"enabled": False})
        assert (off.json()["enabled"], off.json()["next_at"], off.json()["version"]) == (False, None, 2)
        await bench.make_due("often", ago="1 hour")
        await bench.sweep()
        assert await bench.firings("often") == []
        on = (await bench.atom.http.patch("/api/triggers/often", json={"enabled": True})).json()
        assert on["next_at"] is not None
        await bench.sweep()
        assert await bench.firings("often") == []


async def test_a_start_that_is_refused_is_on_record_and_the_schedule_goes_on(start: Start) -> None:
    async with start() as bench:
        agent = await bench.atom.agent("guard", maturity="autonomous")
        await bench.add("often", "guard", "schedule", every="10m")
        await bench.execute("UPDATE agent SET model = 'x' WHERE id = :id", id=UUID(agent["id"]))
        await bench.atom.http.post("/api/agents/guard/pause")
        await bench.make_due("often")
        firing = await eventually(lambda: first(bench, "often"))
        assert (firing["outcome"], firing["reason"], firing["run_id"]) == ("blocked", "agent_not_active", None)
        await bench.atom.http.post("/api/agents/guard/resume")
        await bench.execute("UPDATE trigger SET task = :long", long="x" * 100_001)
        await bench.make_due("often")
        firing = await eventually(lambda: first(bench, "often", count=2))
        assert (firing["outcome"], firing["reason"]) == ("blocked", "task_too_large")
        assert await bench.rows("SELECT next_at > now() FROM trigger") == [(True,)]


async def test_a_rule_that_can_be_read_no_more_puts_only_its_own_trigger_out_of_use(start: Start) -> None:
    async with start("ok") as bench:
        await bench.atom.agent("guard", maturity="autonomous")
        await bench.add("broken", "guard", "schedule", every="10m")
        await bench.add("sound", "guard", "schedule", every="10m")
        broken = """UPDATE trigger SET definition = '{"cron": "0 9 * * *", "timezone": "Gone/City"}'"""
        await bench.execute(broken + " WHERE name = 'broken'")
        await bench.make_due("broken", ago="1 hour")
        await bench.make_due("sound")
        await eventually(lambda: first(bench, "sound"))
        assert await bench.firings("broken") == []
        assert (await bench.atom.http.get("/api/triggers/broken")).json()["enabled"] is False


async def test_two_sweepers_on_one_database_fire_each_due_time_once(start: Start) -> None:
    """The two take turns under the lock, and beside it, where the rows themselves are the guard."""
    async with start(roles=frozenset({ServerRole.WEB})) as bench:  # nobody works on the runs: only firing is looked at
        await bench.atom.agent("guard", maturity="autonomous")
        names = [f"often-{number}" for number in range(20)]
        for name in names:
            await bench.add(name, "guard", "schedule", every="10s")
        chore = bench.atom.atom.parts.triggers.chores[0]
        sessions = bench.atom.atom.parts.base.sessions

        async def unlocked() -> None:
            async with unit_of_work(sessions) as session:
                await chore(session)

        for number in range(ROUNDS):
            ago = f"now() - interval '{number + 1} milliseconds'"
            await bench.execute(f"UPDATE trigger SET due_at = {ago}, next_at = {ago}")
            await asyncio.gather(unlocked(), unlocked(), bench.sweep())
            await unlocked()
        assert await bench.rows("SELECT count(*), count(DISTINCT key) FROM trigger_firing") == [(20 * ROUNDS, ROUNDS)]
        assert await bench.rows("SELECT count(*) FROM agent_execution") == [(20 * ROUNDS,)]
        assert await bench.rows("SELECT count(DISTINCT run_id) FROM trigger_firing WHERE outcome = 'run'") == [
            (20 * ROUNDS,)
        ]


async def test_by_hand_it_is_the_run_of_the_person_and_once_for_a_key(start: Start) -> None:
    """Whatever the maturity: a person started it."""
    async with start("a", "b") as bench:
        await bench.atom.agent("novice")
        await bench.add("weekly", "novice", "schedule", cron="0 9 * * MON")
        headers = {"Idempotency-Key": "once"}
        answers = [
            await bench.atom.http.post("/api/triggers/weekly/fire", json={"data": "1 + 1"}, headers=headers)
            for _ in range(2)
        ]
        assert [one.status_code for one in answers] == [202, 202]
        assert answers[0].json() == answers[1].json()
        firing = answers[0].json()
        assert (firing["outcome"], firing["fired_by"]) == ("run", "admin:admin")
        found = await bench.rows("SELECT trigger, task FROM agent_execution")
        assert [kind for kind, _ in found] == ["manual"]
        assert "untrusted data" in found[0][1]
        assert "1 + 1" in found[0][1]


async def first(bench: Bench, name: str, count: int = 1) -> dict[str, Any] | None:
    found = await bench.firings(name)
    return found[0] if len(found) >= count else None
