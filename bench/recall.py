"""How well memory finds what answers a question, on conversations in the format of LoCoMo.

    .venv/bin/python bench/recall.py [PATH] [--questions N] [--tiers] [--json FILE]

Each conversation is one agent's memory, each session an episode, as `atom episodes import` makes them; the vectors
are the local model's. Asked is the public recall (`RecallService`). Beside it, from the same database: BM25 alone,
vectors alone, and both by reciprocal rank fusion (k = 60). R@k is the share of a question's evidence turns among the
first k hits; for sessions, the share of evidence sessions among the first k sessions of the hits. Intervals are of
95 %, by bootstrap over conversations. Questions of category 5 (which have no answer) and those without evidence are
left out. With --tiers everything is asked again when all texts are packed (warm), and when they are in the cold store.
Without PATH it runs on a small generated conversation: that shows that it works, not how well.
"""

import argparse
import asyncio
import json
import math
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a program, and imported by others

from bench.memory.raw import Raw
from prometheus_client import CollectorRegistry
from sqlalchemy import URL

from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.governance.models import Label
from atom.identity.models import Principal, Role
from atom.infra.database_url import parse_database_url
from atom.infra.db import Sessions, create_engine, create_sessions, unit_of_work
from atom.infra.embedded_postgres import EmbeddedPostgres
from atom.infra.log import configure
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.infra.schema import migrate
from atom.kit.clock import SystemClock
from atom.kit.ids import new_id
from atom.memory import job_runs, store
from atom.memory.archive_store import Due
from atom.memory.drafts import Draft, SegmentKind, Source, Turn
from atom.memory.layer import MemoryLayer, build_memory
from atom.memory.models import Tier
from atom.memory.recall import Question
from atom.memory.testing import FaultyColdStore
from atom.memory.tiers import to_warm
from atom.memory.transcripts import Format, read
from atom.retrieval.local_embedder import INSTALL_HINT, find_local_embedder
from atom.settings import DatabaseSettings, MemorySettings

