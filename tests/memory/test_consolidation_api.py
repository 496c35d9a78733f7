"""Consolidation over HTTP and by schedule: a job with a report, what it would do, and the way back."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from atom.durable.models import JobStatus
from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.memory.consolidation_jobs import CONSOLIDATE, ConsolidationSchedule
from atom.settings import MemorySettings
from atom.web.testing import RunningAtom
from tests.memory.conftest import Bench
from tests.support.consolidations import LONG_AGO, fill
from tests.support.polling import eventually

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]
SETTINGS = MemorySettings(embedder="none", consolidation_threshold=4, consolidate_every_hours=0)


async def remember(atom: RunningAtom, count: int) -> None:
    for number in range(count):
        at = (LONG_AGO + timedelta(days=number)).isoformat()
        said = f"The nightly backup of the shop is on {('cobalt', 'nickel')[number % 2]}. "
        body = {"agent": "worker", "turns": [{"speaker": "Ann", "text": said * 20, "at": at}], "labels": ["untrusted"]}
        assert (await atom.http.post("/api/episodes", json=body)).status_code == 201


async def done(atom: RunningAtom, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    path = answer.json()["status_url"]

    async def ended() -> bool:
        return bool(JobStatus((await atom.http.get(path)).json()["status"]).ended)

    await eventually(ended)
    job = (await atom.http.get(path)).json()
    assert job["status"] == "completed", job
    report: dict[str, Any] = job["report"]
    return report


async def test_without_a_body_the_whole_store_is_consolidated(start: Start) -> None:
    async with start(memory=SETTINGS) as atom:
        await atom.agent()
        await remember(atom, 10)
        foreseen = await done(atom, await atom.http.post("/api/episodes/consolidate", json={"dry_run": True}))
        assert (foreseen["groups"], foreseen["episodes"], foreseen["dry_run"]) == (1, 8, True)
        assert (await atom.http.get("/api/episodes/stats")).json()["tiers"]["hot"]["episodes"] == 10
        report = await done(atom, await atom.http.post("/api/episodes/consolidate"))
        assert (report["agents"], report["groups"], report["episodes"]) == (1, 1, 8)
        assert report["bytes_freed"] == report["bytes_before"] - report["bytes_after"] > 0
        stats = (await atom.http.get("/api/episodes/stats", params={"ages": "true"})).json()
        assert [stats["tiers"][tier]["episodes"] for tier in ("hot", "warm", "cold")] == [3, 8, 0]
        assert sum(one["episodes"] for one in stats["ages"]) == 11
        assert {one["days"] for one in stats["ages"]} <= {0, 7, 30, 90, 365}
        [summed] = (await atom.http.get("/api/episodes", params={"source": "consolidation"})).json()["items"]
        assert (summed["labels"], len(summed["provenance"]["sources"])) == (["untrusted"], 8)
        turns = (await atom.http.get(f"/api/episodes/{summed['id']}/segments")).json()["items"]
        assert any("Said differently of nightly backup of the shop" in turn["text"] for turn in turns)


async def test_a_split_brings_back_what_was_consolidated(start: Start) -> None:
    async with start(memory=SETTINGS) as atom:
        await atom.agent()
        await remember(atom, 10)
        await done(atom, await atom.http.post("/api/episodes/consolidate", json={"agent": "worker"}))
        [summed] = (await atom.http.get("/api/episodes", params={"source": "consolidation"})).json()["items"]
        answer = await atom.http.post(f"/api/episodes/{summed['id']}/split")
        assert (answer.status_code, len(answer.json()["sources"])) == (200, 8)
        assert (await atom.http.get("/api/episodes/stats")).json()["tiers"]["hot"]["episodes"] == 10
        assert (await atom.http.get(f"/api/episodes/{summed['id']}")).status_code == 404
        answer = await atom.http.post(f"/api/episodes/{answer.json()['sources'][0]}/split")
        assert (answer.status_code, answer.json()["code"]) == (409, "episode_not_consolidated")


async def test_an_agent_that_does_not_exist_is_told_at_once(start: Start) -> None:
    async with start(memory=SETTINGS) as atom:
        assert (await atom.http.post("/api/episodes/consolidate", json={"agent": "nobody"})).status_code == 404
        assert (await atom.http.post(f"/api/episodes/{new_id()}/split")).status_code == 404


class Jobs:
    """Starts that were asked for."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []

    async def start(self, _: Any, kind: str, params: dict[str, Any], *, actor: str) -> Any:
        self.started.append({"kind": kind, "actor": actor, **params})
        return new_id()


async def test_the_schedule_starts_one_job_where_there_is_work_and_then_waits(memory: Bench) -> None:
    jobs: Any = Jobs()
    settings = memory.service.settings.model_copy(update={"consolidation_threshold": 4})
    layer = replace(memory.layer, service=replace(memory.service, settings=settings))
    schedule = ConsolidationSchedule(jobs, layer)

    async def chore() -> None:
        async with unit_of_work(memory.sessions) as session:
            await schedule.start_due(session)

    await chore()
    assert jobs.started == [], "nobody has so much"
    assert await memory.rows("SELECT kind, outcome FROM memory_job_run") == [(CONSOLIDATE, "done")]
    await fill(memory.sessions, memory.service, memory.agent_id, 5)
    await chore()
    assert jobs.started == [], "a day has not gone by"
    await memory.execute(
        "UPDATE memory_job_run SET finished_at = now() - interval '2 days', started_at = now() - interval '2 days'"
    )
    await chore()
    await chore()
    assert [(job["agent_id"], job["dry_run"], job["actor"]) for job in jobs.started] == [(None, False, "system")]
