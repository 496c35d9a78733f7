"""A memory of any size, filled by COPY: texts and vectors as `bench/memory_scale.py` describes them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from atom.kit.ids import new_id
from atom.memory.vector_store import BY_AGENT, HNSW, index_name

DIMENSIONS = 384
SMALL = 1_000  # segments of an agent of the fixed size
EPISODE = 25  # segments of an episode
CLUSTERS = 300
WORDS = 30_000
MEDIAN_WORDS, SPREAD, MOST_WORDS = 21, 0.56, 200  # of a turn, as in LoCoMo's chats
SMALL_WORDS = ("the", "a", "and", "of", "to", "in", "it", "is", "that", "was", "i", "you", "we", "my", "have", "had")
RARE_FROM = 40  # the most frequent word that is indexed is one in some 270 of a text
CHUNK = 20_000
MODEL = "bench"
START = datetime(2026, 1, 1, tzinfo=UTC)
Floats = NDArray[np.float32]
EPISODES = """
    COPY episode (id, agent_id, source, title, summary, outcome, importance, provenance, labels, started_at, ended_at,
        storage_tier, segments, bytes, created_by, access_count, created_at) FROM STDIN
"""
STAGE = (
    "CREATE UNLOGGED TABLE staged (id uuid, episode_id uuid, agent_id uuid, position int, text text, at timestamptz)"
)
SEGMENTS = """
    INSERT INTO episode_segment (id, episode_id, agent_id, position, kind, speaker, ref, text, at, lexemes, terms)
    SELECT id, episode_id, agent_id, position, 'message', 'Ann', 't' || position, text, at, words,
           (SELECT coalesce(sum(cardinality(positions)), 0) FROM unnest(words))
    FROM staged, to_tsvector('english', 'Ann: ' || text) AS words
"""
TALLIES = """
    INSERT INTO episode_tally (agent_id, storage_tier, episodes, segments, terms, bytes)
    SELECT agent_id, 'hot', count(DISTINCT episode_id), count(*), sum(terms), sum(octet_length(text))
    FROM episode_segment GROUP BY agent_id
"""
SIZES = "UPDATE episode e SET bytes = (SELECT sum(octet_length(text)) FROM episode_segment s WHERE s.episode_id = e.id)"
LOOSE = "ALTER TABLE episode_vector DROP CONSTRAINT episode_vector_segment_id_fkey"
TIED = """
    ALTER TABLE episode_vector ADD CONSTRAINT episode_vector_segment_id_fkey
    FOREIGN KEY (segment_id) REFERENCES episode_segment (id) ON DELETE CASCADE
"""
GIN = "SELECT pg_get_indexdef('idx_episode_segment_words'::regclass)"
ROW = np.dtype(
    [
        ("fields", ">i2"), ("l1", ">i4"), ("segment", "V16"), ("l2", ">i4"), ("model", f"S{len(MODEL)}"),
        ("l3", ">i4"), ("agent", "V16"), ("l4", ">i4"), ("episode", "V16"),
        ("l5", ">i4"), ("dimensions", ">i2"), ("unused", ">i2"), ("vector", ">f2", (DIMENSIONS,)),
    ]
)  # fmt: skip
HEAD, TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that segments of an agent answer: words of one of them, and a vector near its."""

    agent_id: UUID
    query: str
    vector: list[float]


@dataclass(frozen=True, slots=True)
class Filled:
    """`seconds` of COPY with everything but indexes; `indexing` of the two large ones."""

    seconds: float
    indexing: float
    own: Sequence[Asked]
    fixed: Sequence[Asked]


