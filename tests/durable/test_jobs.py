"""Long work is done once, by one worker at a time, to an end that its resource tells."""

import asyncio
import time
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import URL
from structlog.testing import capture_logs

from atom.durable.adapters.procrastinate import ProcrastinateDoorbell
from atom.durable.errors import JobEndedError, JobNotFoundError
from atom.durable.jobs import MAX_CRASHES, JobHandler, JobRunner, JobService, Progress, waiting_jobs
from atom.durable.models import Job
from atom.durable.ports import Topic
from atom.durable.sweep import Sweep
from atom.errors import ConflictError
from atom.infra.database_url import libpq
from atom.infra.db import Sessions, unit_of_work
from atom.kit.ids import new_id
from tests.conftest import Cluster
from tests.support.databases import execute, rows, sessions_on, terminate
from tests.support.jobs import Bell, expire, job, new_job
from tests.support.polling import eventually
from tests.support.proxy import proxied


def runner(sessions: Sessions, handler: JobHandler, owner: str = "w1", lease_seconds: float = 5.0) -> JobRunner:
    return JobRunner(sessions, {"count": handler}, owner, lease_seconds)


async def count(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """A handler that counts to `params["to"]`."""
    for number in range(params["to"]):
        await progress(number + 1, params["to"])
    return {"counted": params["to"]}


def failing(error: BaseException) -> JobHandler:
    async def handler(_: dict[str, Any], __: Progress) -> dict[str, Any]:
        raise error

    return handler


async def cancel(sessions: Sessions, id_: UUID) -> Job:
    async with unit_of_work(sessions) as session:
        return await JobService(Bell()).cancel(session, id_)


async def has_status(sessions: Sessions, id_: UUID, status: str) -> bool:
    return (await job(sessions, id_)).status == status


async def test_started_job_is_queued_and_rung_in_the_callers_transaction(sessions: Sessions) -> None:
    bell = Bell()
    async with unit_of_work(sessions) as session:
        id_ = await JobService(bell).start(session, "count", {"to": 3}, actor="ann")
    found = await job(sessions, id_)
    assert (found.status, found.kind, found.params, found.created_by) == ("queued", "count", {"to": 3}, "ann")
    assert bell.rung == [(Topic.JOB, id_)]


async def test_job_runs_to_its_report_with_its_progress_told(sessions: Sessions) -> None:
    id_ = await new_job(sessions, to=3)
    seen: list[tuple[str, int, int | None]] = []

    async def handler(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        for number in range(3):
            await progress(number + 1, 3)
            now = await job(sessions, id_)
            seen.append((now.status, now.done, now.total))
        return {"counted": 3}

    await runner(sessions, handler).advance(id_)
    assert seen == [("running", 1, 3), ("running", 2, 3), ("running", 3, 3)]
    found = await job(sessions, id_)
    assert (found.status, found.report, found.error, found.done, found.total) == (
        "completed",
        {"counted": 3},
        None,
        3,
        3,
    )
    assert found.started_at is not None
    assert found.ended_at is not None
    assert (found.lease_owner, found.lease_expires_at) == (None, None)


async def test_ended_or_unknown_job_is_not_run_again(sessions: Sessions) -> None:
    id_ = await new_job(sessions, to=1)
    calls: list[int] = []

    async def handler(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        calls.append(1)
        return {}

    for _ in range(3):
        await runner(sessions, handler).advance(id_)
    await runner(sessions, handler).advance(new_id())
    assert calls == [1]


async def test_many_rings_at_once_run_it_once(sessions: Sessions) -> None:
    id_ = await new_job(sessions, to=1)
    calls: list[int] = []

    async def handler(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        calls.append(1)
        await asyncio.sleep(0.1)
        return {}

    await asyncio.gather(*(runner(sessions, handler, f"w{n}").advance(id_) for n in range(12)))
    assert calls == [1]


async def test_error_on_purpose_fails_the_job_with_its_words(sessions: Sessions) -> None:
    class FullError(ConflictError):
        code = "full"

    id_ = await new_job(sessions)
    await runner(sessions, failing(FullError("No \x00 room.", hint="Make some."))).advance(id_)
    found = await job(sessions, id_)
    assert found.status == "failed"
    assert found.error == {"code": "full", "message": "No \ufffd room.", "hint": "Make some."}
    assert found.report is None


@pytest.mark.parametrize("error", [KeyError("secret_name"), TypeError("x"), RecursionError(), AssertionError()])
async def test_bug_fails_the_job_at_once_and_leaves_its_traceback_in_the_log(
    sessions: Sessions, error: Exception
) -> None:
    id_ = await new_job(sessions)
    with capture_logs() as logs:
        await runner(sessions, failing(error)).advance(id_)
    found = await job(sessions, id_)
    assert found.status == "failed"
    assert found.error is not None
    assert found.error["code"] == "internal_error"
    assert "secret_name" not in str(found.error)
    [told] = [line for line in logs if line["log_level"] == "error"]
    assert (told["event"], told["exc_info"], told["job_id"]) == ("worker.job_crashed", error, str(id_))


@pytest.mark.parametrize("report", [{"x": object()}, {"x": {1, 2}}], ids=["object", "set"])
async def test_report_that_is_no_json_is_a_bug_of_the_job(sessions: Sessions, report: dict[str, Any]) -> None:
    async def handler(_: dict[str, Any], __: Progress) -> dict[str, Any]:
        return report

    id_ = await new_job(sessions)
    await runner(sessions, handler).advance(id_)
    found = await job(sessions, id_)
    assert (found.status, (found.error or {})["code"]) == ("failed", "internal_error")


async def test_report_that_postgres_cannot_store_is_cleaned_not_lost(sessions: Sessions) -> None:
    async def handler(_: dict[str, Any], __: Progress) -> dict[str, Any]:
        return {"text": "a\x00b\ud800", "number": float("nan")}

    id_ = await new_job(sessions)
    await runner(sessions, handler).advance(id_)
    found = await job(sessions, id_)
    assert (found.status, found.report) == ("completed", {"text": "a\ufffdb?", "number": "nan"})


async def test_job_of_a_newer_atom_fails_with_advice(sessions: Sessions) -> None:
    id_ = await new_job(sessions, "teleport")
    await runner(sessions, count).advance(id_)
    found = await job(sessions, id_)
    assert found.status == "failed"
    assert found.error == {
        "code": "unknown_job",
        "message": "This Atom knows no job 'teleport'.",
        "hint": "Upgrade it.",
    }


async def test_queued_job_is_cancelled_at_once_and_never_runs(sessions: Sessions) -> None:
    id_ = await new_job(sessions, to=1)
    assert (await cancel(sessions, id_)).status == "cancelled"
    await runner(sessions, failing(AssertionError())).advance(id_)
    found = await job(sessions, id_)
    assert (found.status, found.started_at) == ("cancelled", None)
    assert found.ended_at is not None


async def test_running_job_ends_at_its_next_progress(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    steps: list[int] = []

    async def handler(_: dict[str, Any], progress: Progress) -> dict[str, Any]:
        for number in range(100):
            await progress(number, None)
            steps.append(number)
            if number == 2:
                assert (await cancel(sessions, id_)).status == "running"
        return {}

    await runner(sessions, handler).advance(id_)
    assert steps == [0, 1, 2]
    found = await job(sessions, id_)
    assert (found.status, found.done, found.lease_owner) == ("cancelled", 3, None)


async def test_running_job_that_tells_no_progress_is_cancelled_by_its_heartbeat(sessions: Sessions) -> None:
    id_, undone = await new_job(sessions), asyncio.Event()

    async def handler(_: dict[str, Any], progress: Progress) -> dict[str, Any]:
        try:
            await cancel(sessions, id_)
            await asyncio.sleep(60)
        finally:
            undone.set()
        return {}

    began = time.monotonic()
    await runner(sessions, handler, lease_seconds=1.0).advance(id_)
    assert time.monotonic() - began < 5
    assert undone.is_set()
    assert (await job(sessions, id_)).status == "cancelled"


async def test_abandoned_job_that_was_cancelled_ends_without_running(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    await execute(sessions, "UPDATE job SET status = 'running', cancel_requested_at = now() WHERE id = :id", id=id_)
    await runner(sessions, failing(AssertionError())).advance(id_)
    assert (await job(sessions, id_)).status == "cancelled"


async def test_cancelling_what_ended_or_never_was_is_refused(sessions: Sessions) -> None:
    id_ = await new_job(sessions, to=1)
    await runner(sessions, count).advance(id_)
    with pytest.raises(JobEndedError):
        await cancel(sessions, id_)
    with pytest.raises(JobNotFoundError):
        await cancel(sessions, new_id())


async def test_worker_that_goes_away_hands_the_job_on_without_a_crash(sessions: Sessions) -> None:
    id_, inside = await new_job(sessions, to=2), asyncio.Event()

    async def handler(_: dict[str, Any], progress: Progress) -> dict[str, Any]:
        inside.set()
        await asyncio.sleep(60)
        return {}

    task = asyncio.create_task(runner(sessions, handler).advance(id_))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await waiting(sessions) == [id_]
    await runner(sessions, count, "w2").advance(id_)
    found = await job(sessions, id_)
    assert (found.status, found.crashes, found.lease_epoch) == ("completed", 0, 2)


async def waiting(sessions: Sessions) -> list[UUID]:
    async with unit_of_work(sessions) as session:
        return list(await waiting_jobs(session))


async def abandoned(sessions: Sessions, id_: UUID) -> None:
    """A worker claimed it and died: nothing was released."""
    started = asyncio.Event()

    async def handler(_: dict[str, Any], __: Progress) -> dict[str, Any]:
        started.set()
        await asyncio.sleep(60)
        return {}

    task = asyncio.create_task(runner(sessions, handler, "dead").advance(id_))
    await started.wait()
    before = await job(sessions, id_)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await execute(
        sessions,
        "UPDATE job SET lease_owner = 'dead', lease_epoch = :epoch, lease_expires_at = now() - interval '1 second'"
        " WHERE id = :id",
        id=id_,
        epoch=before.lease_epoch,
    )


async def test_crashed_job_is_found_and_goes_on_where_it_was(sessions: Sessions) -> None:
    id_ = await new_job(sessions, to=5)
    await abandoned(sessions, id_)
    assert await waiting(sessions) == [id_]
    await runner(sessions, count, "w2").advance(id_)
    found = await job(sessions, id_)
    assert (found.status, found.crashes, found.report) == ("completed", 1, {"counted": 5})


async def test_job_that_kills_its_worker_every_time_is_given_up(sessions: Sessions) -> None:
    id_ = await new_job(sessions, to=1)
    for _ in range(MAX_CRASHES):
        assert not await has_status(sessions, id_, "failed")
        await abandoned(sessions, id_)
    await runner(sessions, failing(AssertionError())).advance(id_)
    found = await job(sessions, id_)
    assert (found.status, (found.error or {})["code"]) == ("failed", "crash_loop")
    assert str(MAX_CRASHES) in (found.error or {})["message"]


async def test_worker_that_lost_its_lease_stops_and_writes_nothing(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    stopped = asyncio.Event()

    async def stale(_: dict[str, Any], progress: Progress) -> dict[str, Any]:
        await expire(sessions, id_)
        await runner(sessions, count_to(2), "w2").advance(id_)
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return {"by": "stale"}

    with capture_logs() as logs:
        await runner(sessions, stale, "w1", 1.0).advance(id_)
    assert stopped.is_set()
    found = await job(sessions, id_)
    assert (found.status, found.report, found.lease_epoch) == ("completed", {"counted": 2}, 2)
    assert "worker.job_fenced" in [line["event"] for line in logs]


def count_to(number: int) -> JobHandler:
    async def handler(_: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return await count({"to": number}, progress)

    return handler


@pytest.mark.parametrize("ends", ["report", "error", "progress"])
async def test_stale_end_progress_or_failure_is_refused(sessions: Sessions, ends: str) -> None:
    id_ = await new_job(sessions)

    async def stale(_: dict[str, Any], progress: Progress) -> dict[str, Any]:
        await expire(sessions, id_)
        await runner(sessions, count_to(2), "w2").advance(id_)
        if ends == "error":
            raise KeyError("x")
        if ends == "progress":
            await progress(99, 99)
        return {"by": "stale"}

    await runner(sessions, stale).advance(id_)
    found = await job(sessions, id_)
    assert (found.status, found.report, found.done, found.error) == ("completed", {"counted": 2}, 2, None)


async def test_short_outage_does_not_fail_the_job_or_count_as_a_crash(database: URL, sessions: Sessions) -> None:
    """A statement of the handler fails: the job is let go when the server is back, and goes on."""
    id_ = await new_job(sessions)
    async with proxied(database) as (proxy, url), sessions_on(url) as far:

        async def handler(_: dict[str, Any], progress: Progress) -> dict[str, Any]:
            await progress(1, 2)
            await proxy.refuse()
            asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(proxy.accept()))
            await progress(2, 2)
            return {}

        await runner(far, handler, lease_seconds=30).advance(id_)
    found = await job(sessions, id_)
    assert (found.status, found.lease_owner, found.error) == ("running", None, None)
    await runner(sessions, count_to(2), "w2").advance(id_)
    found = await job(sessions, id_)
    assert (found.status, found.crashes) == ("completed", 0)


async def test_killed_connection_costs_the_job_nothing_but_a_restart(
    database: URL, sessions: Sessions, cluster: Cluster
) -> None:
    id_ = await new_job(sessions, to=300)
    async with sessions_on(database, name="atom-dying") as dying:
        bell, stop = ProcrastinateDoorbell(libpq(database), 2.0), asyncio.Event()
        sweep = Sweep(dying, bell, {Topic.JOB: waiting_jobs}, 0.1)
        handlers = {Topic.JOB: runner(dying, count, lease_seconds=2.0).advance}
        tasks = [
            asyncio.create_task(bell.work(handlers, {Topic.JOB: 1}, stop)),
            asyncio.create_task(sweep.run(stop)),
        ]
        for _ in range(5):
            await asyncio.sleep(0.1)
            for name in ("atom-dying", "atom-queue"):
                await asyncio.to_thread(terminate, cluster, database, name)
        await eventually(lambda: has_status(sessions, id_, "completed"), 30)
        stop.set()
        await asyncio.gather(*tasks)
    found = await job(sessions, id_)
    assert (found.report, found.crashes) == ({"counted": 300}, 0)
    await eventually(lambda: emptied(sessions))


async def emptied(sessions: Sessions) -> bool:
    query = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'"
    return await rows(sessions, query) == [(0,)]


async def test_pages_are_newest_first_and_bounded(sessions: Sessions) -> None:
    ids = [await new_job(sessions, to=1) for _ in range(5)]
    service = JobService(Bell())
    async with unit_of_work(sessions) as session:
        first = await service.page(session, before=None, limit=2)
        rest = await service.page(session, before=first[-1].id, limit=10)
    assert [one.id for one in [*first, *rest]] == ids[::-1]
