"""At any time at most one worker may write to a row, and one that was away too long never does."""

import asyncio
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import ColumnElement, true
from sqlalchemy.sql import false

from atom.durable import lease
from atom.durable.lease import FencedError, fenced_counter
from atom.durable.models import Job
from atom.infra.db import Sessions, unit_of_work
from tests.support.jobs import expire, job, new_job


async def claim(
    sessions: Sessions, id_: UUID, owner: str = "a", *, seconds: float = 60, also: ColumnElement[bool] | None = None
) -> int | None:
    async with unit_of_work(sessions) as session:
        wanted = true() if also is None else also
        return await lease.claim(session, Job, id_, owner=owner, seconds=seconds, also=wanted)


async def write(sessions: Sessions, id_: UUID, epoch: int, *, done: int = 0, seconds: float | None = 60) -> None:
    async with unit_of_work(sessions) as session:
        await lease.write(session, Job, id_, epoch=epoch, seconds=seconds, values={"done": done})


async def test_fifty_claimers_at_once_one_wins(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    epochs = await asyncio.gather(*(claim(sessions, id_, f"w{number}") for number in range(50)))
    assert [epoch for epoch in epochs if epoch is not None] == [1]
    found = await job(sessions, id_)
    assert found.lease_owner == f"w{epochs.index(1)}"
    assert (found.lease_epoch, found.crashes) == (1, 0)


async def test_held_row_is_not_to_be_had_until_it_is_let_go(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    assert await claim(sessions, id_, "a") == 1
    assert await claim(sessions, id_, "b") is None
    assert await claim(sessions, id_, "a") is None
    await write(sessions, id_, 1, seconds=None)
    assert await claim(sessions, id_, "b") == 2
    assert (await job(sessions, id_)).crashes == 0


async def test_row_that_is_not_wanted_is_not_claimed(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    assert await claim(sessions, id_, also=false()) is None
    assert (await job(sessions, id_)).lease_epoch == 0


async def test_lease_that_ran_out_is_taken_over_and_counted_as_a_crash(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    for crash in range(3):
        assert await claim(sessions, id_, f"w{crash}") == crash + 1
        assert (await job(sessions, id_)).crashes == crash
        await expire(sessions, id_)


async def test_stale_owner_writes_nothing(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    assert await claim(sessions, id_, "a") == 1
    await expire(sessions, id_)
    assert await claim(sessions, id_, "b") == 2
    for seconds in (60, None):
        with pytest.raises(FencedError):
            await write(sessions, id_, 1, done=99, seconds=seconds)
    found = await job(sessions, id_)
    assert (found.done, found.lease_owner, found.lease_epoch) == (0, "b", 2)
    await write(sessions, id_, 2, done=5)
    assert (await job(sessions, id_)).done == 5


async def test_late_owner_may_go_on_while_nobody_took_over(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    assert await claim(sessions, id_, "a") == 1
    await expire(sessions, id_)
    await write(sessions, id_, 1, done=1)
    assert await claim(sessions, id_, "b") is None


async def test_who_let_go_writes_nothing_more(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    assert await claim(sessions, id_, "a") == 1
    await write(sessions, id_, 1, seconds=None)
    with pytest.raises(FencedError):
        await write(sessions, id_, 1, done=99)


async def test_fenced_write_undoes_what_stood_in_its_transaction(sessions: Sessions) -> None:
    id_, other = await new_job(sessions), await new_job(sessions)
    assert await claim(sessions, id_, "a") == 1
    assert await claim(sessions, other, "a") == 1

    async def both() -> None:
        async with unit_of_work(sessions) as session:
            await lease.write(session, Job, other, epoch=1, seconds=60, values={"done": 7})
            await lease.write(session, Job, id_, epoch=9, seconds=60, values={"done": 7})

    with pytest.raises(FencedError):
        await both()
    assert (await job(sessions, other)).done == 0


async def test_takeover_race_after_expiry_has_one_winner_and_one_epoch(sessions: Sessions) -> None:
    id_ = await new_job(sessions)
    for round_ in range(1, 8):
        epochs = await asyncio.gather(*(claim(sessions, id_, f"w{number}") for number in range(10)))
        assert [epoch for epoch in epochs if epoch is not None] == [round_]
        await expire(sessions, id_)


def test_fenced_writes_are_counted_by_the_contract_name() -> None:
    registry = CollectorRegistry()
    fenced_counter(registry).inc()
    assert registry.get_sample_value("atom_fenced_writes_total") == 1
