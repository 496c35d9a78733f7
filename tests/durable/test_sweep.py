"""Whatever waits without a live worker is rung for again, by one process at a time, through any outage."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.jobs import waiting_jobs
from atom.durable.ports import Topic
from atom.durable.sweep import TIDY_EVERY, Sweep
from atom.infra.db import Sessions
from tests.support.databases import execute, sessions_on
from tests.support.jobs import Bell, expire, new_job
from tests.support.polling import eventually
from tests.support.proxy import proxied


def sweep(sessions: Sessions, bell: Bell, seconds: float = 0.05) -> Sweep:
    return Sweep(sessions, bell, {Topic.JOB: waiting_jobs}, seconds)


async def hold(sessions: Sessions, id_: UUID) -> None:
    await execute(
        sessions,
        "UPDATE job SET status = 'running', lease_owner = 'w', lease_expires_at = now() + interval '1 minute'"
        " WHERE id = :id",
        id=id_,
    )


async def test_forgotten_abandoned_and_released_rows_are_rung_others_not(sessions: Sessions) -> None:
    forgotten, held, abandoned, ended = [await new_job(sessions) for _ in range(4)]
    await hold(sessions, held)
    await hold(sessions, abandoned)
    await expire(sessions, abandoned)
    await execute(sessions, "UPDATE job SET status = 'completed', ended_at = now() WHERE id = :id", id=ended)
    bell = Bell()
    assert await sweep(sessions, bell).once() == 2
    assert bell.rung == [(Topic.JOB, forgotten), (Topic.JOB, abandoned)]


async def test_one_process_sweeps_at_a_time(database: URL) -> None:
    async with sessions_on(database) as one, sessions_on(database) as two:
        await new_job(one)
        inside, leave = asyncio.Event(), asyncio.Event()

        async def slow(session: AsyncSession) -> Sequence[UUID]:
            inside.set()
            await leave.wait()
            return await waiting_jobs(session)

        first = asyncio.create_task(Sweep(one, Bell(), {Topic.JOB: slow}, 1).once())
        await inside.wait()
        assert await sweep(two, Bell()).once() == 0
        leave.set()
        assert await first == 1
        assert await sweep(two, Bell()).once() == 1


async def test_sweeper_stopped_inside_its_sweep_does_not_keep_the_others_from_theirs(database: URL) -> None:
    async with sessions_on(database) as one, sessions_on(database) as two:
        await new_job(one)
        inside, forever = asyncio.Event(), asyncio.Event()

        async def stopped(_: AsyncSession) -> Sequence[UUID]:
            inside.set()
            await forever.wait()
            return []

        frozen = asyncio.create_task(Sweep(one, Bell(), {Topic.JOB: stopped}, 1).once())
        await inside.wait()
        bell, other = Bell(), asyncio.Event()
        task = asyncio.create_task(sweep(two, bell).run(other))
        assert await eventually(lambda: bell.rung, seconds=8)  # less than what a transaction may be idle otherwise
        other.set()
        forever.set()
        await task
        await asyncio.gather(frozen, return_exceptions=True)


async def test_dead_sweeper_leaves_the_place_to_the_next(sessions: Sessions) -> None:
    await new_job(sessions)

    async def dies(_: AsyncSession) -> Sequence[UUID]:
        raise asyncio.CancelledError

    broken = asyncio.create_task(Sweep(sessions, Bell(), {Topic.JOB: dies}, 1).once())
    await asyncio.gather(broken, return_exceptions=True)
    assert broken.cancelled()
    assert await sweep(sessions, Bell()).once() == 1


async def test_sweeping_goes_on_after_an_outage_tidies_and_ends_promptly(database: URL) -> None:
    async with proxied(database) as (proxy, url), sessions_on(url) as far, sessions_on(database) as near:
        bell, stop = Bell(), asyncio.Event()
        task = asyncio.create_task(sweep(far, bell).run(stop))
        first = await new_job(near)
        await eventually(lambda: (Topic.JOB, first) in bell.rung)
        assert bell.tidied == 1
        await proxy.refuse()
        second = await new_job(near)
        await asyncio.sleep(0.2)
        assert (Topic.JOB, second) not in bell.rung
        await proxy.accept()
        await eventually(lambda: (Topic.JOB, second) in bell.rung, 5)
        began = time.monotonic()
        stop.set()
        await task
        assert time.monotonic() - began < 10
        assert bell.tidied <= 1 + len(bell.rung) // TIDY_EVERY + 1
