"""A change of the embedding model: both serve until the new one is complete, then the former one is removed."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from atom.infra.db import unit_of_work
from atom.kit.clock import SystemClock
from atom.memory import embedding
from atom.memory.asking import QuestionVectors, WordsOnly
from atom.memory.embedders import Embedders, embedders
from atom.memory.embedding import EmbeddingWorker
from atom.memory.layer import MemoryLayer, build_memory
from atom.memory.recall import Question, Recalled, RecallService
from atom.memory.tiers import to_hot, to_warm
from atom.memory.vector_store import index_name
from atom.retrieval.adapters.openai_embeddings import EndpointEmbedder, EndpointOptions
from atom.retrieval.errors import EmbedderAwayError, EmbedderError, EmbedderRefusedError
from atom.retrieval.ports import Embedder
from atom.retrieval.testing import Answer, EmbeddingEndpoint, WordEmbedder
from atom.settings import MemorySettings
from tests.memory.conftest import AGENTS, Bench

MODELS = "SELECT model, count(*) FROM episode_vector GROUP BY model ORDER BY model"
KNOWN = "SELECT model, current, complete_at IS NOT NULL FROM episode_vector_model ORDER BY model"
KEY = "sk-embedder-0123456789abcdef"
SAID = ("Ann: The cat sleeps.", "Bob: It rains in Berlin.", "Ann: The invoices are with Carla.")


@pytest.fixture
def endpoint() -> Iterator[EmbeddingEndpoint]:
    with EmbeddingEndpoint(dimensions=48).running() as found:
        yield found


def newer(name: str = "words-2") -> WordEmbedder:
    return WordEmbedder(name=name, dimensions=32)


def asking(memory: Bench, current: Embedder | None, *others: Embedder, patience: float = 20.0) -> RecallService:
    """A process that is set to `current` and can ask `others`."""
    recall = memory.layer.recall
    shelf = Embedders(current, {one.name: one for one in others})
    return replace(recall, questions=QuestionVectors(memory.sessions, shelf, patience))


async def ask(memory: Bench, service: RecallService, query: str = "cat sleeps") -> Recalled:
    return await service.recall(Question(memory.agent_id, query))


async def drained(worker: EmbeddingWorker) -> None:
    while await worker.once():
        pass


async def until_complete(memory: Bench, worker: EmbeddingWorker, model: str) -> None:
    while (model, True, True) not in await memory.rows(KNOWN):
        assert await worker.once()


async def test_until_the_new_model_is_complete_the_former_one_answers(memory: Bench) -> None:
    await memory.remember(*SAID)
    await memory.embed()
    new = newer()
    service, worker = asking(memory, new, memory.embedder), memory.worker(new)
    assert await worker.once()
    recalled = await ask(memory, service)
    assert (recalled.model, recalled.re_embedding, recalled.words_only) == ("words", True, None)
    assert recalled.hits[0].why is not None
    assert recalled.hits[0].why.cosine is not None
    await until_complete(memory, worker, "words-2")
    recalled = await ask(memory, service)
    assert (recalled.model, recalled.re_embedding) == ("words-2", False)
    assert await memory.rows(MODELS) == [("words", 3), ("words-2", 3)]


async def test_where_the_former_embedder_is_gone_the_new_one_answers_with_what_it_has_and_says_so(
    memory: Bench,
) -> None:
    await memory.remember(*SAID)
    await memory.embed()
    new = newer()
    worker = memory.worker(new)
    assert await worker.once()
    recalled = await ask(memory, asking(memory, new))
    assert (recalled.model, recalled.re_embedding) == ("words-2", True)
    assert recalled.hits[0].text == "The cat sleeps."


async def test_former_vectors_and_their_index_go_when_the_new_ones_are_complete_and_not_before(memory: Bench) -> None:
    await memory.remember(*SAID)
    await memory.embed()
    worker = memory.worker(newer())
    await drained(worker)
    assert await memory.rows(MODELS) == [("words", 3), ("words-2", 3)], "processes go on with their choice for a while"
    worker.grace_seconds = 0
    await drained(worker)
    assert await memory.rows(MODELS) == [("words-2", 3)]
    assert await memory.rows(KNOWN) == [("words-2", True, True)]
    names = {name for (name,) in await memory.rows("SELECT indexname FROM pg_indexes WHERE tablename='episode_vector'")}
    assert index_name("words-2") in names
    assert index_name("words") not in names
    assert await memory.rows("SELECT count(*) FROM episode_segment WHERE lexemes = ''") == [(0,)]


async def test_a_change_back_goes_on_with_the_vectors_that_are_still_there(memory: Bench) -> None:
    await memory.remember(*SAID)
    await memory.embed()
    worker = memory.worker(newer())
    await drained(worker)
    await memory.remember("Ann: said meanwhile")
    await drained(worker)
    former = WordEmbedder()
    await drained(memory.worker(former))
    assert former.asked == ["Ann: said meanwhile"]
    assert await memory.rows(KNOWN) == [("words", True, True), ("words-2", False, True)]


async def test_who_started_last_decides_and_others_stand_aside_until_nobody_is_left(memory: Bench) -> None:
    await memory.remember(*SAID)
    await memory.embed()
    new, old = newer(), memory.layer.embedding
    await drained(memory.worker(new))
    await memory.remember("Ann: said meanwhile")
    assert await old.once() is False
    assert await old.once() is False
    assert await memory.rows(MODELS) == [("words", 3), ("words-2", 3)]
    await memory.execute("UPDATE episode_vector_model SET seen_at = now() - interval '2 minutes'")
    await drained(old)
    assert (await memory.rows(MODELS))[0] == ("words", 4)


async def test_a_batch_of_a_model_that_was_followed_meanwhile_is_done_by_its_successor(memory: Bench) -> None:
    """It is computing while the model is changed: neither its vectors nor the end of the waiting are recorded."""
    await memory.remember(*SAID)
    new = newer()

    class Slow(WordEmbedder):
        async def embed(self, texts: Any) -> Any:
            found = await WordEmbedder.embed(self, texts)
            await memory.worker(new).once()  # it starts, and decides
            return found

    assert await memory.worker(Slow()).once()
    assert await memory.rows(MODELS) == []
    await memory.execute("UPDATE episode_unembedded SET leased_until = 'epoch'")
    await drained(memory.worker(new))
    assert await memory.rows(MODELS) == [("words-2", 3)]


async def test_progress_is_told_by_model(memory: Bench) -> None:
    await memory.remember(*[f"Ann: number {number}" for number in range(embedding.BATCH + 4)])
    await memory.remember("Ann: another agent's", agent_id=await memory.agent("other"))
    await memory.embed()
    worker = memory.worker(newer())
    await worker.once()  # looks for what lacks a vector
    await worker.once()
    async with unit_of_work(memory.sessions) as session:
        all_ = (await memory.service.stats(session, None)).embedding
        one = (await memory.service.stats(session, "other")).embedding
    assert all_ is not None
    assert one is not None
    assert (all_.model, all_.done, all_.total, all_.complete) == (
        "words-2",
        embedding.BATCH,
        embedding.BATCH + 5,
        False,
    )
    assert (one.total, all_.former) == (1, ("words",))
    await drained(worker)
    async with unit_of_work(memory.sessions) as session:
        all_ = (await memory.service.stats(session, None)).embedding
    assert all_ is not None
    assert (all_.done, all_.complete) == (embedding.BATCH + 5, True)


async def test_segments_of_warm_episodes_are_embedded_with_their_words(memory: Bench) -> None:
    written = await memory.remember(*SAID)
    async with unit_of_work(memory.sessions) as session:
        await to_warm(session, [written.id])
    await memory.embed()
    assert sorted(memory.embedder.asked) == sorted(SAID)


@pytest.mark.parametrize("back", [False, True], ids=["to warm", "to hot"])
async def test_an_episode_that_is_just_being_moved_is_embedded_with_its_words_and_waited_for_by_nobody(
    memory: Bench,
    back: bool,  # noqa: FBT001
) -> None:
    await memory.embed()  # makes the tables
    moving = await memory.remember(*SAID)
    await memory.remember("Ann: another episode")
    if back:
        async with unit_of_work(memory.sessions) as session:
            await to_warm(session, [moving.id])
    async with unit_of_work(memory.sessions) as session:
        await (to_hot if back else to_warm)(session, [moving.id])
        await asyncio.wait_for(memory.embed(), 20)
        assert sorted(memory.embedder.asked) == sorted(["Ann: another episode", *SAID])
    assert await memory.rows("SELECT count(*) FROM episode_unembedded") == [(0,)]


async def test_a_damaged_body_holds_up_no_other_episode(memory: Bench) -> None:
    damaged = await memory.remember(*SAID)
    await memory.remember("Ann: another episode")
    async with unit_of_work(memory.sessions) as session:
        await to_warm(session, [damaged.id])
    await memory.execute("UPDATE episode_body SET body = '\\x00'")
    await memory.embed()
    assert memory.embedder.asked == ["Ann: another episode"]
    assert await memory.rows("SELECT count(*) FROM episode_unembedded WHERE leased_until > now()") == [(3,)]


# --- an endpoint ---------------------------------------------------------------------------------------------------


def of(endpoint: EmbeddingEndpoint, *, model: str = "nomic") -> EndpointEmbedder:
    return EndpointEmbedder(EndpointOptions(endpoint.url, model, SecretStr(KEY), 20.0))


def layer_on(memory: Bench, endpoint: EmbeddingEndpoint, **settings: Any) -> MemoryLayer:
    chosen = MemorySettings(
        embedder="openai",
        embedder_url=endpoint.url,
        embedder_model="nomic",
        embedder_key=SecretStr(KEY),
        embedder_question_timeout=20.0,
    ).model_copy(update=settings)
    return build_memory(
        AGENTS,
        chosen,
        memory.sessions,
        embedder=memory.embedder,
        registry=CollectorRegistry(),
        clock=SystemClock(),
        cold=memory.cold,
    )


async def test_memory_with_an_endpoint_from_the_settings(memory: Bench, endpoint: EmbeddingEndpoint) -> None:
    layer = layer_on(memory, endpoint)
    await memory.remember(*SAID)
    await drained(layer.embedding)
    assert await memory.rows("SELECT model, vector_dims(embedding) FROM episode_vector LIMIT 1") == [
        ("openai:nomic", 48)
    ]
    recalled = await layer.recall.recall(Question(memory.agent_id, "cat sleeps"))
    assert (recalled.model, recalled.words_only) == ("openai:nomic", None)
    assert recalled.hits[0].text == "The cat sleeps."
    assert set(endpoint.keys) == {f"Bearer {KEY}"}
    await layer.aclose()


async def test_from_the_local_model_to_an_endpoint_the_local_one_answers_meanwhile(
    memory: Bench, endpoint: EmbeddingEndpoint
) -> None:
    await memory.remember(*SAID)
    await memory.embed()
    layer = layer_on(memory, endpoint)
    assert await layer.embedding.once()
    recalled = await layer.recall.recall(Question(memory.agent_id, "cat sleeps"))
    assert (recalled.model, recalled.re_embedding) == ("words", True)
    await drained(layer.embedding)
    recalled = await layer.recall.recall(Question(memory.agent_id, "cat sleeps"))
    assert (recalled.model, recalled.re_embedding) == ("openai:nomic", False)
    await layer.aclose()


async def test_from_one_model_of_an_endpoint_to_another_the_former_is_asked_there(
    memory: Bench, endpoint: EmbeddingEndpoint
) -> None:
    await memory.remember(*SAID)
    await drained(memory.worker(of(endpoint, model="older")))
    layer = layer_on(memory, endpoint)
    assert await layer.embedding.once()
    endpoint.models.clear()
    recalled = await layer.recall.recall(Question(memory.agent_id, "cat sleeps"))
    assert (recalled.model, endpoint.models) == ("openai:older", ["older"])
    await layer.aclose()


async def test_with_the_endpoint_down_words_answer_within_a_bound_and_say_so(
    memory: Bench, endpoint: EmbeddingEndpoint
) -> None:
    layer = layer_on(memory, endpoint, embedder_question_timeout=0.2)
    await memory.remember(*SAID)
    await drained(layer.embedding)
    endpoint.always = Answer(wait=True)
    recalled = await layer.recall.recall(Question(memory.agent_id, "cat sleeps"))
    assert (recalled.words_only, recalled.model) == (WordsOnly.EMBEDDER_AWAY, None)
    assert recalled.hits[0].text == "The cat sleeps."
    asked = len(endpoint.asked)
    recalled = await layer.recall.recall(Question(memory.agent_id, "cat sleeps"))
    assert recalled.words_only is WordsOnly.EMBEDDER_AWAY
    assert len(endpoint.asked) == asked, "the next question does not wait for what has just failed"
    await layer.aclose()


async def test_with_a_former_endpoint_down_the_new_model_answers_with_what_it_has(
    memory: Bench, endpoint: EmbeddingEndpoint
) -> None:
    await memory.remember(*SAID)
    await drained(memory.worker(of(endpoint)))
    endpoint.always = Answer(503)
    new = newer()
    await memory.worker(new).once()
    service = asking(memory, new, of(endpoint), patience=0.2)
    recalled = await ask(memory, service)
    assert (recalled.model, recalled.re_embedding) == ("words-2", True)


async def test_vectors_of_a_model_that_this_process_cannot_ask_are_not_compared_with(memory: Bench) -> None:
    await memory.remember(*SAID)
    await memory.embed()
    recalled = await ask(memory, asking(memory, newer()))
    assert (recalled.words_only, recalled.hits[0].text) == (WordsOnly.OTHER_MODEL, "The cat sleeps.")


async def test_what_an_endpoint_could_not_take_now_waits_and_is_not_lost(
    memory: Bench, endpoint: EmbeddingEndpoint
) -> None:
    worker = memory.worker(of(endpoint))
    await memory.remember(*SAID)
    await worker.once()
    await memory.remember("Ann: later")
    endpoint.always = Answer(503, headers={"retry-after": "3600"})
    with pytest.raises(EmbedderAwayError):
        await worker.once()
    endpoint.always = None
    await drained(worker)
    assert await memory.rows(MODELS) == [("openai:nomic", 4)]


async def test_a_text_that_the_model_refuses_is_set_aside_and_holds_up_no_other(
    memory: Bench, endpoint: EmbeddingEndpoint
) -> None:
    endpoint.refuse = lambda text: "poison" in text
    await memory.remember(*SAID, "Ann: poison")
    worker = memory.worker(of(endpoint))
    await drained(worker)
    assert await memory.rows(MODELS) == [("openai:nomic", 3)]
    assert await memory.rows(KNOWN) == [("openai:nomic", True, True)]
    await drained(memory.worker(newer()))
    assert ("words-2", 4) in await memory.rows(MODELS)


async def test_where_every_text_is_refused_it_is_not_the_texts_fault(
    memory: Bench, endpoint: EmbeddingEndpoint
) -> None:
    worker = memory.worker(of(endpoint))
    await drained(worker)
    await memory.remember(*SAID)
    endpoint.refuse = lambda _: True
    with pytest.raises(EmbedderError, match="ATOM_MEMORY__EMBEDDER_MODEL"):
        await worker.once()
    assert await memory.rows("SELECT count(*) FROM episode_unembedded WHERE leased_until <= now()") == [(3,)]


async def test_another_length_under_the_same_name_is_refused_with_the_setting(
    memory: Bench, endpoint: EmbeddingEndpoint
) -> None:
    await memory.remember(*SAID)
    await drained(memory.worker(of(endpoint)))
    endpoint.dimensions = 16
    with pytest.raises(EmbedderRefusedError, match="ATOM_MEMORY__EMBEDDER_MODEL"):
        await memory.worker(of(endpoint)).once()


def test_nothing_is_sent_to_an_endpoint_that_nobody_has_named() -> None:
    local = WordEmbedder()
    assert embedders(MemorySettings(), local).named("openai:text-embedding-3-small") is None
    named = MemorySettings(embedder_url="http://127.0.0.1:9/v1")
    assert embedders(named, local).named("openai:any") is not None
    assert embedders(MemorySettings(embedder="none"), local).current is None
    assert embedders(MemorySettings(), None).current is None
