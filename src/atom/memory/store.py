"""SQL of episodes and segments."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.memory.models import Episode, Segment, Tally, Tier, Unembedded

TALLY = text("""
    INSERT INTO episode_tally AS t (agent_id, storage_tier, episodes, segments, terms, bytes)
    VALUES (:agent_id, :tier, 1, :segments, :terms, :bytes)
    ON CONFLICT (agent_id, storage_tier) DO UPDATE SET episodes = t.episodes + 1,
        segments = t.segments + excluded.segments, terms = t.terms + excluded.terms, bytes = t.bytes + excluded.bytes
""")
SEGMENT = text("""
    INSERT INTO episode_segment (id, episode_id, agent_id, position, kind, speaker, ref, text, at, lexemes, terms)
    SELECT one.id, :episode_id, :agent_id, one.position, one.kind, one.speaker, one.ref, one.text, one.at, words,
           (SELECT coalesce(sum(cardinality(positions)), 0) FROM unnest(words))
    FROM unnest(CAST(:ids AS uuid[]), CAST(:positions AS int[]), CAST(:kinds AS text[]), CAST(:speakers AS text[]),
                CAST(:refs AS text[]), CAST(:texts AS text[]), CAST(:ats AS timestamptz[]))
             AS one (id, position, kind, speaker, ref, text, at),
         to_tsvector('english', one.speaker || ': ' || one.text) AS words
    RETURNING terms
""")
UNEMBEDDED = text("INSERT INTO episode_unembedded (segment_id) SELECT unnest(CAST(:ids AS uuid[]))")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which episodes a list shows. `since` and `until` are of when they began."""

    agent_id: UUID | None = None
    outcome: str | None = None
    tier: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def add(session: AsyncSession, values: dict[str, Any]) -> UUID | None:
    """None when the same run, or the same source, is remembered already."""
    statement = pg_insert(Episode).values(
        storage_tier=Tier.HOT.value,
        access_count=0,
        kept_apart=False,
        created_at=func.now(),
        tier_changed_at=func.now(),
        **values,
    )
    return await session.scalar(statement.on_conflict_do_nothing().returning(Episode.id))


async def add_segments(
    session: AsyncSession, episode_id: UUID, agent_id: UUID, columns: dict[str, list[Any]], *, size: int
) -> None:
    """`columns`: ids, positions, kinds, speakers, refs, texts, ats. `size`: bytes of the texts."""
    terms = await append_segments(session, episode_id, agent_id, columns)
    counted = {"segments": len(terms), "terms": sum(terms), "bytes": size}
    await session.execute(TALLY, {"agent_id": agent_id, "tier": Tier.HOT.value, **counted})


async def append_segments(
    session: AsyncSession, episode_id: UUID, agent_id: UUID, columns: dict[str, list[Any]]
) -> Sequence[int]:
    """The words that count of each. The tally is the caller's."""
    keys = {"episode_id": episode_id, "agent_id": agent_id}
    terms = (await session.execute(SEGMENT, {**keys, **columns})).scalars().all()
    await session.execute(UNEMBEDDED, {"ids": columns["ids"]})
    return terms


async def refs(session: AsyncSession, episode_id: UUID, prefix: str) -> set[str]:
    """Of its segments, those that begin so."""
    query = select(Segment.ref).where(Segment.episode_id == episode_id, Segment.ref.startswith(prefix, autoescape=True))
    return set((await session.scalars(query)).all())


async def twin(session: AsyncSession, agent_id: UUID, source: str, ref: str) -> UUID | None:
    query = select(Episode.id).where(Episode.agent_id == agent_id, Episode.source == source, Episode.source_ref == ref)
    return await session.scalar(query)


async def get(session: AsyncSession, id_: UUID, *, lock: bool = False) -> tuple[Episode, str] | None:
    """The episode and its agent's name."""
    query = select(Episode, Agent.name).join(Agent, Agent.id == Episode.agent_id).where(Episode.id == id_)
    if lock:
        query = query.with_for_update(of=Episode)
    row = (await session.execute(query.execution_options(populate_existing=True))).one_or_none()
    return None if row is None else (row[0], row[1])


async def page(
    session: AsyncSession, wanted: Wanted, *, before: UUID | None, limit: int
) -> Sequence[tuple[Episode, str]]:
    query = select(Episode, Agent.name).join(Agent, Agent.id == Episode.agent_id).where(*_conditions(wanted))
    if before is not None:
        query = query.where(Episode.id < before)
    return [(row[0], row[1]) for row in (await session.execute(query.order_by(Episode.id.desc()).limit(limit))).all()]


async def put(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    await session.execute(update(Episode).where(Episode.id == id_).values(**values))


async def existing(session: AsyncSession, ids: Collection[UUID]) -> set[UUID]:
    return set((await session.scalars(select(Episode.id).where(Episode.id.in_(ids)))).all())


async def of_conversation(session: AsyncSession, ids: Collection[UUID], conversation_id: UUID) -> set[UUID]:
    query = select(Episode.id).where(Episode.id.in_(ids), Episode.conversation_id == conversation_id)
    return set((await session.scalars(query)).all())


async def touch(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """They were recalled. Rows that somebody writes just now are left out: no recall waits for a count."""
    free = select(Episode.id).where(Episode.id.in_(ids)).with_for_update(skip_locked=True)
    values = {"access_count": Episode.access_count + 1, "last_access_at": func.now()}
    await session.execute(update(Episode).where(Episode.id.in_(free)).values(**values))


async def tallies(session: AsyncSession, agent_id: UUID | None = None) -> Sequence[Tally]:
    query = select(Tally).order_by(Tally.agent_id, Tally.storage_tier).execution_options(populate_existing=True)
    return (await session.scalars(query if agent_id is None else query.where(Tally.agent_id == agent_id))).all()


async def by_tier(session: AsyncSession, agent_id: UUID | None) -> dict[str, tuple[int, int, int]]:
    """Episodes, segments and bytes of each tier that has any."""
    query = select(
        Tally.storage_tier, func.sum(Tally.episodes), func.sum(Tally.segments), func.sum(Tally.bytes)
    ).group_by(Tally.storage_tier)
    query = query if agent_id is None else query.where(Tally.agent_id == agent_id)
    return {tier: (int(one), int(two), int(size)) for tier, one, two, size in (await session.execute(query)).all()}


async def unembedded(session: AsyncSession, agent_id: UUID | None) -> int:
    query = select(func.count()).select_from(Unembedded)
    if agent_id is not None:
        query = query.join(Segment, Segment.id == Unembedded.segment_id).where(Segment.agent_id == agent_id)
    return int(await session.scalar(query) or 0)


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    equal = {
        Episode.agent_id: wanted.agent_id,
        Episode.outcome: wanted.outcome,
        Episode.storage_tier: wanted.tier,
        Episode.source: wanted.source,
    }
    found = [column == value for column, value in equal.items() if value is not None]
    found += [] if wanted.since is None else [Episode.started_at >= wanted.since]
    found += [] if wanted.until is None else [Episode.started_at < wanted.until]
    return found
