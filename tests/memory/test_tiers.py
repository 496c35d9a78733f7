"""Bodies move between tiers and stay what they are; what finds them stays in place; what is forgotten is gone."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.memory import keeping
from atom.memory.bodies import pack, unpack
from atom.memory.errors import BodyCorruptError, EpisodeHeldError, EpisodeInvalidError, EpisodeNotFoundError
from atom.memory.keeping import Rules
from atom.memory.tiers import Moved, to_hot, to_warm
from tests.memory.conftest import Bench

TALE = ("Ann: The backup of the shop is on host cobalt.", 'Bob: Naïve, ümlaut, 漢字, 🦉 and "quotes".', "Ann: ")
TALLIES = "SELECT storage_tier, episodes, segments, bytes FROM episode_tally WHERE episodes > 0 ORDER BY storage_tier"
COUNTED = """
    SELECT e.storage_tier, count(*), sum(e.segments)::bigint,
        sum(CASE e.storage_tier WHEN 'hot' THEN e.bytes ELSE octet_length(b.body) END)::bigint
    FROM episode e LEFT JOIN episode_body b ON b.episode_id = e.id GROUP BY 1 ORDER BY 1
"""


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=400), max_size=30))
def test_what_is_packed_unpacks_to_the_character(texts: list[str]) -> None:
    assert unpack(pack(texts)) == texts


def test_no_flipped_bit_unpacks() -> None:
    packed = pack(["one turn", "another turn " * 20])
    for place in range(8 * len(packed.body)):
        body = bytearray(packed.body)
        body[place // 8] ^= 1 << place % 8
        try:
            told = unpack(replace(packed, body=bytes(body)))
        except BodyCorruptError:
            continue
        assert told == unpack(packed), "a bit that carries nothing may flip, and nothing else may come of it"
    for wrong in (replace(packed, sha256=bytes(32)), replace(packed, unpacked=3), replace(packed, unpacked=-1)):
        with pytest.raises(BodyCorruptError):
            unpack(wrong)


async def test_moving_to_warm_and_back_keeps_every_character_and_what_finds_it(memory: Bench) -> None:
    written = await memory.remember(*TALE)
    await memory.embed()
    before = (await _texts(memory, written.id), await _found_by(memory))
    warm = await _move(memory, to_warm, written.id)
    assert (warm.episodes, warm.segments) == (1, 3)
    assert await memory.rows("SELECT DISTINCT text FROM episode_segment") == [("",)]
    assert (await _texts(memory, written.id), await _found_by(memory)) == before
    assert await memory.rows(TALLIES) == await memory.rows(COUNTED)
    hot = await _move(memory, to_hot, written.id)
    assert (hot.bytes_before, hot.bytes_after) == (warm.bytes_after, warm.bytes_before)
    assert (await _texts(memory, written.id), await _found_by(memory)) == before
    assert await memory.rows("SELECT count(*) FROM episode_body") == [(0,)]
    assert await memory.rows(TALLIES) == await memory.rows(COUNTED)


async def test_what_is_not_in_the_tier_is_left_alone(memory: Bench) -> None:
    written = await memory.remember(*TALE)
    assert await _move(memory, to_hot, written.id) == Moved()
    await _move(memory, to_warm, written.id)
    assert await _move(memory, to_warm, written.id, new_id()) == Moved()


async def test_movers_and_readers_at_once_never_see_an_empty_turn(memory: Bench) -> None:
    ids = [(await memory.remember(*TALE)).id for _ in range(3)]
    whole = await _texts(memory, ids[0])

    async def move() -> None:
        for _ in range(12):
            await _move(memory, to_warm, *ids)
            await _move(memory, to_hot, *ids)

    async def read() -> None:
        for _ in range(25):
            for id_ in ids:
                assert await _texts(memory, id_) == whole

    await asyncio.gather(move(), move(), read(), read())
    assert await memory.rows(TALLIES) == await memory.rows(COUNTED)


async def test_a_damaged_body_is_told_and_moves_nothing(memory: Bench) -> None:
    written = await memory.remember(*TALE)
    await _move(memory, to_warm, written.id)
    await memory.execute("UPDATE episode_body SET body = '\\x28b52ffd00'")
    with pytest.raises(BodyCorruptError):
        await _texts(memory, written.id)
    with pytest.raises(BodyCorruptError):
        await _move(memory, to_hot, written.id)
    assert await memory.rows("SELECT storage_tier FROM episode") == [("warm",)]


@pytest.mark.parametrize("warm", [False, True], ids=["hot", "warm"])
async def test_what_is_forgotten_leaves_a_tombstone_and_nothing_else(memory: Bench, warm: bool) -> None:  # noqa: FBT001
    gone, stays = await memory.remember(*TALE), await memory.remember("Ann: This stays.")
    await memory.embed()
    if warm:
        await _move(memory, to_warm, gone.id)
    await _forget(memory, gone.id)
    assert await memory.rows("SELECT id FROM episode") == [(stays.id,)]
    for table in ("episode_segment", "episode_vector"):
        assert await memory.rows(f"SELECT DISTINCT episode_id FROM {table}") == [(stays.id,)]
    assert await memory.rows("SELECT count(*) FROM episode_body") == [(0,)]
    assert await memory.rows("SELECT episode_id, segments, reason, forgotten_by FROM episode_tombstone") == [
        (gone.id, 3, "asked for", "admin:ann")
    ]
    [(decision, data)] = await memory.rows("SELECT decision, data FROM audit_entry WHERE action = 'memory'")
    assert (decision, data["episode_id"], "cobalt" in str(data)) == ("forgotten", str(gone.id), False)
    assert await memory.rows(TALLIES) == await memory.rows(COUNTED)


async def test_a_legal_hold_keeps_everything_until_it_is_lifted(memory: Bench) -> None:
    written = await memory.remember(*TALE)
    await _rule(memory, Rules(legal_hold=True, hold_reason="Case 7"))
    with pytest.raises(EpisodeHeldError, match="Case 7"):
        await _forget(memory, written.id)
    await _rule(memory, Rules())
    await _forget(memory, written.id)
    told = await memory.rows("SELECT decision, reason FROM audit_entry WHERE action = 'memory' ORDER BY at, id")
    assert told == [("rules", "Case 7"), ("rules", "changed"), ("forgotten", "asked for")]


async def test_only_an_agents_own_episodes_are_forgotten_for_it(memory: Bench) -> None:
    written, other = await memory.remember(*TALE), await memory.agent("other")
    async with unit_of_work(memory.sessions) as session:
        with pytest.raises(EpisodeNotFoundError):
            await keeping.forget(session, "agent:other", written.id, reason="asked for", agent_id=other)
    assert await memory.rows("SELECT id FROM episode") == [(written.id,)]


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (Rules(decay_days=0), "decay_days"),
        (Rules(retention_days=36_501), "retention_days"),
        (Rules(legal_hold=True), "hold_reason"),
        (Rules(legal_hold=True, hold_reason="x" * 501), "hold_reason"),
    ],
)
async def test_rules_that_cannot_be_are_refused_by_their_field(memory: Bench, rules: Rules, field: str) -> None:
    with pytest.raises(EpisodeInvalidError, match=field):
        await _rule(memory, rules)


async def _move(memory: Bench, how: Any, *ids: UUID) -> Moved:
    async with unit_of_work(memory.sessions) as session:
        moved: Moved = await how(session, ids)
    return moved


async def _texts(memory: Bench, id_: UUID) -> list[str]:
    return [one.text for one in await memory.layer.reading.segments(id_, after=-1, limit=100)]


async def _found_by(memory: Bench) -> list[tuple[Any, ...]]:
    query = """SELECT s.id, s.lexemes::text, s.terms, v.model, v.embedding::text
        FROM episode_segment s LEFT JOIN episode_vector v ON v.segment_id = s.id ORDER BY s.id"""
    return await memory.rows(query)


async def _forget(memory: Bench, id_: UUID) -> None:
    async with unit_of_work(memory.sessions) as session:
        await keeping.forget(session, "admin:ann", id_, reason="asked for")


async def _rule(memory: Bench, rules: Rules) -> None:
    async with unit_of_work(memory.sessions) as session:
        await keeping.set_rules(session, "admin:ann", memory.agent_id, rules)
