"""SQL of the archive: what is due, where each body lies, and the objects of the cold store on record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.kit.packing import Packed
from atom.memory.models import ColdBody, ColdObject, Episode, Segment, Tier
from atom.memory.sealing import Sealed

NOW = "epoch"  # since when an object is garbage that need not stay for backups
LYING = text("""
    SELECT e.id, e.storage_tier, b.body, b.sha256, b.unpacked, c.object_id, o.path, c.start, c.size, c.key,
           c.stored_sha256, c.sha256 AS cold_sha256, c.unpacked AS cold_unpacked,
           CASE e.storage_tier WHEN 'hot' THEN ARRAY(
               SELECT s.text FROM episode_segment s WHERE s.episode_id = e.id ORDER BY s.position) END AS texts
    FROM episode e LEFT JOIN episode_body b ON b.episode_id = e.id
    LEFT JOIN episode_cold c ON c.episode_id = e.id LEFT JOIN cold_object o ON o.id = c.object_id
    WHERE e.id = ANY(CAST(:ids AS uuid[]))
""")
# Where somebody had a body forgotten, or most of an object is of nobody any more, the rest moves to another object.
SPARSE = text("""
    SELECT o.id FROM cold_object o
    WHERE o.state = 'stored' AND EXISTS (SELECT FROM episode_cold c WHERE c.object_id = o.id)
    AND (o.forgotten > 0 OR 2 * (SELECT sum(c.size) FROM episode_cold c WHERE c.object_id = o.id) < o.size)
""")


@dataclass(frozen=True, slots=True)
class Planned:
    """An episode whose body is to move. `bytes`: of its texts."""

    id: UUID
    agent_id: UUID
    bytes: int
    segments: int


@dataclass(frozen=True, slots=True)
class ColdPlace:
    """Where a cold body lies, and what it must be."""

    object_id: UUID
    path: str
    start: int
    size: int
    key: bytes
    stored_sha256: bytes
    sha256: bytes
    unpacked: int

    def sealed(self, stored: bytes) -> Sealed:
        return Sealed(stored, self.key, self.stored_sha256)


@dataclass(frozen=True, slots=True)
class Lying:
    """Where the texts of an episode were at one moment: exactly one of the three is not None."""

    id: UUID
    texts: list[str] | None
    warm: Packed | None
    cold: ColdPlace | None


@dataclass(frozen=True, slots=True)
class Due:
    """Which episodes are to be archived. `before`: ended and last recalled before it (None: whenever). `settled`: a hot
    one is so since before this moment, so that what was imported or restored just now stays a while."""

    agent_id: UUID | None = None
    before: datetime | None = None
    settled: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = [Episode.storage_tier.in_((Tier.HOT.value, Tier.WARM.value))]
        if self.agent_id is not None:
            found.append(Episode.agent_id == self.agent_id)
        if self.before is not None:
            found.append(func.coalesce(Episode.ended_at, Episode.started_at) <= self.before)
            found.append(or_(Episode.last_access_at.is_(None), Episode.last_access_at <= self.before))
        if self.settled is not None:
            found.append(or_(Episode.storage_tier != Tier.HOT.value, Episode.tier_changed_at <= self.settled))
        return found


async def due(session: AsyncSession, wanted: Due, *, without: Sequence[UUID], limit: int) -> list[Planned]:
    """The weakest first: what has faded most for its importance."""
    last = func.greatest(func.coalesce(Episode.last_access_at, Episode.started_at), Episode.started_at)
    age = func.extract("epoch", func.now() - last) / 86_400 / Episode.stability_days
    fading = func.ln(func.greatest(Episode.importance, 0.001)) - age * func.ln(2)
    query = select(Episode.id, Episode.agent_id, Episode.bytes, Episode.segments).where(*wanted.conditions())
    if without:
        query = query.where(Episode.id.not_in(without))
    return [Planned(*row) for row in (await session.execute(query.order_by(fading, Episode.id).limit(limit))).all()]


async def due_counts(session: AsyncSession, wanted: Due) -> tuple[int, int, int]:
    """Episodes, segments and bytes of texts that are due."""
    query = select(
        func.count(), func.coalesce(func.sum(Episode.segments), 0), func.coalesce(func.sum(Episode.bytes), 0)
    )
    row = (await session.execute(query.where(*wanted.conditions()))).one()
    return int(row[0]), int(row[1]), int(row[2])


async def due_any(session: AsyncSession, wanted: Due) -> bool:
    """Whether anything is due: an episode, or what is left of something that was forgotten."""
    if await session.scalar(select(Episode.id).where(*wanted.conditions()).limit(1)) is not None:
        return True
    left = select(ColdObject.id).where(ColdObject.state == "stored", ColdObject.forgotten > 0)
    return await session.scalar(left.limit(1)) is not None


async def any_object(session: AsyncSession) -> bool:
    """Whether there is anything in the cold store, or was to be."""
    return await session.scalar(select(ColdObject.id).limit(1)) is not None


async def sparse(session: AsyncSession, *, limit: int) -> list[Planned]:
    """Cold episodes that are to move to another object."""
    objects = (await session.scalars(SPARSE)).all()
    query = select(Episode.id, Episode.agent_id, Episode.bytes, Episode.segments)
    query = query.join(ColdBody, ColdBody.episode_id == Episode.id).where(ColdBody.object_id.in_(objects))
    return [Planned(*row) for row in (await session.execute(query.order_by(Episode.id).limit(limit))).all()]


@dataclass(frozen=True, slots=True)
class Away:
    """Episodes whose texts are not in their rows: `ids`, else all of the agent, or everybody's."""

    ids: tuple[UUID, ...] | None = None
    agent_id: UUID | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = [Episode.storage_tier != Tier.HOT.value]
        found += [] if self.ids is None else [Episode.id.in_(self.ids)]
        found += [] if self.agent_id is None else [Episode.agent_id == self.agent_id]
        return found


