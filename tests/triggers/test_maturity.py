"""By the maturity of its agent an automated trigger runs, waits for an operator, asks, or trains."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from atom.governance.models import Maturity
from atom.triggers.maturity import Way, way
from tests.support.polling import eventually
from tests.triggers.conftest import Bench, Start


@pytest.mark.parametrize(
    ("maturity", "active", "present", "expected"),
    [
        (Maturity.STUDENT, True, False, Way.TRAIN), (Maturity.STUDENT, True, True, Way.TRAIN),
        (Maturity.INTERN, True, False, Way.PROPOSE), (Maturity.INTERN, True, True, Way.PROPOSE),
        (Maturity.SUPERVISED, True, False, Way.QUEUE), (Maturity.SUPERVISED, True, True, Way.RUN),
        (Maturity.AUTONOMOUS, True, False, Way.RUN), (Maturity.AUTONOMOUS, True, True, Way.RUN),
        *((one, False, there, Way.REFUSE) for one in Maturity for there in (True, False)),
    ],
)  # fmt: skip
def test_the_ladder(maturity: Maturity, active: bool, present: bool, expected: Way) -> None:
    assert way(maturity, active=active, operator_present=present) is expected


def test_less_maturity_or_presence_never_leads_to_more() -> None:
    """Every step down is at most as free."""
    freedom = [Way.REFUSE, Way.TRAIN, Way.PROPOSE, Way.QUEUE, Way.RUN]
    for present in (True, False):
        steps = [freedom.index(way(one, active=True, operator_present=present)) for one in Maturity]
        assert steps == sorted(steps)
    for one in Maturity:
        there, away = (freedom.index(way(one, active=True, operator_present=found)) for found in (True, False))
        assert away <= there


async def fired(bench: Bench, name: str, count: int = 1) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await bench.firings(name)
        return found[0] if len(found) >= count else None

    found: dict[str, Any] = await eventually(look)
    return found


async def proposals(bench: Bench, **query: str) -> list[dict[str, Any]]:
    """Behind the API, which would count as an operator who looks."""
    found = await bench.rows("SELECT id, status, run_id, task FROM proposal ORDER BY id")
    return [dict(zip(("id", "status", "run_id", "task"), row, strict=True)) for row in found]


async def test_a_students_task_is_proposed_as_training_once(start: Start) -> None:
    async with start() as bench:
        await bench.atom.agent("novice")
        await bench.add("often", "novice", "schedule", every="10m")
        for count, reason in ((1, "agent_is_student"), (2, "already_proposed")):
            await bench.make_due("often", ago=f"{count} seconds")
            firing = await fired(bench, "often", count)
            assert (firing["outcome"], firing["reason"], firing["run_id"]) == ("blocked", reason, None)
            (only,) = (await bench.atom.http.get("/api/training")).json()["items"]
            assert firing["training_id"] == only["id"]
            assert (only["status"], only["origin"], only["task"]) == ("proposed", "schedule", "Say what is new.")
            assert await proposals(bench) == []
        assert await bench.rows("SELECT count(*) FROM agent_execution") == [(0,)]


async def test_a_schedule_that_never_says_the_same_leads_to_one_training_at_a_time(start: Start) -> None:
    async with start("late") as bench:
        await bench.atom.agent("novice")
        await bench.add("often", "novice", "schedule", task="What is new at {{at}}?", every="10m")
        for count in (1, 2):
            await bench.make_due("often", ago=f"{count} hours")
            await fired(bench, "often", count)
        await bench.make_due("often", ago="3 hours")
        firing = await fired(bench, "often", 3)
        (only,) = (await bench.atom.http.get("/api/training")).json()["items"]
        assert (firing["reason"], firing["training_id"]) == ("already_proposed", only["id"])
        await bench.atom.http.post(f"/api/training/{only['id']}/open")
        await bench.make_due("often", ago="4 hours")
        assert (await fired(bench, "often", 4))["reason"] == "agent_is_student"


async def test_nothing_that_waits_begins_while_its_trigger_is_disabled(start: Start) -> None:
    async with start("done") as bench:
        await bench.atom.agent("senior", maturity="supervised")
        for name in ("often", "seldom"):
            await bench.add(name, "senior", "schedule", every="10m")
            await bench.make_due(name)
            assert (await fired(bench, name))["outcome"] == "queued"
        await bench.atom.http.patch("/api/triggers/often", json={"enabled": False})
        await bench.atom.http.get("/api/proposals")  # an operator is there

        async def began(name: str) -> bool:
            return bool((await bench.firings(name))[0]["outcome"] == "run")

        await eventually(lambda: began("seldom"))
        await bench.sweep()
        assert (await fired(bench, "often"))["outcome"] == "queued"
        await bench.atom.http.patch("/api/triggers/often", json={"enabled": True})
        await eventually(lambda: began("often"))


async def test_an_interns_run_starts_when_a_person_approves_and_stays_an_automated_one(start: Start) -> None:
    async with start("done") as bench:
        await bench.atom.agent("junior", maturity="intern")
        await bench.add("often", "junior", "schedule", every="10m")
        await bench.make_due("often")
        firing = await fired(bench, "often")
        assert (firing["outcome"], firing["run_id"]) == ("proposal", None)
        await bench.make_due("often", ago="2 seconds")
        assert (await fired(bench, "often", 2))["reason"] == "already_proposed"
        url = f"/api/proposals/{firing['proposal_id']}"
        both = await asyncio.gather(*(bench.atom.http.post(f"{url}/approve", json={"note": "go"}) for _ in range(2)))
        assert sorted(one.status_code for one in both) == [200, 409]
        done = next(one.json() for one in both if one.status_code == 200)
        assert (done["status"], done["decided_by"], done["note"]) == ("approved", "admin:admin", "go")
        assert (await bench.atom.settled(done["run_id"]))["status"] == "completed"
        assert await bench.rows("SELECT trigger, requested_by FROM agent_execution") == [("schedule", "admin:admin")]
        assert {one["run_id"] for one in await bench.firings("often")} == {done["run_id"], None}
        refused = await bench.atom.http.post(f"{url}/reject", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "proposal_settled")


async def test_rejected_expired_and_dismissed_proposals_start_nothing(start: Start) -> None:
    async with start() as bench:
        await bench.atom.agent("junior", maturity="intern")
        for name in ("one", "two", "three"):
            await bench.add(name, "junior", "schedule", every="10m")
            await bench.make_due(name)
        one, two, _ = [await fired(bench, name) for name in ("one", "two", "three")]
        rejected = await bench.atom.http.post(f"/api/proposals/{one['proposal_id']}/reject", json={"note": "no"})
        assert rejected.json()["status"] == "rejected"
        late = {"id": UUID(two["proposal_id"])}
        await bench.execute("UPDATE proposal SET expires_at = now() - interval '1 second' WHERE id = :id", **late)
        too_late = await bench.atom.http.post(f"/api/proposals/{two['proposal_id']}/approve", json={})
        assert too_late.status_code == 409
        assert (await bench.atom.http.delete("/api/triggers/three")).status_code == 204

        async def ended() -> bool:
            return {one["status"] for one in await proposals(bench)} == {"rejected", "expired", "dismissed"}

        await eventually(ended)
        assert await bench.rows("SELECT count(*) FROM agent_execution") == [(0,)]


async def test_a_supervised_run_waits_for_an_operator_and_goes_on_when_one_looks(start: Start) -> None:
    async with start("done") as bench:
        await bench.atom.agent("senior", maturity="supervised")
        await bench.add("often", "senior", "schedule", every="10m")
        await bench.make_due("often")
        firing = await fired(bench, "often")
        assert (firing["outcome"], firing["reason"]) == ("queued", "no_operator")
        await bench.make_due("often", ago="2 seconds")
        assert (await fired(bench, "often", 2))["reason"] == "already_queued"
        viewer = (await bench.atom.http.post("/api/tokens", json={"name": "eyes", "role": "viewer"})).json()["token"]
        looked = await bench.atom.http.get("/api/proposals", headers={"Authorization": f"Bearer {viewer}"})
        assert looked.status_code == 200
        await bench.sweep()
        assert await bench.rows("SELECT count(*) FROM operator_presence") == [(0,)]  # who cannot step in is not there
        await bench.atom.http.get("/api/proposals")

        async def began() -> str | None:
            run_id: str | None = (await bench.firings("often"))[1]["run_id"]
            return run_id

        assert (await bench.atom.settled(await eventually(began)))["status"] == "completed"


async def test_an_open_live_view_is_an_operator_who_is_there(start: Start) -> None:
    async with start("first", "second") as bench:
        await bench.atom.agent("senior", maturity="supervised")
        run = await bench.atom.start("senior", "by hand")
        async with bench.atom.http.stream("GET", f"/api/runs/{run['id']}/events") as stream:
            async for line in stream.aiter_lines():
                if "run.completed" in line:
                    break
        await bench.add("often", "senior", "schedule", every="10m")
        await bench.make_due("often")
        assert (await fired(bench, "often"))["outcome"] == "run"


async def test_nobody_came_in_time_is_visible(start: Start) -> None:
    async with start() as bench:
        await bench.atom.agent("senior", maturity="supervised")
        await bench.add("often", "senior", "schedule", every="10m")
        await bench.make_due("often")
        firing = await fired(bench, "often")
        found = await bench.rows("SELECT expires_at - at FROM trigger_firing")
        assert found[0][0].total_seconds() == pytest.approx(86_400, abs=5)
        await bench.execute("UPDATE trigger_firing SET expires_at = now() - interval '1 second'")

        async def expired() -> bool:
            return bool((await bench.firings("often"))[0]["outcome"] == "expired")

        await eventually(expired)
        told = await bench.rows("SELECT data ->> 'outcome' FROM event WHERE type = 'trigger.fired' ORDER BY id")
        assert [outcome for (outcome,) in told] == ["queued", "expired"]
        assert firing["run_id"] is None


async def test_what_waits_goes_the_way_of_the_maturity_that_the_agent_has_by_then(start: Start) -> None:
    async with start("done") as bench:
        for name, later in (("down", "intern"), ("up", "autonomous")):
            await bench.atom.agent(name, maturity="supervised")
            await bench.add(name, name, "schedule", every="10m")
            await bench.make_due(name)
            assert (await fired(bench, name))["outcome"] == "queued"
            await bench.atom.http.patch(f"/api/agents/{name}", json={"maturity": later})

        async def went() -> bool:
            found = [(await bench.firings(name))[0]["outcome"] for name in ("down", "up")]
            return found == ["proposal", "run"]

        await eventually(went)
