"""SQL of bodies that move between tiers. Every move is one transaction: the texts are in one place, never in none."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.kit.packing import Packed
from atom.memory.bodies import CODEC
from atom.memory.models import Tier

LOCK = text("""
    SELECT e.id, e.agent_id, e.segments, e.bytes, coalesce(octet_length(b.body), 0),
           (SELECT coalesce(sum(s.terms), 0) FROM episode_segment s WHERE s.episode_id = e.id)
    FROM episode e LEFT JOIN episode_body b ON b.episode_id = e.id
    WHERE e.id = ANY(CAST(:ids AS uuid[])) AND e.storage_tier = :tier
    ORDER BY e.id FOR UPDATE OF e
""")
TEXTS = text("""
    SELECT episode_id, array_agg(text ORDER BY position) FROM episode_segment
    WHERE episode_id = ANY(CAST(:ids AS uuid[])) GROUP BY episode_id
""")
KEEP = text("""
    INSERT INTO episode_body (episode_id, codec, body, sha256, unpacked)
    VALUES (:episode_id, :codec, :body, :sha256, :unpacked)
""")
BODIES = text("""
    SELECT episode_id, body, sha256, unpacked FROM episode_body WHERE episode_id = ANY(CAST(:ids AS uuid[]))
""")
DROP = text("DELETE FROM episode_body WHERE episode_id = ANY(CAST(:ids AS uuid[]))")
EMPTY = text("UPDATE episode_segment SET text = '' WHERE episode_id = ANY(CAST(:ids AS uuid[]))")
FILL = text("""
    UPDATE episode_segment s SET text = one.text
    FROM unnest(CAST(:texts AS text[])) WITH ORDINALITY AS one (text, number)
    WHERE s.episode_id = :episode_id AND s.position = one.number - 1
""")
MARK = text("""
    UPDATE episode SET storage_tier = :tier, tier_changed_at = now() WHERE id = ANY(CAST(:ids AS uuid[]))
""")
COUNT = text("""
    INSERT INTO episode_tally AS t (agent_id, storage_tier, episodes, segments, terms, bytes)
    VALUES (:agent_id, :tier, :episodes, :segments, :terms, :bytes)
    ON CONFLICT (agent_id, storage_tier) DO UPDATE SET episodes = t.episodes + excluded.episodes,
        segments = t.segments + excluded.segments, terms = t.terms + excluded.terms, bytes = t.bytes + excluded.bytes
""")


@dataclass(frozen=True, slots=True)
class Locked:
    """An episode whose row this transaction holds. `bytes`: of its texts; `stored`: of its packed body in the
    database, 0 where there is none."""

    id: UUID
    agent_id: UUID
    segments: int
    bytes: int
    stored: int
    terms: int


async def lock(session: AsyncSession, ids: Sequence[UUID], tier: Tier) -> list[Locked]:
    """Those of them that are in this tier, in the order of their ids: whoever moves several locks them alike."""
    rows = (await session.execute(LOCK, {"ids": [*ids], "tier": tier.value})).all()
    return [Locked(row[0], row[1], int(row[2]), int(row[3]), int(row[4]), int(row[5])) for row in rows]


async def texts(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """What stands in the rows of hot ones."""
    return {row[0]: row[1] for row in (await session.execute(TEXTS, {"ids": [*ids]})).all()}


async def bodies(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, Packed]:
    rows = (await session.execute(BODIES, {"ids": [*ids]})).all()
    return {row[0]: Packed(bytes(row[1]), bytes(row[2]), int(row[3])) for row in rows}


async def keep(session: AsyncSession, id_: UUID, packed: Packed) -> None:
    values = {"episode_id": id_, "codec": CODEC, "body": packed.body, "sha256": packed.sha256}
    await session.execute(KEEP, {**values, "unpacked": packed.unpacked})


async def drop(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """The packed bodies in the database."""
    await session.execute(DROP, {"ids": [*ids]})


async def empty(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """The rows of their texts."""
    await session.execute(EMPTY, {"ids": [*ids]})


async def fill(session: AsyncSession, id_: UUID, found: Sequence[str]) -> None:
    await session.execute(FILL, {"episode_id": id_, "texts": [*found]})


async def mark(session: AsyncSession, ids: Sequence[UUID], tier: Tier) -> None:
    await session.execute(MARK, {"ids": [*ids], "tier": tier.value})


@dataclass(frozen=True, slots=True)
class Change:
    """One episode more (`sign` 1) or less (-1) in a tier, with so many bytes of body."""

    one: Locked
    tier: Tier
    size: int
    sign: int


async def count(session: AsyncSession, one: Locked, tier: Tier, size: int, sign: int) -> None:
    """A Change by itself."""
    await count_all(session, [Change(one, tier, size, sign)])


async def count_all(session: AsyncSession, changes: Sequence[Change]) -> None:
    """Each row once, and in the order that everybody has: two that count at once wait, and never for each other."""
    sums: dict[tuple[UUID, str], list[int]] = {}
    for change in changes:
        one = (1, change.one.segments, change.one.terms, change.size)
        found = sums.setdefault((change.one.agent_id, change.tier.value), [0, 0, 0, 0])
        found[:] = [was + change.sign * now for was, now in zip(found, one, strict=True)]
    for (agent_id, tier), (episodes, segments, terms, size) in sorted(sums.items()):
        values = {"agent_id": agent_id, "tier": tier, "episodes": episodes, "segments": segments}
        await session.execute(COUNT, {**values, "terms": terms, "bytes": size})
