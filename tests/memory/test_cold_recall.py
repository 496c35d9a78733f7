"""A recall finds the same whatever the tier; where the cold store does not serve, it shows summaries and says so."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest

from atom.errors import AtomError
from atom.infra.db import unit_of_work
from atom.memory.errors import ColdStoreUnavailableError
from atom.memory.recall import Filters, Mode, Question, Recalled
from atom.memory.tiers import to_warm
from tests.memory.cold_bench import archive, restore, texts
from tests.memory.conftest import MORNING, Bench

QUESTIONS = ("Which host has the backup?", "Who has the invoices of Berlin?", "rain", "cobalt invoices rain")


async def _remembered(memory: Bench) -> None:
    for number in range(8):
        await memory.remember(
            f"Ann: The backup number {number} of the shop is on host cobalt.",
            "Bob: The invoices went to Berlin with Carla.",
            f"Ann: Rain came down on day {number}.",
            at=MORNING - timedelta(days=number),
        )
    await memory.embed()


async def _all(memory: Bench, *, tokens: int = 60) -> list[Recalled]:
    asked = [Question(memory.agent_id, query, tokens=tokens, limit=7) for query in QUESTIONS]
    asked += [replace(one, mode=Mode.CONTEXTUAL) for one in asked]
    asked.append(Question(memory.agent_id, mode=Mode.TEMPORAL, filters=Filters(since=MORNING), limit=7))
    [(first,)] = await memory.rows("SELECT id FROM episode ORDER BY id LIMIT 1")
    asked.append(Question(memory.agent_id, mode=Mode.SEQUENTIAL, filters=Filters(episode_id=first)))
    return [await memory.layer.recall.recall(one) for one in asked]


def _shown(found: list[Recalled]) -> list[tuple[object, ...]]:
    return [(one.tokens, one.cut, [(hit.segment_id, hit.text, hit.reason) for hit in one.hits]) for one in found]


async def test_the_same_questions_find_the_same_whatever_the_tier(memory: Bench) -> None:
    await _remembered(memory)
    hot = _shown(await _all(memory))
    ids = [id_ for (id_,) in await memory.rows("SELECT id FROM episode ORDER BY id")]
    async with unit_of_work(memory.sessions) as session:
        await to_warm(session, ids)
    assert _shown(await _all(memory)) == hot
    await archive(memory)
    await restore(memory, *ids[:3])
    async with unit_of_work(memory.sessions) as session:
        await to_warm(session, ids[:1])
    tiers = await memory.rows("SELECT storage_tier, count(*) FROM episode GROUP BY 1 ORDER BY 1")
    assert tiers == [("cold", 5), ("hot", 2), ("warm", 1)]
    assert _shown(await _all(memory)) == hot


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("away", "cold_store_unavailable"),
        ("hangs", "cold_store_unavailable"),
        ("garbles", "episode_body_corrupt"),
        ("gone", "cold_object_missing"),
    ],
)
async def test_where_the_cold_store_does_not_serve_a_recall_shows_summaries(
    memory: Bench, fault: str, code: str
) -> None:
    written = await memory.remember("Ann: The backup is on host cobalt.", title="About backups", summary="Backups.")
    hot = await memory.remember("Ann: The other backup is on host quartz.")
    await archive(memory)
    await restore(memory, hot.id)
    if fault == "gone":
        memory.cold.objects.clear()
    else:
        setattr(memory.cold, fault, True)
    recalled = await memory.layer.recall.recall(Question(memory.agent_id, "Where is the backup?"))
    told = {hit.episode_id: (hit.text, hit.away) for hit in recalled.hits}
    assert told == {written.id: ("Backups.", code), hot.id: ("The other backup is on host quartz.", None)}
    assert recalled.seconds < 30
    if fault != "hangs":
        with pytest.raises(AtomError) as error:
            await texts(memory, written.id)
        assert error.value.code == code


async def test_summaries_of_different_turns_are_not_the_same_turn(memory: Bench) -> None:
    await memory.remember("Ann: The backup is on cobalt.", "Ann: The backup of the backup is on quartz.")
    await archive(memory)
    memory.cold.away = True
    recalled = await memory.layer.recall.recall(Question(memory.agent_id, "backup"))
    assert len(recalled.hits) == 2


async def test_nothing_is_open_in_the_database_while_the_store_is_asked(memory: Bench) -> None:
    await memory.remember("Ann: The backup is on cobalt.")
    await archive(memory)
    open_ones: list[object] = []

    async def look() -> None:
        query = """SELECT state FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"""
        open_ones.append(await memory.rows(query))

    memory.cold.before_read = look
    await memory.layer.recall.recall(Question(memory.agent_id, "backup"))
    [(id_,)] = await memory.rows("SELECT id FROM episode")
    await texts(memory, id_)
    assert open_ones == [[], []]


async def test_a_body_that_moves_while_it_is_looked_for_is_found(memory: Bench) -> None:
    """Restored, and its object deleted, between the search and the read."""
    written = await memory.remember("Ann: The backup is on cobalt.")
    await archive(memory)
    before = await texts(memory, written.id)

    async def move() -> None:
        memory.cold.before_read = None
        await restore(memory)
        memory.cold.objects.clear()

    memory.cold.before_read = move
    assert await texts(memory, written.id) == before
    assert await memory.rows("SELECT storage_tier FROM episode") == [("hot",)]


async def test_a_turn_of_a_store_that_does_not_answer_is_told_with_its_place(memory: Bench) -> None:
    written = await memory.remember("Ann: The backup is on cobalt.")
    await archive(memory)
    memory.cold.away = True
    with pytest.raises(ColdStoreUnavailableError, match="memory://cold"):
        await texts(memory, written.id)


async def test_one_cold_episode_is_back_at_once(memory: Bench) -> None:
    written = await memory.remember(*(f"Ann: Turn {number} of a long talk." for number in range(200)))
    await archive(memory)
    seconds = []
    for _ in range(3):  # the best of three: the machine of a test has other work
        began = time.perf_counter()
        assert (await restore(memory, written.id)).episodes == 1
        seconds.append(time.perf_counter() - began)
        await archive(memory)
    assert min(seconds) < 5


async def test_what_is_embedded_is_read_in_any_tier(memory: Bench) -> None:
    await _remembered(memory)
    rows = await memory.rows("SELECT id, speaker || ': ' || text FROM episode_segment")
    ids = [id_ for (id_,) in await memory.rows("SELECT id FROM episode ORDER BY id")]
    await archive(memory)
    await restore(memory, *ids[:3])
    async with unit_of_work(memory.sessions) as session:
        await to_warm(session, ids[:1])
    assert await memory.layer.reading.segment_texts([id_ for id_, _ in rows]) == dict(rows)
    memory.cold.away = True
    assert len(await memory.layer.reading.segment_texts([id_ for id_, _ in rows])) == 9, "hot and warm ones"
