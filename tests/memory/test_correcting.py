"""A correction stands at the end of its episode, in whatever tier, is found by recall and makes it count for more."""

import asyncio
from uuid import UUID

import pytest

from atom.governance.models import Label
from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.memory.correcting import MAX_CORRECTION, Correction, correct
from atom.memory.errors import EpisodeColdError, EpisodeInvalidError, EpisodeNotFoundError
from atom.memory.models import Episode, Tier
from atom.memory.recall import Question
from atom.memory.tiers import to_hot, to_warm
from tests.memory.cold_bench import archive, check
from tests.memory.conftest import PERSON, Bench

SAID = ("Ann: Where did we put the backup key?", "Ben: In the blue cabinet.")
RIGHT = "The backup key is in the red cabinet."


async def say(memory: Bench, id_: UUID, text: str = RIGHT, *labels: Label) -> Episode:
    async with unit_of_work(memory.sessions) as session:
        return (await correct(session, PERSON, id_, Correction(text, frozenset(labels)), memory.service.written))[0]


async def turns_of(memory: Bench, id_: UUID) -> list[tuple[str, str, str]]:
    rows = await memory.layer.reading.segments(id_, after=-1, limit=100)
    return [(row.kind, row.speaker, row.text) for row in rows]


@pytest.mark.parametrize("tier", [Tier.HOT, Tier.WARM])
async def test_it_stands_at_the_end_and_is_recalled(memory: Bench, tier: Tier) -> None:
    written = await memory.remember(*SAID)
    if tier is Tier.WARM:
        async with unit_of_work(memory.sessions) as session:
            await to_warm(session, [written.id])
    corrected = await say(memory, written.id)
    await memory.embed()
    assert (corrected.storage_tier, corrected.segments, corrected.importance) == (tier, 3, 0.65)
    assert await turns_of(memory, written.id) == [
        ("message", "Ann", "Where did we put the backup key?"),
        ("message", "Ben", "In the blue cabinet."),
        ("correction", PERSON.actor, RIGHT),
    ]
    recalled = await memory.layer.recall.recall(Question(memory.agent_id, "red cabinet", limit=1))
    assert [hit.text for hit in recalled.hits] == [RIGHT]
    await check(memory)


async def test_said_again_it_changes_nothing_also_when_two_say_it_at_once(memory: Bench) -> None:
    written = await memory.remember(*SAID)
    await asyncio.gather(*(say(memory, written.id) for _ in range(4)))
    assert len(await turns_of(memory, written.id)) == 3
    more = await say(memory, written.id, "And the key is small.")
    assert (more.segments, more.importance) == (4, 0.65)
    await check(memory)


async def test_labels_of_its_words_are_labels_of_the_episode(memory: Bench) -> None:
    written = await memory.remember(*SAID)
    assert (await say(memory, written.id)).labels == []
    assert (await say(memory, written.id, "A page says otherwise.", Label.UNTRUSTED)).labels == ["untrusted"]


async def test_what_people_think_of_it_still_counts(memory: Bench) -> None:
    written = await memory.remember(*SAID)
    async with unit_of_work(memory.sessions) as session:
        await memory.service.rate(session, PERSON, written.id, -1, None)
    assert (await say(memory, written.id)).importance == pytest.approx(0.325)


async def test_a_cold_one_says_what_to_do_and_is_what_it_was(memory: Bench) -> None:
    written = await memory.remember(*SAID)
    await archive(memory)
    with pytest.raises(EpisodeColdError) as caught:
        await say(memory, written.id)
    assert caught.value.hint == f"atom episodes restore {written.id}"
    assert len(await turns_of(memory, written.id)) == 2
    await check(memory)


@pytest.mark.parametrize("text", ["", " \n", "x" * (MAX_CORRECTION + 1)])
async def test_nothing_and_too_much_are_refused(memory: Bench, text: str) -> None:
    written = await memory.remember(*SAID)
    with pytest.raises(EpisodeInvalidError, match=r"^text: "):
        await say(memory, written.id, text)
    with pytest.raises(EpisodeNotFoundError):
        await say(memory, new_id())


async def test_a_long_one_comes_back_as_it_was_after_every_move(memory: Bench) -> None:
    written = await memory.remember(*SAID)
    text = "\n\n".join(f"paragraph {number} " + "word " * 100 for number in range(30))
    await say(memory, written.id, text)
    async with unit_of_work(memory.sessions) as session:
        await to_warm(session, [written.id])
        await to_hot(session, [written.id])
    await archive(memory)
    assert "".join(said for kind, _, said in await turns_of(memory, written.id) if kind == "correction") == text.strip()
    await check(memory)


async def test_one_that_comes_while_its_episode_is_archived_is_not_lost(memory: Bench) -> None:
    written = await memory.remember(*SAID)

    async def meanwhile() -> None:
        memory.cold.before_read = None
        await say(memory, written.id)

    memory.cold.before_read = meanwhile  # the object is written, and is read back before the rows give up their texts
    await archive(memory)
    assert (await turns_of(memory, written.id))[-1] == ("correction", PERSON.actor, RIGHT)
    await check(memory)
