"""Memories that are alike in groups, and what must hold of them whatever consolidation and splitting did or died of."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry

from atom.agents.service import AgentService
from atom.events.service import Outbox, Signal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import SystemClock
from atom.memory.bodies import unpack
from atom.memory.drafts import Draft, Outcome, SegmentKind, Source, Turn
from atom.memory.layer import MemoryLayer, build_memory
from atom.memory.service import MemoryService
from atom.memory.testing import FaultyColdStore
from atom.memory.tier_store import bodies
from atom.retrieval.testing import WordEmbedder
from atom.settings import MemorySettings
from tests.support.databases import rows

LONG_AGO = datetime(2025, 1, 6, 9, 0, tzinfo=UTC)
TOPICS = (
    ("backup", "nightly archive of the shop database", ("cobalt", "nickel", "zinc")),
    ("invoice", "monthly billing run for customers abroad", ("Monday", "Friday", "Sunday")),
    ("printer", "paper jam in the office upstairs", ("tray two", "tray three", "tray four")),
    ("deploy", "release pipeline with canary servers", ("blue", "green", "amber")),
)
TALLIES = """
    SELECT agent_id, storage_tier, episodes, segments, terms, bytes FROM episode_tally WHERE episodes > 0 ORDER BY 1, 2
"""
COUNTED = """
    SELECT e.agent_id, e.storage_tier, count(*), sum(e.segments)::bigint,
        sum((SELECT sum(s.terms) FROM episode_segment s WHERE s.episode_id = e.id))::bigint,
        sum(CASE e.storage_tier WHEN 'hot' THEN e.bytes WHEN 'warm' THEN octet_length(b.body) ELSE c.size END)::bigint
    FROM episode e LEFT JOIN episode_body b ON b.episode_id = e.id LEFT JOIN episode_cold c ON c.episode_id = e.id
    GROUP BY 1, 2 ORDER BY 1, 2
"""
SEGMENTS = """
    SELECT s.episode_id, s.position, s.speaker, s.ref, s.at, s.lexemes::text, s.terms, v.model,
        v.embedding::text, s.text
    FROM episode_segment s JOIN episode e ON e.id = s.episode_id
    LEFT JOIN episode_vector v ON v.segment_id = s.id
    WHERE e.source <> 'consolidation' ORDER BY s.episode_id, s.position
"""


def drafts(agent_id: UUID, count: int, *, turns: int = 6) -> list[Draft]:
    """Alike are those with the same topic; each says where its thing is, and not all say the same."""
    found = []
    for number in range(count):
        name, about, values = TOPICS[number % len(TOPICS)]
        round_ = number // len(TOPICS)
        began = LONG_AGO + timedelta(days=number)
        said = [f"The {name} is on {values[round_ % len(values)]}."]
        said += [f"{about}, note {turn} of case {number}: {name} was looked at again. " * 4 for turn in range(1, turns)]
        spoken = [Turn(SegmentKind.MESSAGE, "Ann", text, began + timedelta(minutes=n)) for n, text in enumerate(said)]
        found.append(
            Draft(
                agent_id=agent_id,
                source=Source.API,
                turns=spoken,
                created_by="admin:ann",
                labels=frozenset(),
                outcome=(Outcome.SUCCESS, Outcome.FAILURE)[round_ % 2],
                ref=f"case-{number}",
            )
        )
    return found


async def fill(sessions: Sessions, service: MemoryService, agent_id: UUID, count: int, *, turns: int = 6) -> list[UUID]:
    ids = []
    for draft in drafts(agent_id, count, turns=turns):
        async with unit_of_work(sessions) as session:
            ids.append((await service.record(session, draft)).id)
    return ids


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Every segment that is no summary, with its text wherever that is."""

    segments: tuple[tuple[Any, ...], ...]

    @classmethod
    async def of(cls, sessions: Sessions) -> "Verbatim":
        found = await rows(sessions, SEGMENTS)
        async with unit_of_work(sessions) as session:
            packed = await bodies(session, sorted({row[0] for row in found}))
        texts = {id_: unpack(one) for id_, one in packed.items()}
        told = [(*row[:-1], texts[row[0]][row[1]] if row[0] in texts else row[-1]) for row in found]
        assert all(row[-1] == "" for row in found if row[0] in texts), "a text is in one place"
        return cls(tuple(told))


async def check(sessions: Sessions, before: Verbatim) -> int:
    """Nothing is lost, nothing is half done. Returns how many consolidated episodes there are."""
    assert await Verbatim.of(sessions) == before
    assert await rows(sessions, TALLIES) == await rows(sessions, COUNTED)
    summed_up = await rows(
        sessions,
        """SELECT e.id, e.provenance -> 'sources', e.segments,
            (SELECT count(*) FROM episode_segment s WHERE s.episode_id = e.id AND s.text <> ''),
            (SELECT jsonb_agg(l.source_id ORDER BY l.position) FROM episode_link l WHERE l.consolidated_id = e.id),
            (SELECT array_agg(o.storage_tier) FROM episode_link l JOIN episode o ON o.id = l.source_id
             WHERE l.consolidated_id = e.id)
        FROM episode e WHERE e.source = 'consolidation'""",
    )
    for id_, sources, segments, written, linked, tiers in summed_up:
        assert linked == sources, f"{id_}: links to all it was made of, in their order"
        assert len(sources) > 1
        assert segments == written, f"{id_}: whole"
        assert set(tiers) == {"warm"}, f"{id_}: its sources have moved with it"
    orphans = "SELECT count(*) FROM episode_body b JOIN episode e ON e.id = b.episode_id WHERE e.storage_tier <> 'warm'"
    assert await rows(sessions, orphans) == [(0,)]
    return len(summed_up)


def layer_of(sessions: Sessions, threshold: int) -> MemoryLayer:
    """As another process of the cluster has it."""
    settings = MemorySettings(consolidation_threshold=threshold)
    return build_memory(
        AgentService(Outbox(Signal()), frozenset(), lambda _: None),
        settings,
        sessions,
        embedder=WordEmbedder(),
        registry=CollectorRegistry(),
        clock=SystemClock(),
        cold=FaultyColdStore(),
    )
