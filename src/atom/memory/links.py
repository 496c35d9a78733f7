"""Which episode sums up which, and the end of one that sums others up. Its sources stay, word for word."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.memory import archive_store, tier_store
from atom.memory.models import Episode, Link, Tier
from atom.memory.tier_store import Change

# In the order of their ids, as everybody locks them.
AROUND = text("""
    SELECT id FROM episode WHERE id = :id
    OR id IN (SELECT consolidated_id FROM episode_link WHERE source_id = :id) ORDER BY id FOR UPDATE
""")
GROUP = text("""
    SELECT id FROM episode WHERE id = :id
    OR id IN (SELECT source_id FROM episode_link WHERE consolidated_id = :id) ORDER BY id FOR UPDATE
""")


async def add(session: AsyncSession, consolidated_id: UUID, sources: Sequence[UUID]) -> None:
    """In this order."""
    rows = [
        {"source_id": source, "consolidated_id": consolidated_id, "position": position}
        for position, source in enumerate(sources)
    ]
    await session.execute(insert(Link), rows)


async def linked(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Of those that are summed up: by which."""
    query = select(Link.source_id, Link.consolidated_id).where(Link.source_id.in_(ids))
    return {row[0]: row[1] for row in (await session.execute(query)).all()}


async def sources_of(session: AsyncSession, id_: UUID) -> list[tuple[UUID, Tier]]:
    """What it sums up, in the order of their times, and where each of them is."""
    query = select(Episode.id, Episode.storage_tier).join(Link, Link.source_id == Episode.id)
    rows = (await session.execute(query.where(Link.consolidated_id == id_).order_by(Link.position))).all()
    return [(row[0], Tier(row[1])) for row in rows]


async def ends_of(session: AsyncSession, ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """Pairs of a source and what it is summed up in, as far as both are among `ids`."""
    query = select(Link.source_id, Link.consolidated_id)
    query = query.where(Link.source_id.in_(ids), Link.consolidated_id.in_(ids))
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]


async def lock_around(session: AsyncSession, id_: UUID) -> None:
    """An episode and what it is summed up in."""
    await session.execute(AROUND, {"id": id_})


async def lock_group(session: AsyncSession, id_: UUID) -> None:
    """An episode and what it sums up."""
    await session.execute(GROUP, {"id": id_})


async def dissolve(session: AsyncSession, source_id: UUID) -> UUID | None:
    """What has words of this source is gone, and which it was; its other sources stay where they are."""
    consolidated_id = (await linked(session, [source_id])).get(source_id)
    if consolidated_id is not None:
        await remove(session, consolidated_id, forgotten=True)
    return consolidated_id


async def remove(session: AsyncSession, id_: UUID, *, forgotten: bool = False) -> None:
    """A consolidated episode with its links. `forgotten`: where its body is cold, its object is to go soon."""
    tier = Tier((await session.execute(select(Episode.storage_tier).where(Episode.id == id_))).scalar_one())
    [locked] = await tier_store.lock(session, [id_], tier)
    size = locked.bytes if tier is Tier.HOT else locked.stored
    if tier is Tier.COLD:
        object_id, size = (await archive_store.cold_sizes(session, [id_]))[id_]
        if forgotten:
            await archive_store.count_forgotten(session, object_id)
    await session.execute(delete(Episode).where(Episode.id == id_))
    await tier_store.count_all(session, [Change(locked, tier, size, -1)])


async def keep_apart(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """They are not consolidated any more."""
    await session.execute(update(Episode).where(Episode.id.in_(ids)).values(kept_apart=True))