class Maker:
    """Texts and vectors from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = np.random.default_rng(seed)
        letters = np.array([a + b for a in "bdfghklmnprstvz" for b in "aeiou"])
        drawn = self.chance.permutation(len(letters) ** 3)[:WORDS]
        places = np.stack([drawn, drawn // len(letters), drawn // len(letters) ** 2]) % len(letters)
        self.words = np.array([*SMALL_WORDS, *("".join(letters[place]) for place in places.T)])
        often = 1 / (np.arange(WORDS) + RARE_FROM)  # of what is no stop word, in half of the places
        small = np.full(len(SMALL_WORDS), 0.5 / len(SMALL_WORDS))
        self.often = np.cumsum(np.concatenate([small, 0.5 * often / often.sum()]))
        self.centres = _unit(self.chance.standard_normal((CLUSTERS, DIMENSIONS), np.float32))

    def texts(self, count: int) -> list[str]:
        lengths = np.clip(self.chance.lognormal(np.log(MEDIAN_WORDS), SPREAD, count), 1, MOST_WORDS).astype(int)
        words = self.words[np.searchsorted(self.often, self.chance.random(lengths.sum())).clip(0, len(self.words) - 1)]
        ends = np.cumsum(lengths)
        return [" ".join(words[end - length : end]) for end, length in zip(ends, lengths, strict=True)]

    def vectors(self, count: int) -> Floats:
        near = self.centres[self.chance.integers(0, CLUSTERS, count)]
        return self.beside(near, 1.0)

    def beside(self, rows: Floats, distance: float) -> Floats:
        noise = self.chance.standard_normal(rows.shape, np.float32) * np.float32(distance / np.sqrt(DIMENSIONS))
        return _unit(rows + noise)


def _unit(rows: Floats) -> Floats:
    found: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def fill(url: str, segments: int, agents: Sequence[UUID], questions: int, seed: int) -> Filled:
    """The first agent gets half of them, the others a thousand each. Questions: of the first, and of the second."""
    maker, began = Maker(seed), time.perf_counter()
    own: list[Asked] = []
    fixed: list[Asked] = []
    with psycopg.connect(url, autocommit=True, options="-c statement_timeout=0 -c maintenance_work_mem=2GB") as to:
        [gin] = to.execute(GIN).fetchone() or [""]
        to.execute("DROP INDEX idx_episode_segment_words")
        to.execute(LOOSE)
        to.execute(STAGE)
        for agent_id, count in _chunks(agents, segments):
            texts, vectors = maker.texts(count), maker.vectors(count)
            _write(to, agent_id, texts, vectors)
            kept = {agents[0]: own, agents[1]: fixed}.get(agent_id)
            if kept is not None:
                kept += _asked(maker, agent_id, texts, vectors, questions)
        for statement in (SEGMENTS, TALLIES, SIZES, TIED, "DROP TABLE staged"):
            to.execute(statement)
        copied = time.perf_counter() - began
        to.execute(gin)
        for statement in _vector_indexes():
            to.execute(statement)
        to.execute("VACUUM ANALYZE")
        chosen = maker.chance.permutation(len(own))[:questions]
        return Filled(copied, time.perf_counter() - began - copied, [own[no] for no in chosen], fixed[:questions])


def _chunks(agents: Sequence[UUID], segments: int) -> Iterator[tuple[UUID, int]]:
    left = segments // 2
    while left > 0:
        yield agents[0], min(CHUNK, left)
        left -= CHUNK
    yield from ((agent_id, SMALL) for agent_id in agents[1:])


def _vector_indexes() -> list[str]:
    return [BY_AGENT, HNSW.format(name=index_name(MODEL), dimensions=DIMENSIONS, model=MODEL)]


def _write(to: "psycopg.Connection[Any]", agent_id: UUID, texts: Sequence[str], vectors: Floats) -> None:
    ids = [new_id() for _ in texts]
    episodes = [new_id() for _ in range(0, len(texts), EPISODE)]
    with to.cursor() as cursor:
        with cursor.copy(EPISODES) as copy:
            for number, id_ in enumerate(episodes):
                at = START + timedelta(hours=number)
                size = min(EPISODE, len(texts) - number * EPISODE)
                fields = (id_, agent_id, "import", f"Episode {number}", "", "unknown", 0.5)
                marks = (Jsonb({"importance": 0.5}), Jsonb([]), at, at + timedelta(minutes=size))
                copy.write_row((*fields, *marks, "hot", size, 0, "bench", 0, at))
        with cursor.copy("COPY staged FROM STDIN") as copy:
            for number, (id_, text) in enumerate(zip(ids, texts, strict=True)):
                place = number % EPISODE
                at = START + timedelta(hours=number // EPISODE, minutes=place)
                copy.write_row((id_, episodes[number // EPISODE], agent_id, place, text, at))
        rows = np.zeros(len(texts), ROW)
        rows["fields"], rows["l1"], rows["l2"], rows["l3"], rows["l4"] = 5, 16, len(MODEL), 16, 16
        rows["l5"], rows["dimensions"], rows["model"] = 4 + 2 * DIMENSIONS, DIMENSIONS, MODEL.encode()
        rows["segment"] = np.array([id_.bytes for id_ in ids], "V16")
        rows["episode"] = np.array([episodes[number // EPISODE].bytes for number in range(len(ids))], "V16")
        rows["agent"] = np.array([agent_id.bytes] * len(ids), "V16")
        rows["vector"] = vectors
        with cursor.copy(
            "COPY episode_vector (segment_id, model, agent_id, episode_id, embedding) FROM STDIN (FORMAT binary)"
        ) as copy:
            copy.write(HEAD + rows.tobytes() + TAIL)


def _asked(maker: Maker, agent_id: UUID, texts: Sequence[str], vectors: Floats, count: int) -> list[Asked]:
    chosen = maker.chance.permutation(len(texts))[:count]
    near = maker.beside(vectors[chosen], 0.6)
    found = []
    for place, row in zip(chosen, near, strict=True):
        words = texts[place].split()
        some = [words[no] for no in maker.chance.permutation(len(words))[:7]]
        found.append(Asked(agent_id, " ".join(some), [float(one) for one in row]))
    return found
