"""Old episodes that are alike get one that sums them up; word for word they stay what they are, and findable."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.governance.models import Label
from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.memory import job_runs, keeping
from atom.memory.consolidating import Consolidated, Consolidator
from atom.memory.drafts import Outcome, Source
from atom.memory.errors import EpisodeHeldError, NotConsolidatedError
from atom.memory.grouping import MAX_BYTES, MAX_GROUP, Item, grouped, unit
from atom.memory.keeping import Rules
from atom.memory.merging import Remembered, consolidated, outcome_of, statements
from atom.memory.recall import Filters, Question
from tests.memory.conftest import MORNING, Bench
from tests.support.consolidations import LONG_AGO, Verbatim, check, fill

WORDS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 5), min_size=1)


@given(st.lists(WORDS, max_size=40))
def test_each_is_in_one_group_and_the_groups_are_always_the_same(found: list[dict[str, int]]) -> None:
    items = [Item(UUID(int=number), 10, 1, None, words) for number, words in enumerate(found)]
    groups = grouped(items)
    assert sorted(id_ for group in groups for id_ in group.ids) == [item.id for item in items]
    assert all(len(group.ids) <= MAX_GROUP for group in groups)
    assert grouped(items) == groups


def test_groups_are_of_what_is_near_and_within_their_bounds() -> None:
    def near(number: int, angle: float, size: int = 1) -> Item:
        return Item(UUID(int=number), size, 1, unit((1.0, angle)))

    [group, other] = grouped([near(1, 0.0), near(2, 0.1), near(3, 9.0)])
    assert ([id_.int for id_ in group.ids], [id_.int for id_ in other.ids]) == ([1, 2], [3])
    assert [len(group.ids) for group in grouped([near(1, 0.0, MAX_BYTES), near(2, 0.0, 1)])] == [1, 1]
    [most, rest] = grouped([near(number, 0.0) for number in range(MAX_GROUP + 1)])
    assert (len(most.ids), len(rest.ids)) == (MAX_GROUP, 1)
    mixed = [near(1, 0.0), replace(near(2, 0.0), vector=None, words={"x": 1})]
    assert [len(group.ids) for group in grouped(mixed)] == [1, 1], "without vectors of both, words decide"


def remembered(number: int, text: str, **fields: Any) -> Remembered:
    values: dict[str, Any] = {
        "title": f"Case {number}", "summary": text, "outcome": Outcome.SUCCESS, "labels": frozenset(),
        "importance": 0.5, "entities": ["Ann"], "bytes": len(text), "texts": [text],
    }  # fmt: skip
    at = MORNING.replace(day=number)
    return Remembered(id=UUID(int=number), started_at=at, ended_at=at, **(values | fields))


def test_what_was_said_differently_stands_side_by_side_with_its_days() -> None:
    sources = [
        remembered(7, "We talked. The backup is on host cobalt."),
        remembered(4, "the backup is on host nickel\nport: 8000"),
        remembered(9, "Port: 8000."),
    ]
    draft = consolidated(new_id(), sources, ref="r")
    [line] = [turn.text for turn in draft.turns if turn.text.startswith("Said differently")]
    assert line == "Said differently of backup: 2026-05-04: on host nickel; 2026-05-07: on host cobalt"
    assert draft == consolidated(draft.agent_id, sources[::-1], ref="r"), "in whatever order they come"
    lines = [turn for turn in draft.turns if ":" in turn.ref]
    assert [turn.ref for turn in lines] == [f"consolidated:{UUID(int=number)}" for number in (4, 7, 9)]
    assert [turn.at for turn in draft.turns] == sorted(turn.at for turn in draft.turns)


def test_labels_are_never_washed_and_outcomes_go_by_rule() -> None:
    sources = [
        remembered(4, "One.", labels=frozenset({Label.UNTRUSTED})),
        remembered(5, "Two.", outcome=Outcome.FAILURE, importance=0.9),
    ]
    draft = consolidated(new_id(), sources, ref="r")
    assert draft.labels == frozenset({Label.UNTRUSTED})
    assert (draft.outcome, draft.importance) == (Outcome.PARTIAL, 0.9)
    assert outcome_of([Outcome.UNKNOWN, Outcome.FAILURE]) is Outcome.FAILURE
    assert outcome_of([Outcome.UNKNOWN]) is Outcome.UNKNOWN


def test_the_summary_of_much_is_little() -> None:
    sources = [remembered(number, "word " * 4_000) for number in range(1, 13)]
    draft = consolidated(new_id(), sources, ref="r")
    assert sum(len(turn.text) for turn in draft.turns) < sum(one.bytes for one in sources) / 5


@given(st.text(max_size=400))
def test_any_text_is_searched_for_statements(text: str) -> None:
    for about, value in statements([text]):
        assert about == about.lower()
        assert value in text


async def test_the_weakest_are_summed_up_and_stay_word_for_word(memory: Bench) -> None:
    ids = await filled(memory, 24)
    before = await Verbatim.of(memory.sessions)
    report = await consolidate(memory, threshold=8)
    assert await check(memory.sessions, before) == report.groups > 0
    assert report.episodes + report.alone == 20, "half the threshold stays hot"
    hot = {row[0] for row in await memory.rows("SELECT id FROM episode WHERE storage_tier = 'hot' AND source = 'api'")}
    assert hot == set(ids[-4:]), "the strongest"
    assert report.bytes_freed == report.bytes_before - report.bytes_after > 0
    assert (await consolidate(memory, threshold=8)).told() == Consolidated().told(), "and then there is nothing to do"
    assert (report.agents, report.skipped, report.agent_id) == (1, 0, None)


async def test_an_aged_store_has_less_than_a_third_of_its_hot_bytes_after_it(memory: Bench) -> None:
    await fill(memory.sessions, memory.service, memory.agent_id, 120, turns=12)
    await memory.embed()
    before, verbatim = await hot_bytes(memory), await Verbatim.of(memory.sessions)
    report = await consolidate(memory, threshold=20)
    await check(memory.sessions, verbatim)
    assert await hot_bytes(memory) < 0.3 * before
    assert report.bytes_freed > 0.6 * before, "packed they take little, and what sums them up is short"


async def test_below_the_threshold_nothing_moves(memory: Bench) -> None:
    await filled(memory, 8)
    assert (await consolidate(memory, threshold=8)).done == 0
    assert (await consolidate(memory, threshold=8, agent_id=await memory.agent("other"))).done == 0


async def test_what_is_like_nothing_else_goes_to_warm_by_itself(memory: Bench) -> None:
    for number, word in enumerate(("alpha", "bravo", "charlie", "delta", "echo")):
        await memory.remember(f"Ann: {word} {word}{number}", at=LONG_AGO)
    report = await consolidate(memory, threshold=2)
    assert (report.groups, report.alone, report.episodes) == (0, 4, 0)


async def test_a_dry_run_counts_and_changes_nothing(memory: Bench) -> None:
    await filled(memory, 24)
    everything = "SELECT to_jsonb(e) FROM episode e ORDER BY id"
    before = await memory.rows(everything)
    foreseen = await consolidate(memory, threshold=8, dry_run=True)
    assert await memory.rows(everything) == before
    done = await consolidate(memory, threshold=8)
    for name in ("agents", "groups", "episodes", "alone", "segments", "bytes_before"):
        assert getattr(foreseen, name) == getattr(done, name), name
    assert foreseen.examples
    assert "backup" not in str(foreseen.examples), "ids, and no words: a report outlives what is forgotten"


async def test_two_runners_at_once_do_the_work_once(memory: Bench) -> None:
    await filled(memory, 40)
    before = await Verbatim.of(memory.sessions)
    reports = await asyncio.gather(*(consolidate(memory, threshold=8) for _ in range(3)))
    assert await check(memory.sessions, before) == sum(report.groups for report in reports)
    await consolidate(memory, threshold=8)
    moved = await memory.rows("SELECT count(*) FROM episode WHERE storage_tier = 'warm'")
    assert moved == [(36,)]


async def test_a_split_brings_the_sources_back_for_good(memory: Bench) -> None:
    await filled(memory, 12)
    before = await Verbatim.of(memory.sessions)
    await consolidate(memory, threshold=2)
    for (id_,) in await memory.rows("SELECT id FROM episode WHERE source = 'consolidation'"):
        sources = await memory.rows(
            "SELECT source_id FROM episode_link WHERE consolidated_id = :id ORDER BY position", id=id_
        )
        split = await memory.layer.splitter.split("admin:ann", id_)
        assert [(one,) for one in split.sources] == sources
        assert await memory.rows(
            "SELECT DISTINCT storage_tier FROM episode WHERE id = ANY(:ids)", ids=list(split.sources)
        ) == [("hot",)]
    assert await check(memory.sessions, before) == 0
    assert {row[0] for row in await memory.rows("SELECT decision FROM audit_entry WHERE action = 'memory'")} == {
        "split"
    }
    assert (await consolidate(memory, threshold=2)).groups == 0, "what was split is left as it is"


async def test_only_what_sums_up_is_split_and_not_under_a_legal_hold(memory: Bench) -> None:
    ids = await filled(memory, 12)
    await rule(memory, Rules(legal_hold=True, hold_reason="Case 7"))
    assert (await consolidate(memory, threshold=2)).groups > 0, "a hold lets it move, nothing is deleted"
    [(id_,), *_] = await memory.rows("SELECT id FROM episode WHERE source = 'consolidation'")
    with pytest.raises(EpisodeHeldError):
        await memory.layer.splitter.split("admin:ann", id_)
    with pytest.raises(NotConsolidatedError):
        await memory.layer.splitter.split("admin:ann", ids[0])


async def test_what_is_forgotten_leaves_no_word_in_what_summed_it_up(memory: Bench) -> None:
    secret = await memory.remember(
        "Ann: The backup is on xylophone.", "Bob: Nightly backup noted on xylophone.", at=LONG_AGO
    )
    await memory.remember("Ann: The backup is on cobalt.", "Bob: Nightly backup noted on cobalt.", at=LONG_AGO)
    await memory.remember("Ann: Hello.", at=MORNING)
    await memory.embed()
    assert (await consolidate(memory, threshold=2)).groups == 1
    await memory.embed()
    held = "SELECT count(*) FROM episode_segment WHERE lexemes @@ 'xylophon'::tsquery"
    assert (await memory.rows(held))[0][0] > 2
    async with unit_of_work(memory.sessions) as session:
        await keeping.forget(session, "admin:ann", secret.id, reason="asked for")
    assert await memory.rows(held) == [(0,)]
    for table in ("episode", "episode_segment", "audit_entry", "memory_job_run", "episode_tombstone"):
        assert "xylophon" not in str(await memory.rows(f"SELECT to_jsonb(t) FROM {table} t")), table
    assert await memory.rows("SELECT count(*) FROM episode_link") == [(0,)]
    assert await check(memory.sessions, await Verbatim.of(memory.sessions)) == 0
    assert "cobalt" in str((await recalled(memory, "Where is the backup?"))[0].text), "the other source stays"


async def test_nobody_deletes_a_source_and_leaves_its_words(memory: Bench) -> None:
    await filled(memory, 12)
    await consolidate(memory, threshold=2)
    with pytest.raises(Exception, match="episode_link"):
        await memory.execute("DELETE FROM episode WHERE id = (SELECT source_id FROM episode_link LIMIT 1)")


async def test_a_recall_has_what_was_said_and_not_its_summary_beside_it(memory: Bench) -> None:
    await filled(memory, 24)
    await consolidate(memory, threshold=8)
    await memory.embed()
    hits = await recalled(memory, "The backup is on cobalt")
    assert "The backup is on cobalt." in [hit.text for hit in hits]
    found = {hit.episode_id for hit in hits}
    for hit in hits:
        if hit.ref.startswith("consolidated:"):
            assert UUID(hit.ref.removeprefix("consolidated:")) not in found
    only = await recalled(memory, "backup", Filters(sources=(Source.CONSOLIDATION,)))
    assert only, "asked for by itself, it is there"
    assert {hit.title.split(":")[0].split(",")[0] for hit in only} <= {f"{n} episodes" for n in range(2, 13)}


async def test_a_run_goes_on_below_the_threshold_where_it_had_begun_above(memory: Bench) -> None:
    await filled(memory, 24)
    run = await started(memory)
    consolidator = of(memory, 8)

    class StopError(Exception):
        """Here ends the first process."""

    async def stop(done: int, _: int | None) -> None:
        if done:
            raise StopError

    with pytest.raises(StopError):
        await consolidator.consolidate(None, run, stop)
    report = await consolidator.consolidate(None, run, silent)
    assert report.episodes + report.alone == 20
    assert report.agents == 1


def of(memory: Bench, threshold: int) -> Consolidator:
    settings = memory.service.settings.model_copy(update={"consolidation_threshold": threshold})
    return replace(memory.layer.consolidator, settings=settings)


async def silent(_: int, __: int | None) -> None:
    """Nobody watches."""


async def started(memory: Bench) -> UUID:
    async with unit_of_work(memory.sessions) as session:
        return await job_runs.record_started(session, "consolidate")


async def consolidate(
    memory: Bench, *, threshold: int, agent_id: UUID | None = None, dry_run: bool = False
) -> Consolidated:
    run = await started(memory)
    return await of(memory, threshold).consolidate(agent_id, run, silent, dry_run=dry_run)


async def filled(memory: Bench, count: int) -> list[UUID]:
    ids = await fill(memory.sessions, memory.service, memory.agent_id, count)
    await memory.embed()
    return ids


async def hot_bytes(memory: Bench) -> int:
    [(size,)] = await memory.rows("SELECT bytes FROM episode_tally WHERE storage_tier = 'hot'")
    return int(size)


async def recalled(memory: Bench, query: str, filters: Filters | None = None) -> list[Any]:
    question = Question(memory.agent_id, query, filters=filters or Filters(), tokens=50_000)
    return list((await memory.layer.recall.recall(question)).hits)


async def rule(memory: Bench, rules: Rules) -> None:
    async with unit_of_work(memory.sessions) as session:
        await keeping.set_rules(session, "admin:ann", memory.agent_id, rules)
