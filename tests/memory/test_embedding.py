"""Vectors are made in the background, each once, whoever dies, and where the database can keep them."""

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import URL

from atom.memory.metrics import MemoryMetrics
from atom.memory.vector_store import index_name
from atom.retrieval.testing import WordEmbedder
from tests.conftest import Cluster
from tests.memory.conftest import Bench

MODELS = "SELECT model, count(*) FROM episode_vector GROUP BY model ORDER BY model"


async def test_every_segment_gets_its_vector_of_speaker_and_words(memory: Bench) -> None:
    await memory.remember("Ann: The cat sleeps.", "Ben: It rains.")
    await memory.embed()
    assert await memory.rows(MODELS) == [("words", 2)]
    assert await memory.rows("SELECT count(*) FROM episode_unembedded") == [(0,)]
    assert sorted(memory.embedder.asked) == ["Ann: The cat sleeps.", "Ben: It rains."]


async def test_what_a_dead_worker_had_in_hand_is_done_by_the_next(memory: Bench) -> None:
    await memory.remember("Ann: one", "Ann: two")
    with pytest.raises(RuntimeError, match="broke"):
        await memory.worker(WordEmbedder(broken_after=1)).once()
    await memory.embed()
    assert await memory.rows(MODELS) == []
    await memory.execute("UPDATE episode_unembedded SET leased_until = now()")
    await memory.embed()
    assert await memory.rows(MODELS) == [("words", 2)]


async def test_two_workers_never_have_the_same_batch(memory: Bench) -> None:
    await memory.remember(*[f"Ann: number {number}" for number in range(40)])
    other = WordEmbedder()
    first, second = memory.layer.embedding, memory.worker(other)
    while await first.once() | await second.once():
        pass
    assert len(memory.embedder.asked) + len(other.asked) == 40
    assert await memory.rows(MODELS) == [("words", 40)]


async def test_another_model_embeds_everything_again_while_the_former_serves(memory: Bench) -> None:
    await memory.remember("Ann: one", "Ann: two")
    await memory.embed()
    worker = memory.worker(WordEmbedder(name="words-2", dimensions=32))
    while await worker.once():
        pass
    assert await memory.rows(MODELS) == [("words", 2), ("words-2", 2)]
    names = {name for (name,) in await memory.rows("SELECT indexname FROM pg_indexes WHERE tablename='episode_vector'")}
    assert {index_name("words"), index_name("words-2")} <= names


async def test_without_pgvector_nothing_is_embedded_and_nothing_fails(
    memory: Bench, cluster: Cluster, database: URL
) -> None:
    with cluster.on(database) as admin:
        admin.execute("DROP EXTENSION vector CASCADE")
    await memory.remember("Ann: one")
    assert await memory.layer.embedding.once() is False
    assert await memory.rows("SELECT count(*) FROM episode_unembedded") == [(1,)]
    with cluster.on(database) as admin:
        admin.execute("CREATE EXTENSION vector")
    await memory.embed()
    assert await memory.rows(MODELS) == [("words", 1)]


async def test_episodes_and_their_bytes_are_counted_by_tier(memory: Bench) -> None:
    registry = CollectorRegistry()
    metrics = MemoryMetrics(registry)
    metrics.count({"hot": (3, 9, 270)})
    assert registry.get_sample_value("atom_episodes", {"tier": "hot"}) == 3
    assert registry.get_sample_value("atom_memory_bytes", {"tier": "hot"}) == 270
    assert registry.get_sample_value("atom_episodes", {"tier": "cold"}) == 0
    assert registry.get_sample_value("atom_memory_bytes", {"tier": "cold"}) == 0