async def away(session: AsyncSession, wanted: Away, *, after: UUID, limit: int) -> list[Planned]:
    """By id, behind `after`."""
    query = select(Episode.id, Episode.agent_id, Episode.bytes, Episode.segments).where(*wanted.conditions())
    rows = (await session.execute(query.where(Episode.id > after).order_by(Episode.id).limit(limit))).all()
    return [Planned(*row) for row in rows]


async def away_counts(session: AsyncSession, wanted: Away) -> tuple[int, int, int]:
    """Episodes, segments and bytes of texts that are not in their rows."""
    sums = func.coalesce(func.sum(Episode.segments), 0), func.coalesce(func.sum(Episode.bytes), 0)
    row = (await session.execute(select(func.count(), *sums).where(*wanted.conditions()))).one()
    return int(row[0]), int(row[1]), int(row[2])


async def lying(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, Lying]:
    """Of one moment: one statement, so that nothing moves while it is read."""
    found = {}
    for row in (await session.execute(LYING, {"ids": [*ids]})).all():
        warm = cold = None
        if row.storage_tier == Tier.WARM:
            warm = Packed(bytes(row.body), bytes(row.sha256), int(row.unpacked))
        if row.storage_tier == Tier.COLD:
            sums = bytes(row.key), bytes(row.stored_sha256), bytes(row.cold_sha256)
            cold = ColdPlace(row.object_id, row.path, int(row.start), int(row.size), *sums, int(row.cold_unpacked))
        found[row.id] = Lying(row.id, row.texts, warm, cold)
    return found


async def cold_sizes(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, int]]:
    """The object and the size of each cold body; ask it of rows that this transaction has locked."""
    query = select(ColdBody.episode_id, ColdBody.object_id, ColdBody.size).where(ColdBody.episode_id.in_(ids))
    return {row[0]: (row[1], int(row[2])) for row in (await session.execute(query)).all()}


async def place(session: AsyncSession, bodies: Mapping[UUID, ColdPlace]) -> None:
    """In place of those before."""
    await leave(session, [*bodies])
    rows = [
        {
            "episode_id": id_,
            "object_id": one.object_id,
            "start": one.start,
            "size": one.size,
            "key": one.key,
            "stored_sha256": one.stored_sha256,
            "sha256": one.sha256,
            "unpacked": one.unpacked,
        }
        for id_, one in bodies.items()
    ]
    await session.execute(insert(ColdBody), rows)


