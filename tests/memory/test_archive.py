"""Bodies go to the cold store and come back to the character; nothing that finds them moves; nothing is ever lost."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from atom.durable.lease import FencedError
from atom.infra.db import unit_of_work
from atom.kit.clock import SystemClock
from atom.kit.ids import new_id
from atom.memory.adapters.cold_objects import open_cold_store
from atom.memory.archive import MAX_SEGMENTS, cut
from atom.memory.archive_store import Due, Planned
from atom.memory.cold_turn import LEASE, my_turn
from atom.memory.errors import (
    ArchiveBusyError,
    ColdObjectMissingError,
    ColdStoreCorruptError,
    ColdStoreUnavailableError,
)
from atom.memory.layer import build_memory
from atom.memory.tiers import to_warm
from tests.memory.cold_bench import FINDING, archive, check, paths, restore, texts, tidy, whole
from tests.memory.conftest import AGENTS, Bench
from tests.memory.test_cold_store import s3_settings

TALE = ("Ann: The backup of the shop is on host cobalt.", 'Bob: Naïve, ümlaut, 漢字, 🦉 and "quotes".', "Ann: ")


async def _filled(memory: Bench) -> None:
    other = await memory.agent("other")
    for number in range(6):
        await memory.remember(*TALE, f"Ann: This is number {number}.", agent_id=other if number % 2 else None)
    await memory.embed()
    ids = [id_ for (id_,) in await memory.rows("SELECT id FROM episode ORDER BY id LIMIT 2")]
    async with unit_of_work(memory.sessions) as session:
        await to_warm(session, ids)


async def test_archive_and_restore_keep_every_character_and_all_that_finds_it(memory: Bench) -> None:
    await _filled(memory)
    before, finding = await whole(memory), await memory.rows(FINDING)
    report = await archive(memory)
    assert (report.episodes, report.segments, report.objects, report.failed) == (6, 24, 2, {})
    assert report.bytes_freed == report.bytes_before > 0
    assert report.bytes_after == sum(len(one) for one in memory.cold.objects.values()) - 2 * len(b"atom cold 1\n")
    assert await memory.rows("SELECT DISTINCT storage_tier FROM episode") == [("cold",)]
    assert await memory.rows("SELECT DISTINCT text FROM episode_segment") == [("",)]
    assert await memory.rows("SELECT count(*) FROM episode_body") == [(0,)]
    assert sorted(memory.cold.objects) == await paths(memory)
    assert (await whole(memory), await memory.rows(FINDING)) == (before, finding)
    await check(memory)
    back = await restore(memory)
    assert (back.episodes, back.segments, back.left, back.bytes_before) == (6, 24, 0, report.bytes_after)
    assert await memory.rows("SELECT DISTINCT storage_tier FROM episode") == [("hot",)]
    assert (await whole(memory), await memory.rows(FINDING)) == (before, finding)
    await check(memory)
    await tidy(memory)
    assert memory.cold.objects == {}
    assert await memory.rows("SELECT count(*) FROM cold_object") == [(0,)]


async def test_no_word_of_it_can_be_read_in_the_cold_store(memory: Bench) -> None:
    await memory.remember("Ann: cobalt " * 50)
    await archive(memory)
    assert not any(b"cobalt" in content for content in memory.cold.objects.values())


async def test_only_what_is_due_moves_and_the_weakest_first(memory: Bench) -> None:
    now = datetime.now(UTC)
    old = await memory.remember("Ann: Old.", at=now - timedelta(days=100))
    recalled = await memory.remember("Ann: Old, and wanted.", at=now - timedelta(days=100))
    young = await memory.remember("Ann: Young.", at=now - timedelta(days=2))
    other = await memory.remember(
        "Ann: Of another.", at=now - timedelta(days=100), agent_id=await memory.agent("other")
    )
    await memory.execute("UPDATE episode SET last_access_at = now() WHERE id = :id", id=recalled.id)
    due = Due(before=now - timedelta(days=90), settled=now - timedelta(days=90))
    assert (await archive(memory, due)).episodes == 0, "they were written just now"
    await memory.execute("UPDATE episode SET tier_changed_at = now() - interval '91 days'")
    await archive(memory, Due(memory.agent_id, before=now - timedelta(days=90)))
    tiers = dict(await memory.rows("SELECT id, storage_tier FROM episode"))
    assert tiers == {old.id: "cold", recalled.id: "hot", young.id: "hot", other.id: "hot"}
    assert (await archive(memory, due)).episodes == 1
    assert (await archive(memory)).episodes == 2


def test_a_batch_is_of_one_agent_and_bounded() -> None:
    one, two = new_id(), new_id()
    planned = [Planned(new_id(), one if number % 3 else two, 40, 3) for number in range(50)]
    batches = cut(planned, 100)
    assert sorted(str(p.id) for batch in batches for p in batch) == sorted(str(p.id) for p in planned)
    assert all(len({p.agent_id for p in batch}) == 1 and sum(p.bytes for p in batch) <= 100 for batch in batches)
    huge = [Planned(new_id(), one, 1, MAX_SEGMENTS + 5), Planned(new_id(), one, 500, 1)]
    assert cut(huge, 100) == [[huge[0]], [huge[1]]], "what is too large for a batch is one by itself"


async def test_a_restore_is_of_those_that_are_asked_for(memory: Bench) -> None:
    one, two = await memory.remember(*TALE), await memory.remember(*TALE)
    await archive(memory)
    assert (await restore(memory, one.id)).episodes == 1
    assert await texts(memory, one.id) == await texts(memory, two.id)
    assert dict(await memory.rows("SELECT id, storage_tier FROM episode")) == {one.id: "hot", two.id: "cold"}
    assert (await restore(memory, one.id, new_id())).episodes == 0
    assert (await restore(memory, agent_id=await memory.agent("other"))).episodes == 0


async def test_a_restore_brings_warm_ones_back_as_well(memory: Bench) -> None:
    await _filled(memory)
    before = await whole(memory)
    report = await restore(memory)
    assert (report.episodes, report.left, report.failed) == (2, 0, {})
    assert await whole(memory) == before
    await check(memory)


@pytest.mark.parametrize(("fault", "error"), [("full", ColdStoreUnavailableError), ("away", ColdStoreUnavailableError)])
async def test_a_store_that_takes_nothing_moves_nothing(memory: Bench, fault: str, error: type[Exception]) -> None:
    await _filled(memory)
    before = await whole(memory)
    setattr(memory.cold, fault, True)
    with pytest.raises(error, match="memory://cold"):
        await archive(memory)
    assert await memory.rows("SELECT count(*) FROM episode WHERE storage_tier = 'cold'") == [(0,)]
    assert await whole(memory) == before
    setattr(memory.cold, fault, False)
    assert (await archive(memory)).episodes == 6
    assert await whole(memory) == before
    await tidy(memory)
    assert sorted(memory.cold.objects) == await paths(memory)


@pytest.mark.parametrize("fault", ["garbles", "loses"])
async def test_what_cannot_be_read_back_moves_nothing(memory: Bench, fault: str) -> None:
    await _filled(memory)
    before = await whole(memory)
    setattr(memory.cold, fault, True)
    with pytest.raises(Exception, match="memory://cold") as told:
        await archive(memory)
    assert fault == "loses" or isinstance(told.value, ColdStoreCorruptError)
    setattr(memory.cold, fault, False)
    assert await memory.rows("SELECT count(*) FROM episode WHERE storage_tier = 'cold'") == [(0,)]
    assert await whole(memory) == before
    await tidy(memory)
    assert memory.cold.objects == {}, "the object that was not what it should be is deleted"


async def test_a_damaged_warm_body_holds_up_no_other(memory: Bench) -> None:
    await _filled(memory)
    damage = "UPDATE episode_body SET sha256 = '\\x00' WHERE episode_id = (SELECT min(id::text)::uuid FROM episode)"
    await memory.execute(damage)
    report = await archive(memory)
    assert (report.episodes, list(report.failed.values())) == (5, ["episode_body_corrupt"])


async def test_a_body_that_the_store_lost_stays_cold_is_told_and_holds_up_no_other(memory: Bench) -> None:
    await _filled(memory)
    await archive(memory)
    lost = min(memory.cold.objects)
    content = memory.cold.objects.pop(lost)
    report = await restore(memory)
    assert (report.episodes, report.left) == (3, 3)
    assert set(report.failed.values()) == {"cold_object_missing"}
    memory.cold.objects[lost] = content[:-9] + b"x" + content[-8:]
    report = await restore(memory)
    assert (report.episodes, report.left, list(report.failed.values())) == (2, 1, ["episode_body_corrupt"])
    memory.cold.objects[lost] = content
    assert (await restore(memory)).left == 0
    await check(memory)


async def test_one_runner_writes_and_another_waits_for_its_turn(memory: Bench) -> None:
    await memory.remember(*TALE)

    async def alive() -> None:
        """Nobody watches."""

    async with my_turn(memory.sessions, "one", seconds=30, patience=0, alive=alive):
        with pytest.raises(ArchiveBusyError):
            async with my_turn(memory.sessions, "two", seconds=30, patience=0, alive=alive):
                pytest.fail("two at once")
    assert (await archive(memory)).episodes == 1


async def test_who_was_away_too_long_writes_nothing_any_more(memory: Bench) -> None:
    """Another has taken over between its writing of the object and the move of the rows."""
    await memory.remember(*TALE)

    async def steal() -> None:
        statement = "UPDATE cold_lease SET lease_epoch = lease_epoch + 1, lease_owner = 'thief' WHERE id = :id"
        await memory.execute(statement, id=LEASE)

    memory.cold.before_read = steal
    with pytest.raises(FencedError):
        await archive(memory)
    assert await memory.rows("SELECT DISTINCT storage_tier FROM episode") == [("hot",)]


async def test_movers_restorers_and_readers_at_once_never_see_an_empty_turn(memory: Bench) -> None:
    await _filled(memory)
    before = await whole(memory)

    async def read() -> None:
        for _ in range(4):
            assert await whole(memory) == before

    async def back() -> None:
        for _ in range(6):
            await restore(memory)

    async def away() -> None:
        for _ in range(4):
            await archive(memory)

    await asyncio.gather(away(), back(), read(), read())
    await check(memory)
    await restore(memory)
    await tidy(memory)
    assert memory.cold.objects == {}


async def test_an_object_that_is_mostly_of_nobody_is_given_up_for_another(memory: Bench) -> None:
    ids = [(await memory.remember(*TALE)).id for _ in range(5)]
    await archive(memory)
    [first] = memory.cold.objects
    await restore(memory, *ids[:3])
    report = await archive(memory, Due(before=datetime(2020, 1, 1, tzinfo=UTC)))
    assert (report.episodes, report.repacked, report.objects_deleted) == (0, 2, 1)
    assert first not in memory.cold.objects
    assert await texts(memory, ids[4]) == await texts(memory, ids[0])
    await check(memory)


async def test_an_empty_object_stays_as_long_as_backups_may_name_it(memory: Bench) -> None:
    settings = memory.layer.archivist.settings.model_copy(update={"cold_keep_days": 7})
    patient = replace(memory.layer.archivist, settings=settings)
    memory = replace(memory, layer=replace(memory.layer, archivist=patient))
    await memory.remember(*TALE)
    await archive(memory)
    await restore(memory)
    await tidy(memory)
    assert len(memory.cold.objects) == 1
    await memory.execute("UPDATE cold_object SET state_changed_at = now() - interval '8 days'")
    await tidy(memory)
    assert memory.cold.objects == {}


async def test_a_bucket_serves_as_the_cold_store(memory: Bench, s3_endpoint: str, home: Path) -> None:
    settings = s3_settings(s3_endpoint)
    cold, registry = open_cold_store(settings, home), CollectorRegistry()
    layer = build_memory(
        AGENTS, settings, memory.sessions, embedder=None, registry=registry, clock=SystemClock(), cold=cold
    )
    await _filled(memory)
    before, in_bucket = await whole(memory), replace(memory, layer=layer)
    assert (await archive(in_bucket)).episodes == 6
    assert await whole(in_bucket) == before
    with pytest.raises(ColdObjectMissingError):
        await whole(memory)
    assert (await restore(in_bucket)).left == 0
    assert await whole(in_bucket) == before
    await check(in_bucket)
