"""How recall and writing hold up as memory grows: many agents, real text lengths, vectors that are given.

    .venv/bin/python bench/memory_scale.py [--scales 10000,100000] [--questions 200] [--json FILE]

Each scale is a database of so many segments: half of them one agent's, the rest of agents with 1,000 each. Texts are
as long as those of chats and their words as frequent as words are; vectors stand in clusters. Rows are filled by COPY,
indexes built afterwards. Then questions are asked of every database in turn, by the public recall (`RecallService`,
its question's vector given) and as the SQL of its two legs, written by hand on a plain connection: how many hold
each word and the best 200 by BM25, the nearest 200 by cosine. Ratios are of one run, side by side. At the end the
memory of the largest agent is consolidated, and that of a small one archived to a folder.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a program, and imported by tests

from bench.consolidation import consolidation_rate
from bench.memory.fill import EPISODE, MODEL, SMALL, START, Asked, Filled, Maker, fill
from bench.memory.raw import Raw
from bench.recall import BY, database
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, text

from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.infra.db import Sessions, create_engine, create_sessions, unit_of_work
from atom.infra.log import configure
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.kit.clock import SystemClock
from atom.memory import job_runs, model_store, vector_store
from atom.memory.adapters.cold_objects import open_cold_store
from atom.memory.archive_store import Due
from atom.memory.drafts import Draft, SegmentKind, Source, Turn
from atom.memory.layer import MemoryLayer, build_memory
from atom.memory.recall import Question
from atom.memory.tiers import Moved, to_warm
from atom.retrieval.vectors import Vectors, dot_products
from atom.settings import DatabaseSettings, MemorySettings

DIMENSIONS = 384
WARM_UP = 10
WRITTEN = 40  # episodes, by the public service
MOVED = 40  # episodes
P95_GOAL, RAW_GOAL, FIXED_GOAL, OWN_GOAL = 25.0, 2.0, 1.5, 3.0
SIZES = """
    SELECT sum(s.segments)::bigint, pg_table_size('episode_segment'), pg_indexes_size('episode_segment'),
        pg_table_size('episode_vector'), pg_indexes_size('episode_vector') FROM episode_tally s
"""


@dataclass(slots=True)
class Given:
    """The embedder of a question whose vector is known."""

    name: str = MODEL
    dimensions: int = DIMENSIONS
    vector: Sequence[float] = ()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return Vectors.of([self.vector for _ in texts], DIMENSIONS)

    def similarities(self, query: Vectors, rows: Vectors) -> list[float]:
        return dot_products(query, rows)

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class Store:
    """One database. Milliseconds by what was asked: (`own` or `fixed`, `recall` or `raw`)."""

    segments: int
    sessions: Sessions
    memory: MemoryLayer
    given: Given
    raw: Raw
    filled: Filled
    times: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    async def ask(self, kind: str, asked: Asked, *, counted: bool) -> None:
        self.given.vector = asked.vector
        recalled = await self.memory.recall.recall(Question(asked.agent_id, asked.query))
        assert recalled.words_only is None
        _, _, seconds = self.raw.ask(asked.agent_id, asked.query, asked.vector)
        if counted:
            self.times.setdefault((kind, "recall"), []).append(recalled.seconds * 1000)
            self.times.setdefault((kind, "raw"), []).append(seconds * 1000)

    def p(self, kind: str, what: str, share: float) -> float:
        ordered = sorted(self.times[kind, what])
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def opened(url: URL, segments: int, questions: int, home: Path) -> Store:
    engine = create_engine(url, DatabaseSettings(pool_size=2, max_overflow=0))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    agents, given = AgentService(Outbox(Signal()), frozenset(), lambda _: None), Given()
    memory = build_memory(
        agents,
        MemorySettings(),
        sessions,
        embedder=given,
        registry=CollectorRegistry(),
        clock=SystemClock(),
        cold=open_cold_store(MemorySettings(), home),
    )
    ids: list[UUID] = []
    async with unit_of_work(sessions) as session:
        ids += [
            (await agents.create(session, BY, f"agent-{number}", Changes())).id
            for number in range(max(2, 1 + segments // 2 // SMALL))
        ]
        await vector_store.prepare(session, MODEL, DIMENSIONS)
        await model_store.follow(session, MODEL, DIMENSIONS)
        await session.execute(text("UPDATE episode_vector_model SET looked_until = NULL, complete_at = now()"))
        await session.execute(text(f"DROP INDEX {vector_store.index_name(MODEL)}, idx_episode_vector_agent"))
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    filled = await asyncio.to_thread(fill, plain, segments, ids, questions, 7)
    print(f"{segments}: filled in {filled.seconds:.0f} s, indexed in {filled.indexing:.0f} s", flush=True)
    return Store(segments, sessions, memory, given, Raw(plain, MODEL, DIMENSIONS), filled)


async def asked_in_turn(stores: Sequence[Store], questions: int) -> None:
    """Each question of every store before the next one: what disturbs one disturbs all."""
    for number in range(-WARM_UP, questions):
        for kind in ("own", "fixed"):
            for store in stores:
                every = store.filled.own if kind == "own" else store.filled.fixed
                await store.ask(kind, every[number % len(every)], counted=number >= 0)


async def written(store: Store) -> float:
    """Segments a second, an episode a transaction, with everything but vectors."""
    maker, agent_id = Maker(11), store.filled.fixed[0].agent_id
    drafts = []
    for number in range(WRITTEN):
        turns = [Turn(SegmentKind.MESSAGE, "Ann", one, START, f"t{no}") for no, one in enumerate(maker.texts(EPISODE))]
        drafts.append(Draft(agent_id, Source.API, turns, BY.actor, frozenset(), ref=f"written-{number}"))
    began = time.perf_counter()
    for draft in drafts:
        async with unit_of_work(store.sessions) as session:
            await store.memory.service.record(session, draft)
    return WRITTEN * EPISODE / (time.perf_counter() - began)


async def moved(store: Store) -> Moved:
    async with unit_of_work(store.sessions) as session:
        query = text("SELECT id FROM episode WHERE segments = :size AND source = 'import' ORDER BY id LIMIT :limit")
        ids = (await session.scalars(query, {"size": EPISODE, "limit": MOVED})).all()
        return await to_warm(session, [*ids])


async def weighed(store: Store) -> dict[str, float]:
    """Bytes a segment takes: its row, its words, its vector, their indexes, and its text in each tier."""
    async with unit_of_work(store.sessions) as session:
        row = (await session.execute(text(SIZES))).one()
    count, table, indexes, vectors, vector_indexes = (int(one) for one in row)
    moves = await moved(store)
    return {
        "row and lexemes": table / count,
        "indexes of rows": indexes / count,
        "vector": vectors / count,
        "indexes of vectors": vector_indexes / count,
        "text, hot": moves.bytes_before / max(1, moves.segments),
        "text, warm": moves.bytes_after / max(1, moves.segments),
    }


async def cared_for(store: Store) -> list[dict[str, Any]]:
    """How fast the guide's remedy is, and what it leaves."""
    name = f"{store.segments // 1000} k"
    rate = await consolidation_rate(store.memory, store.sessions, store.filled.own[0].agent_id)
    async with unit_of_work(store.sessions) as session:
        archive = await job_runs.record_started(session, "archive", whole=False)
    began = time.perf_counter()
    done = await store.memory.archivist.archive(Due(store.filled.fixed[0].agent_id), archive, silent)
    seconds = time.perf_counter() - began
    return [
        {"name": f"{name}: consolidated", "value": rate.per_second, "unit": "episodes/s"},
        {"name": f"{name}: archived", "value": done.segments / seconds, "unit": "seg/s"},
        {"name": f"{name}: text, cold", "value": done.bytes_after / max(1, done.segments), "unit": "B/seg"},
    ]