async def leave(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """They are cold no more: their keys are gone."""
    await session.execute(delete(ColdBody).where(ColdBody.episode_id.in_(ids)))


async def add_object(session: AsyncSession, id_: UUID, path: str, content_sha256: bytes, size: int) -> None:
    values = {"id": id_, "path": path, "state": "writing", "size": size, "sha256": content_sha256, "forgotten": 0}
    await session.execute(insert(ColdObject).values(**values, created_at=func.now(), state_changed_at=func.now()))


async def set_state(session: AsyncSession, id_: UUID, state: str, *, at_once: bool = False) -> None:
    """`at_once`: of garbage that no backup of the database names."""
    since: Any = NOW if at_once else func.now()
    values = {"state": state, "state_changed_at": since}
    await session.execute(update(ColdObject).where(ColdObject.id == id_).values(**values))


async def count_forgotten(session: AsyncSession, object_id: UUID) -> None:
    counted = {"forgotten": ColdObject.forgotten + 1}
    await session.execute(update(ColdObject).where(ColdObject.id == object_id).values(**counted))


SWEEP = text("""
    UPDATE cold_object o SET state = 'garbage',
        state_changed_at = CASE o.state WHEN 'writing' THEN CAST('epoch' AS timestamptz) ELSE now() END
    WHERE (o.state = 'writing' AND o.created_at <= now() - make_interval(secs => :orphan_seconds))
    OR (o.state = 'stored' AND NOT EXISTS (SELECT FROM episode_cold c WHERE c.object_id = o.id))
""")


async def sweep(session: AsyncSession, *, orphan_seconds: float) -> None:
    """What a crash left of writing, and what holds no body any more, is garbage."""
    await session.execute(SWEEP, {"orphan_seconds": orphan_seconds})


async def garbage(session: AsyncSession, *, before: datetime, limit: int) -> list[tuple[UUID, str, int]]:
    """Id, path and size of what was garbage before this moment."""
    query = select(ColdObject.id, ColdObject.path, ColdObject.size)
    query = query.where(ColdObject.state == "garbage", ColdObject.state_changed_at <= before)
    rows = (await session.execute(query.order_by(ColdObject.state_changed_at, ColdObject.id).limit(limit))).all()
    return [(row[0], row[1], int(row[2])) for row in rows]


async def remove_object(session: AsyncSession, id_: UUID) -> None:
    await session.execute(delete(ColdObject).where(ColdObject.id == id_, ColdObject.state == "garbage"))


async def examples(session: AsyncSession, ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """What a dry run shows of some episodes."""
    query = select(Episode, Agent.name).join(Agent, Agent.id == Episode.agent_id).where(Episode.id.in_(ids))
    rows = {row[0].id: row for row in (await session.execute(query)).all()}
    return [
        {"id": str(id_), "agent": rows[id_][1], "title": rows[id_][0].title, "tier": rows[id_][0].storage_tier}
        for id_ in ids
        if id_ in rows
    ]


async def segments(session: AsyncSession, id_: UUID, *, after: int, limit: int) -> list[tuple[Segment, str]]:
    """Behind the position `after`, each with the tier of that moment: the text of a hot one is in it."""
    query = select(Segment, Episode.storage_tier).join(Episode, Episode.id == Segment.episode_id)
    query = query.where(Segment.episode_id == id_, Segment.position > after).order_by(Segment.position).limit(limit)
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]


async def segment_places(session: AsyncSession, ids: Sequence[UUID]) -> list[tuple[UUID, UUID, int, str]]:
    """Of segments: id, episode, position, speaker."""
    query = select(Segment.id, Segment.episode_id, Segment.position, Segment.speaker).where(Segment.id.in_(ids))
    return [(row[0], row[1], int(row[2]), row[3]) for row in (await session.execute(query)).all()]


async def summaries(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, str]:
    query = select(Episode.id, Episode.title, Episode.summary).where(Episode.id.in_(ids))
    return {row[0]: row[2] or row[1] for row in (await session.execute(query)).all()}


@dataclass(frozen=True, slots=True)
class Whole:
    """An episode with its turns; the texts of these are where its body is."""

    episode: Episode
    agent: str
    turns: list[Segment]


async def after(session: AsyncSession, agent_id: UUID | None, *, after: UUID, limit: int) -> list[Planned]:
    """All episodes by id, behind `after`."""
    query = select(Episode.id, Episode.agent_id, Episode.bytes, Episode.segments).where(Episode.id > after)
    query = query if agent_id is None else query.where(Episode.agent_id == agent_id)
    return [Planned(*row) for row in (await session.execute(query.order_by(Episode.id).limit(limit))).all()]


async def whole(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, Whole]:
    query = select(Episode, Agent.name).join(Agent, Agent.id == Episode.agent_id).where(Episode.id.in_(ids))
    found = {row[0].id: Whole(row[0], row[1], []) for row in (await session.execute(query)).all()}
    turns = select(Segment).where(Segment.episode_id.in_(ids)).order_by(Segment.episode_id, Segment.position)
    for turn in await session.scalars(turns):
        if turn.episode_id in found:
            found[turn.episode_id].turns.append(turn)
    return found