DEPTH = 50
RRF = 60
RESAMPLES = 2_000
NO_ANSWER = 5
GOALS = {"R@5": 62.0, "R@10": 72.0, "session R@5": 85.0}
SYSTEMS = ("BM25", "dense", "RRF", "recall")
WARM, COLD = "recall, all warm", "recall, all cold"
MOVED = 0.5  # percentage points that a move between tiers may cost or bring
BY = Principal(new_id(), "bench", Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Asking:
    """A question and the ids of the turns that answer it."""

    query: str
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One agent's memory: its questions, and which session each turn is in."""

    agent_id: UUID
    questions: Sequence[Asking]
    session_of: Mapping[str, UUID]
    refs: Mapping[UUID, str]


@dataclass(slots=True)
class Scores:
    """Of one system on one conversation: sums over its questions."""

    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    questions: int = 0

    def add(self, hits: Sequence[str], asked: Asking, session_of: Mapping[str, UUID]) -> None:
        self.questions += 1
        for name, value in measures(hits, asked.evidence, session_of).items():
            self.sums[name] += value


def measures(hits: Sequence[str], evidence: frozenset[str], session_of: Mapping[str, UUID]) -> dict[str, float]:
    """`hits` are turn ids, best first."""
    found = {f"R@{k}": len(evidence & set(hits[:k])) / len(evidence) for k in (5, 10, 20)}
    sessions = list(dict.fromkeys(session_of[hit] for hit in hits))
    wanted = {session_of[turn] for turn in evidence}
    for k in (5, 10, 20):
        found[f"session R@{k}"] = len(wanted & set(sessions[:k])) / len(wanted)
    gains = sum(1 / math.log2(place + 2) for place, hit in enumerate(hits[:10]) if hit in evidence)
    best = sum(1 / math.log2(place + 2) for place in range(min(10, len(evidence))))
    first = next((place for place, hit in enumerate(hits) if hit in evidence), None)
    return found | {"nDCG@10": gains / best, "MRR": 0.0 if first is None else 1 / (first + 1)}


def questions_of(sample: Mapping[str, Any], turns: set[str]) -> list[Asking]:
    """Evidence is written as `D1:3`, sometimes several in one text, sometimes of a turn that is not there."""
    found = []
    for one in sample["qa"]:
        named = {
            part for text_ in one.get("evidence") or () for part in text_.replace(";", " ").replace(",", " ").split()
        }
        if one.get("category") != NO_ANSWER and named & turns:
            found.append(Asking(str(one["question"]), frozenset(named & turns)))
    return found


async def loaded(memory: MemoryLayer, sessions: Sessions, sample: Mapping[str, Any], number: int) -> Conversation:
    """Writes the conversation's sessions as episodes of an agent of its own, and makes their vectors."""
    agents = memory.service.agents
    session_of: dict[str, UUID] = {}
    refs: dict[UUID, str] = {}
    async with unit_of_work(sessions) as session:
        agent = await agents.create(session, BY, f"conversation-{number}", Changes())
    for episode in read(json.dumps(sample), Format.LOCOMO, now=datetime.now(UTC)):
        turns = [Turn(SegmentKind.MESSAGE, turn.speaker, turn.text, turn.at, turn.ref) for turn in episode.turns]
        labels = frozenset({Label.UNTRUSTED})
        draft = Draft(agent.id, Source.IMPORT, turns, BY.actor, labels, title=episode.title, ref=episode.ref)
        async with unit_of_work(sessions) as session:
            written = await memory.service.record(session, draft)
        session_of |= {turn.ref: written.id for turn in turns}
        segments = await memory.reading.segments(written.id, after=-1, limit=len(turns))
        refs |= {segment.id: segment.ref for segment in segments}
    while await memory.embedding.once():
        pass
    return Conversation(agent.id, questions_of(sample, set(session_of)), session_of, refs)


@dataclass(frozen=True, slots=True)
class Systems:
    """Each gives the ids of the turns that it finds, best first."""

    memory: MemoryLayer
    raw: Raw

    async def ask(self, conversation: Conversation, query: str) -> tuple[dict[str, list[str]], float]:
        """By system; and the seconds that the recall took."""
        agent_id = conversation.agent_id
        words, meaning = await self._legs(conversation, query)
        scores: dict[str, float] = defaultdict(float)
        for leg in (words, meaning):
            for place, ref in enumerate(leg):
                scores[ref] += 1 / (RRF + place + 1)
        fused = sorted(scores, key=lambda ref: (-scores[ref], ref))
        ours, seconds = await self.recalled(agent_id, query)
        return {"BM25": words, "dense": meaning, "RRF": fused, "recall": ours}, seconds

    async def recalled(self, agent_id: UUID, query: str) -> tuple[list[str], float]:
        found = await self.memory.recall.recall(Question(agent_id, query, limit=DEPTH, tokens=200_000))
        assert not any(hit.away for hit in found.hits), "a text was not to be had"
        return list(dict.fromkeys(hit.ref for hit in found.hits)), found.seconds

    async def _legs(self, conversation: Conversation, query: str) -> tuple[list[str], list[str]]:
        embedder = self.memory.embedders.current
        assert embedder is not None
        [row] = (await embedder.embed([query])).rows()
        words, nearest, _ = self.raw.ask(conversation.agent_id, query, row)
        return [conversation.refs[one[0]] for one in words[:DEPTH]], [
            conversation.refs[one[0]] for one in nearest[:DEPTH]
        ]


async def warmed(memory: MemoryLayer, conversation: Conversation) -> None:
    async with unit_of_work(memory.archivist.sessions) as session:
        await to_warm(session, sorted(set(conversation.session_of.values())))


async def chilled(memory: MemoryLayer, conversation: Conversation) -> None:
    async def progress(_: int, __: int | None) -> None:
        """Nobody watches."""

    async with unit_of_work(memory.archivist.sessions) as session:
        run = await job_runs.record_started(session, "archive", whole=False)
    await memory.archivist.archive(Due(conversation.agent_id), run, progress)


async def moved(systems: Systems, conversation: Conversation, asking: Sequence[Asking]) -> dict[str, Scores]:
    """The same questions when all is warm, and when all is cold."""
    scores = {WARM: Scores(), COLD: Scores()}
    for (name, score), move in zip(scores.items(), (warmed, chilled), strict=True):
        await move(systems.memory, conversation)
        async with unit_of_work(systems.memory.archivist.sessions) as session:
            stats = await store.by_tier(session, conversation.agent_id)
        tier = Tier.WARM if name == WARM else Tier.COLD
        assert stats[tier][0] == len(set(conversation.session_of.values())), stats
        for asked in asking:
            hits, _ = await systems.recalled(conversation.agent_id, asked.query)
            score.add(hits, asked, conversation.session_of)
    return scores


async def run(
    url: URL, samples: Sequence[Mapping[str, Any]], limit: int | None, *, tiers: bool = False
) -> dict[str, Any]:
    embedder = find_local_embedder()
    if embedder is None:
        raise SystemExit(INSTALL_HINT)
    engine = create_engine(url, DatabaseSettings(pool_size=2, max_overflow=0))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    agents = AgentService(Outbox(Signal()), frozenset(), lambda _: None)
    memory = build_memory(
        agents,
        MemorySettings(),
        sessions,
        embedder=embedder,
        registry=CollectorRegistry(),
        clock=SystemClock(),
        cold=FaultyColdStore(),
    )
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    systems, found, times = Systems(memory, Raw(plain, embedder.name, embedder.dimensions)), [], []
    began = time.monotonic()
    for number, sample in enumerate(samples):
        conversation = await loaded(memory, sessions, sample, number)
        scores = {name: Scores() for name in SYSTEMS}
        for asked in conversation.questions[:limit]:
            answers, seconds = await systems.ask(conversation, asked.query)
            times.append(seconds)
            for name, hits in answers.items():
                scores[name].add(hits, asked, conversation.session_of)
        if tiers:
            scores |= await moved(systems, conversation, conversation.questions[:limit])
        found.append(scores)
        print(
            f"conversation {number + 1} of {len(samples)}: {len(conversation.session_of)} turns, "
            f"{scores['recall'].questions} questions, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    systems.raw.close()
    await embedder.aclose()
    await engine.dispose()
    return report(found, times)


def report(found: Sequence[Mapping[str, Scores]], times: Sequence[float]) -> dict[str, Any]:
    names, systems = list(found[0]["recall"].sums), list(found[0])
    table = {system: {name: interval([one[system] for one in found], name) for name in names} for system in systems}
    print(f"\n{'':17}" + "".join(f"{name:>22}" for name in names))
    for system, values in table.items():
        print(f"{system:17}" + "".join(f"{mean:8.1f} [{low:4.1f}, {high:5.1f}]" for mean, low, high in values.values()))
    rows: list[dict[str, Any]] = []
    for name, (mean, _, _) in table["recall"].items():
        goal = {"goal": GOALS[name], "better": "higher"} if name in GOALS else {}
        rows.append({"name": name, "value": round(mean, 1), "unit": "%", **goal})
    for system in (WARM, COLD):
        if system in table:
            apart = max(abs(table[system][name][0] - table["recall"][name][0]) for name in names)
            said = {"name": f"{system}: farthest from hot", "value": round(apart, 2), "unit": "points"}
            rows.append({**said, "goal": MOVED, "better": "lower"})
    ordered = sorted(times)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    rows += [
        {"name": "recall p50", "value": round(statistics.median(times) * 1000, 1), "unit": "ms"},
        {"name": "recall p95", "value": round(p95 * 1000, 1), "unit": "ms"},
    ]
    others = {system: {name: round(mean, 1) for name, (mean, _, _) in table[system].items()} for system in SYSTEMS[:-1]}
    return {"rows": rows, "beside": others, "questions": sum(one["recall"].questions for one in found)}


def interval(scores: Sequence[Scores], name: str) -> tuple[float, float, float]:
    """Percent over all questions, and 95 % of the same over conversations drawn again."""
    chance = random.Random(7)

    def mean(drawn: Sequence[Scores]) -> float:
        return 100 * sum(one.sums[name] for one in drawn) / max(1, sum(one.questions for one in drawn))

    drawn = sorted(mean(chance.choices(scores, k=len(scores))) for _ in range(RESAMPLES))
    return mean(scores), drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES)]


