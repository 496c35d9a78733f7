"""When work on memory is due, and what is told of its last success."""

from datetime import timedelta

from atom.infra.db import Sessions, unit_of_work
from atom.memory import job_runs
from atom.memory.job_runs import RunOutcome
from tests.support.databases import execute

DAY = timedelta(days=1)


async def _due(sessions: Sessions, kind: str = "archive") -> bool:
    async with unit_of_work(sessions) as session:
        return await job_runs.due(session, kind, DAY)


async def _run(sessions: Sessions, outcome: RunOutcome | None, *, whole: bool = True, hours_ago: float = 0) -> None:
    async with unit_of_work(sessions) as session:
        id_ = await job_runs.record_started(session, "archive", whole=whole)
        if outcome is not None:
            await job_runs.record_finished(session, id_, outcome, {"episodes": 3})
    back = """UPDATE memory_job_run SET started_at = started_at - make_interval(secs => :seconds),
        finished_at = finished_at - make_interval(secs => :seconds) WHERE id = :id"""
    await execute(sessions, back, id=id_, seconds=3600 * hours_ago)


async def test_work_that_never_ran_is_due_and_each_kind_by_itself(sessions: Sessions) -> None:
    assert await _due(sessions)
    await _run(sessions, RunOutcome.DONE)
    assert not await _due(sessions)
    assert await _due(sessions, "consolidate")


async def test_a_success_makes_it_due_again_after_the_interval(sessions: Sessions) -> None:
    await _run(sessions, RunOutcome.DONE, hours_ago=23)
    assert not await _due(sessions)
    await execute(sessions, "UPDATE memory_job_run SET finished_at = finished_at - interval '2 hours'")
    assert await _due(sessions)


async def test_what_failed_or_was_never_ended_is_tried_again_within_hours(sessions: Sessions) -> None:
    await _run(sessions, RunOutcome.FAILED)
    await _run(sessions, None)
    assert not await _due(sessions)
    await execute(sessions, "UPDATE memory_job_run SET started_at = started_at - interval '61 minutes'")
    assert await _due(sessions)


async def test_a_run_of_one_agent_is_no_success_of_the_whole(sessions: Sessions) -> None:
    await _run(sessions, RunOutcome.DONE, whole=False)
    assert await _due(sessions)
    async with unit_of_work(sessions) as session:
        assert await job_runs.last_success(session, "archive") is None


async def test_a_job_that_goes_on_after_a_crash_goes_on_with_its_report(sessions: Sessions) -> None:
    async with unit_of_work(sessions) as session:
        id_ = await job_runs.record_started(session, "archive")
        await job_runs.record_report(session, id_, {"episodes": 2})
    async with unit_of_work(sessions) as session:
        assert await job_runs.record_started(session, "archive", id_=id_) == id_
        assert await job_runs.report_of(session, id_) == {"episodes": 2}
        await job_runs.record_finished(session, id_, RunOutcome.DONE)
    async with unit_of_work(sessions) as session:
        assert await job_runs.last_success(session, "archive") is not None
        assert await job_runs.report_of(session, id_) == {"episodes": 2}
