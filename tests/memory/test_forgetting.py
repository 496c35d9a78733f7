"""What is forgotten is gone, also from the cold store; what a rule ends is forgotten; a legal hold keeps everything."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from atom.infra.db import unit_of_work
from atom.memory import keeping
from atom.memory.archive_store import Due
from atom.memory.bodies import unpack
from atom.memory.errors import BodyCorruptError
from atom.memory.keeping import Rules
from atom.memory.retention import expire
from atom.memory.sealing import Sealed, unseal
from tests.memory.cold_bench import archive, check, texts
from tests.memory.conftest import Bench

NOTHING_DUE = Due(before=datetime(2020, 1, 1, tzinfo=UTC))


async def _forget(memory: Bench, id_: UUID) -> None:
    async with unit_of_work(memory.sessions) as session:
        await keeping.forget(session, "admin:ann", id_, reason="asked for")


async def _pending(memory: Bench, id_: UUID) -> bool:
    async with unit_of_work(memory.sessions) as session:
        return await keeping.pending(session, id_)


async def _rule(memory: Bench, agent_id: UUID, rules: Rules) -> None:
    async with unit_of_work(memory.sessions) as session:
        await keeping.set_rules(session, "admin:ann", agent_id, rules)


async def _alive() -> None:
    """Nobody watches."""


async def test_what_is_forgotten_has_no_key_at_once_and_no_bytes_after_the_next_archive(memory: Bench) -> None:
    gone, stays = await memory.remember("Ann: This goes."), await memory.remember("Ann: This stays.")
    await archive(memory)
    where = "SELECT start, size FROM episode_cold WHERE episode_id = :id"
    [(start, size)], [path] = await memory.rows(where, id=gone.id), memory.cold.objects
    stored = memory.cold.objects[path][start : start + size]
    memory.cold.away = True  # it need not be there
    await _forget(memory, gone.id)
    assert await memory.rows("SELECT episode_id FROM episode_cold") == [(stays.id,)]
    assert await memory.rows("SELECT id FROM episode") == [(stays.id,)]
    assert await _pending(memory, gone.id)
    await check(memory)
    memory.cold.away = False
    report = await archive(memory, NOTHING_DUE)
    assert (report.episodes, report.repacked, report.objects_deleted) == (0, 1, 1)
    assert not any(stored in content for content in memory.cold.objects.values())
    assert not await _pending(memory, gone.id)
    assert await texts(memory, stays.id) == ["This stays."]
    await check(memory)


async def test_while_the_store_is_away_the_deletion_stays_pending_and_is_tried_again(memory: Bench) -> None:
    gone = await memory.remember("Ann: This goes.")
    await archive(memory)
    await _forget(memory, gone.id)
    memory.cold.away = True
    report = await archive(memory, NOTHING_DUE)
    assert (report.objects_deleted, report.objects_pending) == (0, 1)
    assert await _pending(memory, gone.id)
    memory.cold.away = False
    assert (await archive(memory, NOTHING_DUE)).objects_deleted == 1
    assert memory.cold.objects == {}
    assert not await _pending(memory, gone.id)


async def test_no_other_key_opens_what_was_forgotten(memory: Bench) -> None:
    gone, stays = await memory.remember("Ann: This goes."), await memory.remember("Ann: This stays.")
    await archive(memory)
    where = "SELECT start, size, stored_sha256, sha256, unpacked FROM episode_cold WHERE episode_id = :id"
    [(start, size, stored_sha256, sha256, unpacked)] = await memory.rows(where, id=gone.id)
    [content] = memory.cold.objects.values()
    await _forget(memory, gone.id)
    [(key,)] = await memory.rows("SELECT key FROM episode_cold")
    try:
        found = unpack(
            unseal(gone.id, Sealed(content[start : start + size], key, stored_sha256), sha256=sha256, unpacked=unpacked)
        )
    except BodyCorruptError:
        found = []
    assert found == []
    assert await texts(memory, stays.id) == ["This stays."]


async def test_what_is_older_than_its_agents_rule_is_forgotten_in_any_tier(memory: Bench) -> None:
    now, other = datetime.now(UTC), await memory.agent("other")
    old = [await memory.remember("Ann: Old.", at=now - timedelta(days=40)) for _ in range(3)]
    young = await memory.remember("Ann: Young.", at=now - timedelta(days=20))
    others = await memory.remember("Ann: Old, of another.", at=now - timedelta(days=40), agent_id=other)
    await archive(memory, Due(memory.agent_id, before=now - timedelta(days=39)))
    await _rule(memory, memory.agent_id, Rules(retention_days=30))
    assert await expire(memory.sessions, _alive) == 3
    left = {id_ for (id_,) in await memory.rows("SELECT id FROM episode")}
    assert left == {young.id, others.id}
    told = await memory.rows("SELECT episode_id, reason, forgotten_by FROM episode_tombstone ORDER BY episode_id")
    assert told == [(one.id, "retention: older than 30 days", "system") for one in sorted(old, key=lambda one: one.id)]
    await check(memory)


async def test_under_a_legal_hold_retention_forgets_nothing(memory: Bench) -> None:
    await memory.remember("Ann: Old.", at=datetime.now(UTC) - timedelta(days=40))
    await _rule(memory, memory.agent_id, Rules(retention_days=30, legal_hold=True, hold_reason="Case 7"))
    assert await expire(memory.sessions, _alive) == 0
    await _rule(memory, memory.agent_id, Rules(retention_days=30))
    assert await expire(memory.sessions, _alive) == 1