def generated() -> list[dict[str, Any]]:
    """A conversation about who keeps what where: each question has one turn that answers it."""
    chance = random.Random(3)
    things = ["passport", "bicycle pump", "violin", "fire plan", "spare key", "old camera", "tent", "court letter"]
    places = ["cellar", "attic", "blue cabinet", "garage", "bank vault", "neighbour's shed", "wardrobe", "office"]
    chat: dict[str, Any] = {"speaker_a": "Ann", "speaker_b": "Ben"}
    asked = []
    for number, (thing, place) in enumerate(zip(things, chance.sample(places, len(places)), strict=True), 1):
        lines = [
            "How was your week?",
            "Busy, as ever.",
            f"I finally put the {thing} into the {place}.",
            "Good to know.",
        ]
        turns = [
            {"speaker": ("Ann", "Ben")[n % 2], "dia_id": f"D{number}:{n + 1}", "text": t} for n, t in enumerate(lines)
        ]
        chat |= {f"session_{number}_date_time": f"1:56 pm on {number} May, 2023", f"session_{number}": turns}
        asked.append({"question": f"Where is the {thing} kept?", "evidence": [f"D{number}:3"], "category": 1})
    return [{"sample_id": "generated", "conversation": chat, "qa": asked}]


@contextmanager
def database() -> Iterator[URL]:
    folder = Path(tempfile.mkdtemp(prefix="atom-bench-"))
    folder.chmod(0o711)
    postgres = EmbeddedPostgres(folder)
    try:
        postgres.start()
        url = parse_database_url(postgres.endpoint.url)
        migrate(url)
        yield url
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("path", nargs="?", type=Path, help="conversations in the format of LoCoMo")
    parser.add_argument("--questions", type=int, help="only so many of each conversation")
    parser.add_argument("--tiers", action="store_true", help="ask again when all is warm, and when all is cold")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    samples = generated() if options.path is None else json.loads(options.path.read_text("utf-8"))
    configure("warning", None)
    with database() as url:
        chosen = samples if isinstance(samples, list) else [samples]
        found = asyncio.run(run(url, chosen, options.questions, tiers=options.tiers))
    if options.path is None:
        made_up = [
            {"name": f"generated: {row['name']}", "value": row["value"], "unit": row["unit"]} for row in found["rows"]
        ]
        found = {"rows": made_up}
    for row in found["rows"]:
        print(f"{row['name']:35} {row['value']:8} {row['unit']}" + (f"   goal {row['goal']}" if "goal" in row else ""))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