async def silent(_: int, __: int | None) -> None:
    """Nobody watches."""


async def run(urls: Sequence[URL], scales: Sequence[int], questions: int, home: Path) -> dict[str, Any]:
    stores = [await opened(url, segments, questions, home) for url, segments in zip(urls, scales, strict=True)]
    await asked_in_turn(stores, questions)
    rows: list[dict[str, Any]] = []
    for store in stores:
        rows += of_store(store, await written(store), await weighed(store))
        rows += await cared_for(store)
    rows += growth(stores)
    for store in stores:
        store.raw.close()
        await store.sessions.kw["bind"].dispose()
    return {"rows": rows, "questions": questions}


def of_store(store: Store, rate: float, weights: dict[str, float]) -> list[dict[str, Any]]:
    name = f"{store.segments // 1000} k"
    rows: list[dict[str, Any]] = [
        {"name": f"{name}: COPY without indexes", "value": store.segments / store.filled.seconds, "unit": "seg/s"},
        {"name": f"{name}: written by the service", "value": rate, "unit": "seg/s"},
    ]
    for kind, label in (("own", "half of all"), ("fixed", "agent of 1,000")):
        for what in ("recall", "raw"):
            p50, p95 = store.p(kind, what, 0.5), store.p(kind, what, 0.95)
            goal = {"goal": P95_GOAL} if what == "recall" and store.segments == 100_000 else {}
            rows.append({"name": f"{name}: {what} p50, {label}", "value": p50, "unit": "ms"})
            rows.append({"name": f"{name}: {what} p95, {label}", "value": p95, "unit": "ms", **goal})
        ratios = [one / other for one, other in zip(store.times[kind, "recall"], store.times[kind, "raw"], strict=True)]
        goal = {"goal": RAW_GOAL} if store.segments == 100_000 else {}
        rows.append({"name": f"{name}: recall / raw, {label}", "value": statistics.median(ratios), "unit": "x", **goal})
    rows += [{"name": f"{name}: {what}", "value": value, "unit": "B/seg"} for what, value in weights.items()]
    return rows


def growth(stores: Sequence[Store]) -> list[dict[str, Any]]:
    """From the smallest store to the largest."""
    if len(stores) < 2:
        return []
    low, high = min(stores, key=lambda one: one.segments), max(stores, key=lambda one: one.segments)
    name = f"{low.segments // 1000} k to {high.segments // 1000} k"
    fixed = high.p("fixed", "recall", 0.95) / low.p("fixed", "recall", 0.95)
    own = high.p("own", "recall", 0.95) / low.p("own", "recall", 0.95)
    return [
        {"name": f"p95 {name}, agent of 1,000", "value": fixed, "unit": "x", "goal": FIXED_GOAL},
        {"name": f"p95 {name}, agent with half of all", "value": own, "unit": "x", "goal": OWN_GOAL},
    ]


def measured(scales: Sequence[int], questions: int) -> dict[str, Any]:
    with ExitStack() as stack:
        urls = [stack.enter_context(database()) for _ in scales]
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atom-bench-cold-")))
        found = asyncio.run(run(urls, scales, questions, home))
    for row in found["rows"]:
        row["value"] = round(row["value"], 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", default="10000,100000", help="segments of each database, comma-separated")
    parser.add_argument("--questions", type=int, default=200, help="of each kind, of each database")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    configure("warning", None)
    found = measured([int(one) for one in options.scales.split(",")], options.questions)
    for row in found["rows"]:
        goal = f"   goal <= {row['goal']:g}" if "goal" in row else ""
        print(f"{row['name']:44} {row['value']:12,.2f} {row['unit']}{goal}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
