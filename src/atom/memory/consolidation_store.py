"""SQL of consolidation: which agents and episodes are due, and what episodes are compared by."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.models import Label
from atom.memory import tier_store, vector_store
from atom.memory.decay import faded
from atom.memory.drafts import Outcome, Source
from atom.memory.grouping import Item, unit
from atom.memory.merging import Remembered
from atom.memory.models import Episode, Link, MemoryPolicy, Tally, Tier

COMPARED = 60  # segments of an episode that it is compared by where it has no vectors
VECTORS = text("""
    SELECT s.episode_id, avg(v.embedding)::text FROM episode_segment s
    JOIN episode_vector v ON v.segment_id = s.id AND v.model = :model
    WHERE s.episode_id = ANY(CAST(:ids AS uuid[])) GROUP BY s.episode_id
""")
WORDS = text("""
    SELECT s.episode_id, held.lexeme, sum(cardinality(held.positions))::int
    FROM episode_segment s CROSS JOIN LATERAL unnest(s.lexemes) AS held
    WHERE s.episode_id = ANY(CAST(:ids AS uuid[])) AND s.position < :compared
    AND length(held.lexeme) > 2 GROUP BY 1, 2
""")


@dataclass(frozen=True, slots=True)
class Crowded:
    """An agent with hot episodes that may be consolidated. `days`: its decay."""

    agent_id: UUID
    episodes: int
    days: int


@dataclass(frozen=True, slots=True)
class Old:
    """An episode that is due. Bytes of its texts."""

    id: UUID
    bytes: int
    segments: int


def _plain() -> list[ColumnElement[bool]]:
    return [
        Episode.storage_tier == Tier.HOT.value,
        Episode.source != Source.CONSOLIDATION.value,
        Episode.kept_apart.is_(False),
        ~select(Link.source_id).where(Link.source_id == Episode.id).exists(),
    ]


async def any_crowded(session: AsyncSession, *, threshold: int) -> bool:
    """Whether any agent has more hot episodes, of whatever kind, than this."""
    full = select(Tally.agent_id).where(Tally.storage_tier == Tier.HOT.value, Tally.episodes > threshold)
    return await session.scalar(full.limit(1)) is not None


async def crowded(
    session: AsyncSession, *, threshold: int, days: int, agent_id: UUID | None, resumed: UUID | None
) -> list[Crowded]:
    """Agents above the threshold; `resumed` also below it: its work had begun above."""
    full = select(Tally.agent_id).where(Tally.storage_tier == Tier.HOT.value, Tally.episodes > threshold)
    chosen = (
        Episode.agent_id.in_(full) if resumed is None else (Episode.agent_id.in_(full) | (Episode.agent_id == resumed))
    )
    own = func.coalesce(MemoryPolicy.decay_days, days)
    query = select(Episode.agent_id, func.count(), own).where(chosen, *_plain())
    query = query.outerjoin(MemoryPolicy, MemoryPolicy.agent_id == Episode.agent_id)
    if agent_id is not None:
        query = query.where(Episode.agent_id == agent_id)
    rows = (await session.execute(query.group_by(Episode.agent_id, own).order_by(Episode.agent_id))).all()
    return [Crowded(*row) for row in rows if row[1] > threshold or row[0] == resumed]


async def weakest(session: AsyncSession, of: Crowded, *, without: Sequence[UUID], skip: int, limit: int) -> list[Old]:
    """The most faded first, behind so many of them."""
    query = select(Episode.id, Episode.bytes, Episode.segments).where(Episode.agent_id == of.agent_id, *_plain())
    if without:
        query = query.where(Episode.id.not_in(without))
    order = faded(literal(float(of.days))).desc()
    return [
        Old(*row) for row in (await session.execute(query.order_by(order, Episode.id).offset(skip).limit(limit))).all()
    ]


async def items(session: AsyncSession, old: Sequence[Old], model: str | None) -> list[Item]:
    """What they are compared by, in their order."""
    ids = [one.id for one in old]
    vectors: dict[UUID, tuple[float, ...] | None] = {}
    if model is not None and await vector_store.prepared(session, model):
        rows = (await session.execute(VECTORS, {"ids": ids, "model": model})).all()
        vectors = {row[0]: unit([float(value) for value in row[1].strip("[]").split(",")]) for row in rows}
    words: dict[UUID, dict[str, int]] = {}
    for id_, word, times in (await session.execute(WORDS, {"ids": ids, "compared": COMPARED})).all():
        words.setdefault(id_, {})[word] = times
    return [Item(one.id, one.bytes, one.segments, vectors.get(one.id), words.get(one.id, {})) for one in old]


async def remembered(session: AsyncSession, ids: Sequence[UUID]) -> list[Remembered]:
    """Those of them that are hot, with their texts, of one moment."""
    query = select(Episode).where(Episode.id.in_(ids), Episode.storage_tier == Tier.HOT.value).order_by(Episode.id)
    rows = (await session.scalars(query.execution_options(populate_existing=True))).all()
    texts = await tier_store.texts(session, [row.id for row in rows])
    return [
        Remembered(
            id=row.id,
            title=row.title,
            summary=row.summary,
            outcome=Outcome(row.outcome),
            labels=frozenset(Label(label) for label in row.labels),
            entities=row.entities,
            importance=row.importance,
            started_at=row.started_at,
            ended_at=row.ended_at or row.started_at,
            bytes=row.bytes,
            texts=texts.get(row.id, []),
        )
        for row in rows
    ]


async def still_free(session: AsyncSession, ids: Sequence[UUID]) -> bool:
    """Whether each of them may still be consolidated; ask it of rows that this transaction has locked."""
    query = select(func.count()).select_from(Episode).where(Episode.id.in_(ids), *_plain())
    return int(await session.scalar(query) or 0) == len(ids)
