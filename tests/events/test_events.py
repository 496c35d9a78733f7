"""An event exists when its change does, gets one number, and never appears below a number already served."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.events import store
from atom.events.models import Event, EventType
from atom.events.sequencer import BATCH, Sequencer
from atom.events.service import EventReader, Outbox, Signal
from atom.infra.db import Sessions, unit_of_work
from atom.infra.db_faults import DatabaseUnavailableError
from atom.kit.ids import new_id
from tests.support.databases import rows, sessions_on
from tests.support.polling import eventually
from tests.support.proxy import proxied

Emit = Callable[..., Any]


@asynccontextmanager
async def running(*sequencers: Sequencer) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(sequencer.run(stop)) for sequencer in sequencers]
    yield
    stop.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks)


def sequencer(sessions: Sessions, written: Signal | None = None, stamped: Signal | None = None) -> Sequencer:
    return Sequencer(sessions, written or Signal(), stamped or Signal())


async def emit(sessions: Sessions, number: int, outbox: Outbox | None = None, run_id: UUID | None = None) -> None:
    async with unit_of_work(sessions) as session:
        await (outbox or Outbox(Signal())).emit(
            session, EventType.RUN_QUEUED, actor="test", data={"n": number}, run_id=run_id
        )


async def stamp_all(sessions: Sessions) -> int:
    total = 0
    while count := await sequencer(sessions).step():
        total += count
    return total


def numbers(events: list[Event]) -> list[int]:
    return [event.data["n"] for event in events]


async def test_event_of_undone_work_never_exists_and_wakes_nobody(sessions: Sessions) -> None:
    written = Signal()
    waiter = written.listen()

    async def undone() -> None:
        async with unit_of_work(sessions) as session:
            await Outbox(written).emit(session, EventType.RUN_QUEUED, actor="test", data={"n": 1})
            raise LookupError

    with pytest.raises(LookupError):
        await undone()
    assert not waiter.is_set()
    assert await stamp_all(sessions) == 0
    assert await rows(sessions, "SELECT count(*) FROM event") == [(0,)]


async def test_event_wakes_the_sequencer_only_once_it_is_durable(sessions: Sessions) -> None:
    written = Signal()
    waiter = written.listen()
    async with unit_of_work(sessions) as session:
        await Outbox(written).emit(session, EventType.RUN_QUEUED, actor="test", data={"n": 1})
        assert not waiter.is_set()
    assert waiter.is_set()
    assert await stamp_all(sessions) == 1


async def test_sequencer_stopped_inside_its_step_does_not_keep_the_others_from_theirs(sessions: Sessions) -> None:
    await emit(sessions, 1)
    with suppress(DatabaseUnavailableError):  # its transaction was ended by the server
        async with unit_of_work(sessions) as stopped:
            assert await store.stamp(stopped, 10) == 1
            await eventually(lambda: stamp_all(sessions), seconds=8)


async def test_unstamped_event_is_not_shown(sessions: Sessions) -> None:
    reader = EventReader(sessions)
    await emit(sessions, 1)
    assert await reader.after(0, limit=10) == []
    assert await reader.last_seq() == 0
    await stamp_all(sessions)
    [event] = await reader.after(0, limit=10)
    assert event.seq == await reader.last_seq() > 0


async def test_envelope_has_the_documented_fields(sessions: Sessions) -> None:
    run_id = new_id()
    await emit(sessions, 7, run_id=run_id)
    await stamp_all(sessions)
    [event] = await EventReader(sessions).after(0, limit=1)
    shown = event.envelope()
    assert shown == {
        "seq": event.seq, "id": str(event.id), "type": "run.queued", "at": shown["at"], "actor": "test",
        "agent_id": None, "run_id": str(run_id), "data": {"n": 7}, "v": 1,
    }  # fmt: skip
    at = datetime.fromisoformat(shown["at"].replace("Z", "+00:00"))
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60


async def test_reading_goes_on_after_the_cursor_by_run_and_limit(sessions: Sessions) -> None:
    mine, reader = new_id(), EventReader(sessions)
    for number in range(6):
        await emit(sessions, number, run_id=mine if number % 2 else None)
    await stamp_all(sessions)
    first = await reader.after(0, limit=4)
    assert numbers(first) == [0, 1, 2, 3]
    assert numbers(await reader.after(first[-1].seq, limit=4)) == [4, 5]
    assert numbers(await reader.after(0, limit=10, run_id=mine)) == [1, 3, 5]
    assert await reader.first_seq_of(mine, ["run.queued"]) == first[1].seq
    assert await reader.first_seq_of(mine, ["run.failed"]) is None


@pytest.mark.parametrize("seq", [2**31, 2**40, 2**62])
async def test_cursor_beyond_four_bytes_is_a_number_like_any_other(sessions: Sessions, seq: int) -> None:
    assert await EventReader(sessions).after(seq, limit=10) == []
    async with unit_of_work(sessions) as session:
        await session.execute(text("SELECT setval('event_seq', :n)"), {"n": seq})
    await emit(sessions, 1)
    await stamp_all(sessions)
    assert [event.seq for event in await EventReader(sessions).after(seq, limit=10)] == [seq + 1]


async def test_events_of_one_transaction_keep_their_order(sessions: Sessions) -> None:
    async with unit_of_work(sessions) as session:
        for number in range(200):
            await Outbox(Signal()).emit(session, EventType.MODEL_REPLIED, actor="test", data={"n": number})
    await stamp_all(sessions)
    assert numbers(await EventReader(sessions).after(0, limit=500)) == list(range(200))


async def test_each_event_is_stamped_once_by_many_sequencers_at_once(sessions: Sessions) -> None:
    for number in range(60):
        await emit(sessions, number)
    counts = await asyncio.gather(*(sequencer(sessions).step() for _ in range(30)))
    assert sum(counts) + await stamp_all(sessions) == 60
    assert await rows(sessions, "SELECT count(*), count(DISTINCT seq), count(seq) FROM event") == [(60, 60, 60)]


async def test_full_batch_is_followed_by_the_next_without_waiting(sessions: Sessions) -> None:
    many = "INSERT INTO event (id, type, actor, data, v) SELECT gen_random_uuid(), 't', 'a', '{}', 1"
    async with unit_of_work(sessions) as session:
        await session.execute(text(f"{many} FROM generate_series(1, {2 * BATCH + 5})"))
    assert await sequencer(sessions).step() == BATCH
    async with running(sequencer(sessions)):
        await eventually(lambda: nothing_unstamped(sessions), 5)


async def nothing_unstamped(sessions: Sessions) -> bool:
    return await rows(sessions, "SELECT count(*) FROM event WHERE seq IS NULL") == [(0,)]


async def late_writer(sessions: Sessions, chance: random.Random, numbers: range) -> None:
    """Writes, waits, and only then commits: its rows are older than others that are stamped long before."""
    for number in numbers:
        async with unit_of_work(sessions) as session:
            await Outbox(Signal()).emit(session, EventType.RUN_QUEUED, actor="test", data={"n": number})
            await hold(session, chance.random() * 0.03)


async def hold(session: AsyncSession, seconds: float) -> None:
    await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})


@pytest.mark.parametrize("seed", [1, 2])
async def test_row_never_appears_below_a_number_already_served(database: URL, seed: int) -> None:
    """Six writers that commit late, two sequencers of two processes, and a reader that never looks back."""
    chance = random.Random(seed)
    async with sessions_on(database, pool=8) as one, sessions_on(database, pool=8) as two:
        reader = EventReader(one)
        writing = [
            asyncio.create_task(late_writer(one if k % 2 else two, chance, range(k * 25, k * 25 + 25)))
            for k in range(6)
        ]
        seen: list[Event] = []
        cursor = 0
        async with running(sequencer(one, stamped=Signal()), sequencer(two)):
            async with asyncio.timeout(30):
                while len(seen) < 150:
                    fresh = await reader.after(cursor, limit=chance.randint(1, 20))
                    seen += fresh
                    cursor = fresh[-1].seq if fresh else cursor
                    await asyncio.sleep(0.001)
        await asyncio.gather(*writing)
        assert sorted(numbers(seen)) == list(range(150))
        assert [event.seq for event in seen] == sorted({event.seq for event in seen})
        everything = await reader.after(0, limit=500)
        assert [event.id for event in everything] == [event.id for event in seen]


async def test_stamping_wakes_this_process_and_tells_the_others(database: URL) -> None:
    async with sessions_on(database) as sessions:
        written, stamped = Signal(), Signal()
        waiter = stamped.listen()
        async with running(Sequencer(sessions, written, stamped)):
            await emit(sessions, 1, Outbox(written))
            assert await asyncio.wait_for(waiter.wait(), 2)


async def test_sequencer_goes_on_after_an_outage(database: URL) -> None:
    async with (
        proxied(database) as (proxy, url),
        sessions_on(url) as far,
        sessions_on(database) as near,
        running(sequencer(far)),
    ):
        await emit(near, 1)
        await eventually(lambda: nothing_unstamped(near))
        await proxy.refuse()
        await emit(near, 2)
        await asyncio.sleep(0.6)  # several turns of it against a closed door
        assert not await nothing_unstamped(near)
        await proxy.accept()
        await eventually(lambda: nothing_unstamped(near), 5)


async def test_sequencer_ends_promptly_also_during_an_outage(database: URL) -> None:
    async with proxied(database) as (proxy, url), sessions_on(url) as far:
        await proxy.refuse()
        began = asyncio.get_running_loop().time()
        async with running(sequencer(far)):
            await asyncio.sleep(0.1)
        assert asyncio.get_running_loop().time() - began < 2


def test_signal_wakes_whoever_listens_and_forgets_who_left() -> None:
    signal = Signal()
    one, two = signal.listen(), signal.listen()
    signal.forget(two)
    signal.set()
    assert one.is_set()
    assert not two.is_set()
    signal.forget(two)
