"""A worker works as long as its lease lives, and not a moment longer."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from atom.durable.heartbeat import Heartbeat
from atom.durable.lease import FencedError
from atom.infra.db import DatabaseUnavailableError

Renew = Callable[[], Awaitable[None]]


def renewing(*results: BaseException | None) -> tuple[Renew, list[float]]:
    """A renewal with these results, the last one for ever, and when it was asked."""
    asked: list[float] = []

    async def renew() -> None:
        asked.append(time.monotonic())
        await asyncio.sleep(0.01)  # a database takes a moment
        result = results[min(len(asked), len(results)) - 1]
        if result is not None:
            raise result

    return renew, asked


async def under(heart: Heartbeat, seconds: float = 5.0) -> float:
    """Works under it. Returns for how long."""
    began = time.monotonic()
    try:
        async with heart:
            await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        assert heart.lost
    return time.monotonic() - began


async def test_lease_is_renewed_several_times_within_its_length() -> None:
    renew, asked = renewing(None)
    heart = Heartbeat(renew, 0.8)
    assert await under(heart, 0.9) >= 0.9
    assert not heart.lost
    assert len(asked) >= 3
    assert max(later - earlier for earlier, later in itertools.pairwise(asked)) < 0.8


async def test_nothing_is_renewed_after_the_work() -> None:
    renew, asked = renewing(None)
    await under(Heartbeat(renew, 0.04), 0.05)
    count = len(asked)
    await asyncio.sleep(0.1)
    assert len(asked) == count


async def test_work_is_cancelled_when_the_lease_is_lost() -> None:
    renew, _ = renewing(None, None, FencedError("taken over"))
    heart = Heartbeat(renew, 0.2)
    assert await under(heart) < 3.0
    assert heart.lost
    assert isinstance(heart.reason, FencedError)


async def test_short_outage_is_survived() -> None:
    away = DatabaseUnavailableError("away")
    renew, asked = renewing(None, away, away, None)
    heart = Heartbeat(renew, 0.8)
    await under(heart, 1.2)
    assert not heart.lost
    assert len(asked) >= 4


async def test_outage_as_long_as_the_lease_ends_the_work() -> None:
    renew, _ = renewing(DatabaseUnavailableError("away"))
    heart = Heartbeat(renew, 0.3)
    worked = await under(heart)
    assert heart.lost
    assert 0.2 < worked < 3.0


async def test_renewal_that_hangs_ends_the_work_with_the_lease() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    heart = Heartbeat(hang, 0.3)
    worked = await under(heart)
    assert heart.lost
    assert worked < 3.0


async def test_renewal_whose_undoing_takes_long_does_not_hold_the_work_either() -> None:
    """A rollback on a dead connection has bounds of its own, longer than a lease."""
    answers, undone = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await answers.wait()
            undone.set()

    assert await under(Heartbeat(stubborn, 0.2)) < 3.0
    assert not undone.is_set()
    answers.set()
    async with asyncio.timeout(5):
        await undone.wait()


async def test_bug_in_the_renewal_ends_the_work_and_is_told() -> None:
    renew, _ = renewing(LookupError("a bug"))
    heart = Heartbeat(renew, 0.1)
    with capture_logs() as logs:
        assert await under(heart) < 3.0
    assert heart.lost
    assert [line["event"] for line in logs] == ["worker.heartbeat_failed"]


async def test_cancel_from_outside_is_no_loss() -> None:
    renew, _ = renewing(None)
    heart = Heartbeat(renew, 1.0)

    async def work() -> None:
        async with heart:
            await asyncio.sleep(5)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not heart.lost


async def test_error_of_the_work_passes_through() -> None:
    renew, _ = renewing(None)

    async def work() -> None:
        async with Heartbeat(renew, 1.0):
            raise LookupError

    with pytest.raises(LookupError):
        await work()


async def watched(heart: Heartbeat) -> None:
    """Work that ends in the very turn of the loop in which the lease is found lost."""
    try:
        async with heart:
            assert heart._task is not None
            while not heart._task.done():
                await asyncio.sleep(0)
    except asyncio.CancelledError:
        assert heart.lost


@pytest.mark.parametrize("work", [watched, under])
async def test_loss_at_the_moment_the_work_ends_never_cancels_what_comes_after(
    work: Callable[[Heartbeat], Awaitable[object]],
) -> None:
    for _ in range(20):
        renew, _ = renewing(FencedError("taken over"))
        await work(Heartbeat(renew, 0.04))
        await asyncio.sleep(0.001)  # would be cancelled here
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
