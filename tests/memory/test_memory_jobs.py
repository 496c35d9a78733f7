"""Archive and restore as jobs: one schedule, each run on record with its report, and health when it lags."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from atom.durable.jobs import JobRunner, JobService
from atom.infra.db import unit_of_work
from atom.memory import job_runs
from atom.memory import jobs as memory_jobs
from atom.memory.archive_store import Away
from atom.memory.jobs import ArchiveOrder, ArchiveSchedule
from atom.memory.keeping import Rules, set_rules
from atom.ops.checks import Health
from atom.ops.memory_check import memory_check
from atom.settings import MemorySettings
from tests.memory.cold_bench import check, whole
from tests.memory.conftest import Bench
from tests.support.jobs import Bell

SETTINGS = MemorySettings()
TALE = ("Ann: The backup is on cobalt.", "Bob: I see.")


class At:
    """A clock that says what it was told."""

    def __init__(self, days: float) -> None:
        self.days = days

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)

    def monotonic(self) -> float:
        return 86_400 * self.days


async def _tick(memory: Bench) -> None:
    async with unit_of_work(memory.sessions) as session:
        await ArchiveSchedule(JobService(Bell()), SETTINGS).start_due(session)


async def _work(memory: Bench) -> list[dict[str, Any]]:
    """All jobs that wait; what each of them told at its end."""
    runner = JobRunner(memory.sessions, memory_jobs.handlers(memory.layer), "test", 30)
    for (id_,) in await memory.rows("SELECT id FROM job WHERE status = 'queued' ORDER BY created_at"):
        await runner.advance(id_)
    return [row[0] or row[1] for row in await memory.rows("SELECT report, error FROM job ORDER BY created_at")]


async def _start(memory: Bench, order: ArchiveOrder | Away, *, dry_run: bool = False) -> dict[str, Any]:
    async with unit_of_work(memory.sessions) as session:
        if isinstance(order, Away):
            await memory_jobs.start_restore(session, JobService(Bell()), order, dry_run=dry_run, actor="admin:ann")
        else:
            await memory_jobs.start_archive(session, JobService(Bell()), order, actor="admin:ann")
    return (await _work(memory))[-1]


async def _age(memory: Bench, days: int) -> None:
    await memory.execute(
        """UPDATE episode SET started_at = started_at - make_interval(days => :days), ended_at = ended_at
        - make_interval(days => :days), tier_changed_at = tier_changed_at - make_interval(days => :days)""",
        days=days,
    )


async def test_the_schedule_archives_what_is_old_and_forgets_what_retention_ends(memory: Bench) -> None:
    now, other = datetime.now(UTC), await memory.agent("other")
    await memory.remember(*TALE, at=now)
    await memory.remember(*TALE, at=now, agent_id=other)
    async with unit_of_work(memory.sessions) as session:
        await set_rules(session, "admin:ann", other, Rules(retention_days=60))
    await _tick(memory)
    await _tick(memory)
    [report] = await _work(memory)
    assert (report["episodes"], report["forgotten"]) == (0, 0), "one job, and nothing is old"
    await _age(memory, 100)
    back = "SET started_at = started_at - interval '25 hours', finished_at = finished_at - interval '25 hours'"
    await memory.execute(f"UPDATE memory_job_run {back}")
    await _tick(memory)
    report = (await _work(memory))[-1]
    assert (report["episodes"], report["forgotten"], report["bytes_freed"]) == (1, 1, report["bytes_before"])
    runs = await memory.rows("SELECT kind, whole, outcome, report FROM memory_job_run ORDER BY started_at")
    assert [row[:3] for row in runs] == [("archive", True, "done")] * 2
    assert runs[-1][3] == report


async def test_where_nothing_is_to_be_done_the_schedule_starts_no_job_and_has_done_well(memory: Bench) -> None:
    await memory.remember(*TALE, at=datetime.now(UTC))
    await _tick(memory)
    await _tick(memory)
    assert await memory.rows("SELECT count(*) FROM job") == [(0,)]
    assert await memory.rows("SELECT kind, whole, outcome FROM memory_job_run") == [("archive", True, "done")]


async def test_a_schedule_that_is_off_starts_nothing(memory: Bench) -> None:
    async with unit_of_work(memory.sessions) as session:
        await ArchiveSchedule(JobService(Bell()), MemorySettings(archive_every_hours=0)).start_due(session)
    assert await memory.rows("SELECT count(*) FROM job") == [(0,)]


async def test_a_dry_run_tells_counts_and_examples_and_does_nothing(memory: Bench) -> None:
    written = await memory.remember(*TALE, title="Backups")
    before = await memory.rows("SELECT * FROM episode")
    told = await _start(memory, ArchiveOrder(dry_run=True))
    example = {"id": str(written.id), "agent": "worker", "title": "Backups", "tier": "hot"}
    assert told == {"dry_run": True, "episodes": 1, "segments": 2, "bytes": told["bytes"], "examples": [example]}
    assert await memory.rows("SELECT * FROM episode") == before
    await _start(memory, ArchiveOrder())
    told = await _start(memory, Away(), dry_run=True)
    assert (told["episodes"], told["examples"][0]["tier"]) == (1, "cold")
    assert await memory.rows("SELECT storage_tier FROM episode") == [("cold",)]
    assert len(await memory.rows("SELECT FROM memory_job_run")) == 1, "a dry run is no run"


async def test_orders_are_of_one_agent_and_of_an_age(memory: Bench) -> None:
    other = await memory.agent("other")
    await memory.remember(*TALE, agent_id=other, at=datetime.now(UTC) - timedelta(days=50))
    await memory.remember(*TALE, at=datetime.now(UTC) - timedelta(days=5))
    assert (await _start(memory, ArchiveOrder(memory.agent_id, 10)))["episodes"] == 0
    assert (await _start(memory, ArchiveOrder(other, 10)))["episodes"] == 1
    assert (await _start(memory, ArchiveOrder()))["episodes"] == 1
    assert await memory.rows("SELECT whole FROM memory_job_run ORDER BY started_at") == [(False,), (False,), (True,)]
    assert (await _start(memory, Away(agent_id=other)))["episodes"] == 1
    assert (await _start(memory, Away()))["episodes"] == 1
    await check(memory)


async def test_a_failed_run_is_told_counted_and_on_record(memory: Bench) -> None:
    await memory.remember(*TALE)
    memory.cold.full = True
    told = await _start(memory, ArchiveOrder())
    assert told["code"] == "cold_store_unavailable"
    assert "memory://cold" in told["message"]
    assert await memory.rows("SELECT outcome FROM memory_job_run") == [("failed",)]
    samples = [sample for metric in memory.layer.metrics.jobs.collect() for sample in metric.samples]
    counted = [(one.labels, one.value) for one in samples if one.name.endswith("_total")]
    assert counted == [({"job": "archive", "outcome": "failed"}, 1)]


async def test_a_job_that_died_goes_on_and_its_report_has_all_of_it(memory: Bench) -> None:
    for name in ("one", "two", "three"):
        await memory.remember(*TALE, agent_id=await memory.agent(name))
    before = await whole(memory)

    async def die() -> None:
        if memory.cold.reads == 3:
            raise RuntimeError("the worker died")

    memory.cold.before_read = die
    async with unit_of_work(memory.sessions) as session:
        id_ = await memory_jobs.start_archive(session, JobService(Bell()), ArchiveOrder(), actor="admin:ann")
    await _work(memory)
    assert await memory.rows("SELECT count(*) FROM episode WHERE storage_tier = 'cold'") == [(2,)]
    await memory.execute("UPDATE job SET status = 'queued', ended_at = NULL, error = NULL WHERE id = :id", id=id_)
    [report] = await _work(memory)
    assert (report["episodes"], report["segments"], report["objects"]) == (3, 6, 3)
    assert await whole(memory) == before


@pytest.mark.parametrize(
    ("days", "old", "health"), [(2, True, "healthy"), (4, True, "degraded"), (4, False, "healthy")]
)
async def test_health_is_degraded_when_the_archive_lags_and_something_waits(
    memory: Bench,
    days: float,
    old: bool,
    health: str,  # noqa: FBT001
) -> None:
    await memory.remember(*TALE, at=datetime.now(UTC))
    probe = memory_check(memory.sessions, SETTINGS, At(days)).probe
    assert await probe() is Health.HEALTHY, "nothing has ever begun"
    await _tick(memory)
    await _work(memory)
    if old:
        await _age(memory, 100)
    assert (await probe()).value == health


@pytest.mark.parametrize(("days", "episodes", "health"), [(2, 3, "healthy"), (4, 3, "degraded"), (4, 2, "healthy")])
async def test_health_is_degraded_when_consolidation_lags_and_an_agent_has_too_many(
    memory: Bench, days: float, episodes: int, health: str
) -> None:
    for _ in range(episodes):
        await memory.remember(*TALE, at=datetime.now(UTC))
    settings = MemorySettings(archive_every_hours=0, consolidation_threshold=2)
    probe = memory_check(memory.sessions, settings, At(days)).probe
    assert await probe() is Health.HEALTHY, "nothing has ever begun"
    async with unit_of_work(memory.sessions) as session:
        await job_runs.record_started(session, "consolidate")
    assert (await probe()).value == health


async def test_health_of_a_memory_that_nothing_keeps_in_order_is_disabled(memory: Bench) -> None:
    settings = MemorySettings(archive_every_hours=0, consolidate_every_hours=0)
    assert await memory_check(memory.sessions, settings, At(0)).probe() is Health.DISABLED


async def test_one_episode_by_its_id(memory: Bench) -> None:
    one, two = await memory.remember(*TALE), await memory.remember(*TALE)
    await _start(memory, ArchiveOrder())
    ids: tuple[UUID, ...] = (one.id,)
    assert (await _start(memory, Away(ids)))["episodes"] == 1
    assert dict(await memory.rows("SELECT id, storage_tier FROM episode")) == {one.id: "hot", two.id: "cold"}
