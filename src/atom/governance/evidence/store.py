"""SQL of evidence and changes of maturity."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.evidence.kinds import How
from atom.governance.evidence.ladder import MOST_RECENT, Tally
from atom.governance.evidence.tables import Evidence, MaturityChange
from atom.kit.ids import new_id

FALLS = (How.DEMOTED.value, How.LOWERED.value)
TALLY = text("""
SELECT count(*) FILTER (WHERE kind IN ('rated', 'failure')) AS episodes,
    coalesce(sum(score), 0)::float8 AS successes,
    count(*) FILTER (WHERE kind = 'approved') AS approved,
    count(*) FILTER (WHERE kind = 'edited') AS edited,
    count(*) FILTER (WHERE kind = 'rejected') AS rejected,
    count(*) FILTER (WHERE kind = 'violation') AS violations,
    count(DISTINCT run_id) FILTER (WHERE kind IN ('rated', 'failure', 'edited', 'intervention')) AS judged,
    count(DISTINCT run_id) FILTER (WHERE kind IN ('edited', 'intervention')) AS intervened
FROM evidence
WHERE agent_id = :agent_id AND counts AND (cast(:since AS timestamptz) IS NULL OR at > :since)
    AND (cast(:class AS text) IS NULL OR action_class = :class OR data -> 'classes' ? :class)
""")
NEWEST = text("""
SELECT score FROM evidence
WHERE agent_id = :agent_id AND counts AND (cast(:since AS timestamptz) IS NULL OR at > :since)
    AND (cast(:class AS text) IS NULL OR action_class = :class OR data -> 'classes' ? :class) AND score IS NOT NULL
ORDER BY at DESC, id DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose evidence: of an agent, or of one class of its actions; all of it, or since a moment."""

    agent_id: UUID
    action_class: str | None = None
    since: datetime | None = None

    @property
    def values(self) -> dict[str, Any]:
        return {"agent_id": self.agent_id, "class": self.action_class, "since": self.since}


async def counted(session: AsyncSession, source: str) -> Evidence | None:
    """What counts of a source. The agent's row is locked by the caller."""
    query = select(Evidence).where(Evidence.source == source, Evidence.counts)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def scores(session: AsyncSession, sources: Sequence[str]) -> dict[UUID, float]:
    """What counts of these sources, by run."""
    query = select(Evidence.run_id, Evidence.score).where(Evidence.source.in_(sources), Evidence.counts)
    return {row.run_id: row.score for row in (await session.execute(query)).all()}


async def replaced(session: AsyncSession, id_: UUID) -> None:
    await session.execute(update(Evidence).where(Evidence.id == id_).values(counts=False))


async def add(session: AsyncSession, values: dict[str, Any]) -> UUID:
    id_ = new_id()
    at = values.get("at") or func.now()
    await session.execute(insert(Evidence).values(recorded_at=func.now(), **values | {"id": id_, "at": at}))
    return id_


async def tally(session: AsyncSession, scope: Scope) -> Tally:
    row = (await session.execute(TALLY, scope.values)).one()
    return Tally(
        episodes=row.episodes,
        successes=row.successes,
        approved=row.approved,
        edited=row.edited,
        rejected=row.rejected,
        violations=row.violations,
        judged=row.judged,
        intervened=row.intervened,
        newest=await newest(session, scope),
    )


async def newest(session: AsyncSession, scope: Scope) -> tuple[float, ...]:
    """Scores of the last episodes, the newest first."""
    return tuple((await session.scalars(NEWEST, {**scope.values, "limit": MOST_RECENT})).all())


async def page(
    session: AsyncSession, agent_id: UUID, *, kind: str | None, before: UUID | None, limit: int
) -> Sequence[Evidence]:
    query = select(Evidence).where(Evidence.agent_id == agent_id).order_by(Evidence.id.desc()).limit(limit)
    if kind is not None:
        query = query.where(Evidence.kind == kind)
    if before is not None:
        query = query.where(Evidence.id < before)
    return (await session.scalars(query)).all()


async def add_change(session: AsyncSession, values: dict[str, Any]) -> None:
    await session.execute(insert(MaturityChange).values(id=new_id(), at=func.now(), **values))


async def last_change(session: AsyncSession, agent_id: UUID, action_class: str | None) -> MaturityChange | None:
    """Of the agent; of a class, also when its agent has fallen."""
    query = select(MaturityChange).where(MaturityChange.agent_id == agent_id)
    if action_class is None:
        query = query.where(MaturityChange.action_class.is_(None))
    else:
        fell = MaturityChange.action_class.is_(None) & MaturityChange.how.in_(FALLS)
        query = query.where((MaturityChange.action_class == action_class) | fell)
    return (await session.scalars(query.order_by(MaturityChange.at.desc(), MaturityChange.id.desc()).limit(1))).first()


async def last_fall(session: AsyncSession, agent_id: UUID, action_class: str | None) -> datetime | None:
    """When the agent, or this class of its actions, last lost a maturity."""
    own = MaturityChange.action_class.is_(None)
    whose = own if action_class is None else or_(own, MaturityChange.action_class == action_class)
    query = select(func.max(MaturityChange.at)).where(MaturityChange.agent_id == agent_id, whose)
    return await session.scalar(query.where(MaturityChange.how.in_(FALLS)))
