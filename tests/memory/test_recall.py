"""Recall finds by words, meaning, time and order, of one agent only, and says why."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import URL, event

from atom.governance.models import Label
from atom.kit.clock import SystemClock
from atom.memory.asking import QuestionVectors, WordsOnly
from atom.memory.drafts import Outcome, Source
from atom.memory.embedders import Embedders
from atom.memory.errors import RecallInvalidError
from atom.memory.hits import Hit, Reason
from atom.memory.recall import Filters, Mode, Question, Recalled, RecallService
from tests.conftest import Cluster
from tests.memory.conftest import MORNING, Bench

CHAT = (
    "Ann: Where did we put the backup key?",
    "Ben: In the blue cabinet on the third floor.",
    "Ann: And the invoices?",
    "Ben: The invoices went to Berlin with Carla.",
)


async def ask(memory: Bench, query: str = "", **fields: Any) -> Recalled:
    return await memory.layer.recall.recall(Question(fields.pop("agent_id", memory.agent_id), query, **fields))


def texts(recalled: Recalled) -> list[str]:
    return [hit.text for hit in recalled.hits]


async def test_a_hit_says_why(memory: Bench) -> None:
    written = await memory.remember(*CHAT, title="Where things are", labels=frozenset({Label.UNTRUSTED}))
    await memory.remember("Zoe: Lunch was fine.", "Zoe: So was dinner.")
    await memory.embed()
    recalled = await ask(memory, "Who took the invoices to Berlin?")
    first = recalled.hits[0]
    assert (first.text, first.episode_id, first.title, first.reason) == (
        "The invoices went to Berlin with Carla.", written.id, "Where things are", Reason.SIMILAR,
    )  # fmt: skip
    assert first.why is not None
    assert first.why.cosine is not None
    assert set(first.terms) == {"invoic", "berlin"}
    assert first.why.lexical > 0
    assert (recalled.words_only, first.labels, recalled.labels) == (
        None, frozenset({Label.UNTRUSTED}), frozenset({Label.UNTRUSTED}),
    )  # fmt: skip
    scores = [hit.score or 0.0 for hit in recalled.hits]
    assert scores == sorted(scores, reverse=True)


async def test_an_answer_beside_its_question_is_found(memory: Bench) -> None:
    await memory.remember("Zoe: Nothing here.", "Zoe: Nor here.", "Zoe: The weather held.")
    await memory.remember(*CHAT)
    await memory.embed()
    recalled = await ask(memory, "backup key", limit=2)
    assert texts(recalled) == ["Where did we put the backup key?", "In the blue cabinet on the third floor."]
    assert recalled.hits[1].why is not None
    assert recalled.hits[1].why.neighbour > 0


async def test_who_spoke_counts_where_the_question_names_them(memory: Bench) -> None:
    await memory.remember("Ann: The shed is painted green.", "Zoe: Anything else?", "Ben: The shed is painted green.")
    for name in ("Ann", "Ben"):
        recalled = await ask(memory, f"What did {name} say of the shed?", limit=1)
        assert recalled.hits[0].speaker == name
        assert recalled.hits[0].why is not None
        assert recalled.hits[0].why.speaker > 0


async def test_when_it_was_counts_where_the_question_names_the_time(memory: Bench) -> None:
    for at in (MORNING - timedelta(days=60), MORNING):
        await memory.remember(f"Ann: The deploy of the shop failed, {at:%d}.", at=at)
    for at in (MORNING, MORNING - timedelta(days=60)):
        recalled = await ask(memory, f"What about the deploy of the shop in {at:%B %Y}?", limit=1)
        assert recalled.hits[0].at.date() == at.date()
        assert recalled.hits[0].why is not None
        assert (recalled.hits[0].why.time > 0, recalled.hits[0].why.speaker) == (True, 0)


async def test_nobody_recalls_what_another_agent_went_through(memory: Bench) -> None:
    other = await memory.agent("other")
    await memory.remember(*CHAT, agent_id=other)
    await memory.embed()
    for mode, fields in {
        Mode.SEMANTIC: {"query": "invoices"},
        Mode.CONTEXTUAL: {"query": "invoices"},
        Mode.TEMPORAL: {"filters": Filters(since=MORNING - timedelta(days=1))},
    }.items():
        assert (await ask(memory, mode=mode, **fields)).hits == ()  # type: ignore[arg-type]
    [(episode,)] = await memory.rows("SELECT id FROM episode")
    assert (await ask(memory, mode=Mode.SEQUENTIAL, filters=Filters(episode_id=episode))).hits == ()
    assert len((await ask(memory, "invoices", agent_id=other)).hits) > 0


async def test_a_filter_costs_no_hit_that_it_lets_through(memory: Bench) -> None:
    """An index that is searched first and filtered then gives too few."""
    for number in range(60):
        await memory.remember(f"Ann: The invoices of month {number} are paid.", outcome=Outcome.SUCCESS)
    for number in range(5):
        await memory.remember(f"Ann: The invoices of year {number} are lost.", outcome=Outcome.FAILURE)
    await memory.embed()
    recalled = await ask(memory, "invoices", filters=Filters(outcomes=[Outcome.FAILURE]))
    assert len(recalled.hits) == 5
    assert {hit.outcome for hit in recalled.hits} == {Outcome.FAILURE}


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (Filters(speakers=["BEN"]), 2),
        (Filters(sources=[Source.IMPORT]), 0),
        (Filters(since=MORNING + timedelta(minutes=2)), 2),
        (Filters(until=MORNING + timedelta(minutes=1)), 1),
        (Filters(importance=0.9), 0),
    ],
    ids=["speaker", "source", "since", "until", "importance"],
)
async def test_filters(memory: Bench, filters: Filters, count: int) -> None:
    await memory.remember(*CHAT)
    await memory.embed()
    recalled = await ask(memory, "the invoices and the backup key in the cabinet", filters=filters)
    assert len(recalled.hits) == count


async def test_an_episode_comes_whole_and_in_order(memory: Bench) -> None:
    written = await memory.remember(*CHAT)
    wanted = Filters(episode_id=written.id)
    first = await ask(memory, mode=Mode.SEQUENTIAL, filters=wanted, limit=3)
    rest = await ask(memory, mode=Mode.SEQUENTIAL, filters=wanted, limit=3, after=first.hits[-1].position)
    assert (first.cut, rest.cut) == (True, False)
    assert [f"{hit.speaker}: {hit.text}" for hit in (*first.hits, *rest.hits)] == list(CHAT)


async def test_by_time_before_after_and_around(memory: Bench) -> None:
    for day in range(5):
        await memory.remember(f"Ann: day {day}", at=MORNING + timedelta(days=day))
    third = MORNING + timedelta(days=2)
    assert texts(await ask(memory, mode=Mode.TEMPORAL, filters=Filters(until=third))) == ["day 0", "day 1"]
    assert texts(await ask(memory, mode=Mode.TEMPORAL, filters=Filters(since=third))) == ["day 2", "day 3", "day 4"]
    near = await ask(memory, mode=Mode.TEMPORAL, around=third + timedelta(hours=1), limit=2)
    assert texts(near) == ["day 2", "day 3"]


async def test_a_task_brings_up_what_went_wrong_before(memory: Bench) -> None:
    for number in range(8):
        await memory.remember(f"Ann: Deploy shop release {number}.", "bot: Deployed.", outcome=Outcome.SUCCESS)
    await memory.remember("Ann: Deploy the shop.", "bot: The migration failed.", outcome=Outcome.FAILURE)
    await memory.remember("Ann: What is for lunch?", outcome=Outcome.SUCCESS, at=MORNING + timedelta(days=1))
    await memory.embed()
    recalled = await ask(memory, "Deploy shop release 9", mode=Mode.CONTEXTUAL, limit=6)
    reasons = {hit.text: hit.reason for hit in recalled.hits}
    assert reasons["Deploy the shop."] is Reason.WENT_WRONG
    assert reasons["What is for lunch?"] is Reason.RECENT
    assert Reason.SIMILAR in reasons.values()
    assert len(recalled.hits) == 6


async def test_the_same_words_are_one_hit(memory: Bench) -> None:
    for _ in range(3):
        await memory.remember("Ann: The invoices  went to Berlin.", "Ann: Other matters.")
    await memory.embed()
    recalled = await ask(memory, "invoices Berlin")
    assert [text.split() for text in texts(recalled)].count("The invoices went to Berlin.".split()) == 1  # noqa: SIM905 - reads as it is


async def test_hits_fit_the_budget_of_tokens(memory: Bench) -> None:
    await memory.remember(*[f"Ann: invoices {'word ' * 100}{number}" for number in range(20)])
    await memory.embed()
    recalled = await ask(memory, "invoices", tokens=400)
    assert 0 < len(recalled.hits) < 20
    assert recalled.tokens <= 400
    assert recalled.cut
    assert len((await ask(memory, "invoices", tokens=1)).hits) == 1


async def test_what_is_recalled_is_counted(memory: Bench) -> None:
    written = await memory.remember(*CHAT)
    await ask(memory, "invoices")
    await ask(memory, "invoices")
    rows = await memory.rows(
        "SELECT access_count, last_access_at > created_at FROM episode WHERE id = :id", id=written.id
    )
    assert rows == [(2, True)]


async def test_age_never_hides_an_episode(memory: Bench) -> None:
    """A memory of ten years ago that answers comes before one of today that does not."""
    await memory.remember("Ann: The vault opens with the word marzipan.", at=MORNING - timedelta(days=3650))
    await memory.remember("Ann: The vault is in the cellar.", at=MORNING)
    await memory.embed()
    assert texts(await ask(memory, "marzipan"))[0] == "The vault opens with the word marzipan."


async def test_without_an_embedder_it_is_by_words_and_says_so(memory: Bench) -> None:
    await memory.remember(*CHAT)
    with_vectors = memory.layer.recall
    settings, metrics = with_vectors.settings, with_vectors.metrics
    nobody = QuestionVectors(memory.sessions, Embedders(None), 2.0)
    alone = RecallService(memory.sessions, nobody, settings, metrics, SystemClock(), with_vectors.texts)
    recalled = await alone.recall(Question(memory.agent_id, "invoices to Berlin"))
    assert recalled.words_only is WordsOnly.NO_EMBEDDER
    assert recalled.hits[0].text == "The invoices went to Berlin with Carla."
    assert recalled.hits[0].why is not None
    assert recalled.hits[0].why.cosine is None


async def test_without_pgvector_it_is_by_words_and_says_so(memory: Bench, cluster: Cluster, database: URL) -> None:
    with cluster.on(database) as admin:
        admin.execute("DROP EXTENSION vector CASCADE")
    await memory.remember(*CHAT)
    recalled = await ask(memory, "invoices to Berlin")
    assert (recalled.words_only, recalled.hits[0].text) == (
        WordsOnly.NO_PGVECTOR,
        "The invoices went to Berlin with Carla.",
    )


@pytest.mark.parametrize(
    "query", ["it's \\ a 'quoted' \\' & | ! word:* <-> (", "\x00", "the of and", "%s :name $1", "\U0001f600"]
)
async def test_any_text_can_be_asked(memory: Bench, query: str) -> None:
    await memory.remember("Ann: it's a 'quoted' \\ word:* with $1", *CHAT)
    await memory.embed()
    assert len((await ask(memory, query)).hits) <= 5


async def test_a_word_with_quotes_and_backslashes_is_found(memory: Bench) -> None:
    await memory.remember("Ann: see C:\\temp\\o'brien.txt and /srv/o'brien/a.txt", "Ben: no")
    recalled = await ask(memory, "o'brien.txt")
    assert recalled.hits[0].speaker == "Ann"


@pytest.mark.parametrize(
    "question",
    [
        {"mode": Mode.SEMANTIC},
        {"mode": Mode.CONTEXTUAL, "query": "  "},
        {"mode": Mode.SEQUENTIAL},
        {"mode": Mode.TEMPORAL},
        {"mode": Mode.TEMPORAL, "filters": Filters(since=MORNING.replace(tzinfo=None))},
    ],
)
async def test_a_question_that_its_mode_cannot_answer_is_refused(memory: Bench, question: dict[str, Any]) -> None:
    with pytest.raises(RecallInvalidError):
        await ask(memory, **question)


async def test_words_that_others_hold_cost_this_agent_nothing(memory: Bench) -> None:
    """Counts and postings are of the agent alone: another's million segments are not looked at."""
    other = await memory.agent("other")
    await memory.remember(*[f"Ann: invoices number {number}" for number in range(300)], agent_id=other)
    await memory.remember(*CHAT)
    recalled = await ask(memory, "invoices")
    alone: Hit = recalled.hits[0]
    assert alone.why is not None
    before = alone.why.lexical
    await memory.remember(*[f"Ann: more invoices {number}" for number in range(300)], agent_id=other)
    again = (await ask(memory, "invoices")).hits[0]
    assert again.why is not None
    assert again.why.lexical == before
    assert replace(again.why, strength=alone.why.strength) == alone.why


async def test_a_recall_asks_the_database_five_times_however_much_it_finds(memory: Bench) -> None:
    """Its size, the question's words, all candidates with their scores, the hits, and the count of recalls."""
    for number in range(30):
        await memory.remember(*[f"Ann: the invoices of month {number} went to Berlin, part {no}" for no in range(4)])
    await memory.embed()
    await ask(memory, "invoices to Berlin")  # from then on it is known which vectors answer
    seen: list[str] = []
    engine = memory.sessions.kw["bind"].sync_engine

    def before(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", before)
    try:
        recalled = await ask(memory, "invoices to Berlin")
    finally:
        event.remove(engine, "before_cursor_execute", before)
    assert len(recalled.hits) == memory.layer.recall.settings.recall_limit
    assert len(seen) == 5, seen
