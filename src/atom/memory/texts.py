"""The texts of segments, wherever the bodies of their episodes are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.memory.errors import BodyCorruptError
from atom.memory.models import Tier
from atom.memory.tiers import warm_texts

# Held like this an episode does not move between tiers until the transaction ends. One that somebody moves or forgets
# just now is left out: waiting for it, in whatever order, could be waiting for each other.
HELD = text("""
    SELECT id, storage_tier FROM episode
    WHERE id IN (SELECT episode_id FROM episode_segment WHERE id = ANY(CAST(:ids AS uuid[])))
    ORDER BY id FOR SHARE SKIP LOCKED
""")
ROWS = text("""
    SELECT id, episode_id, position, speaker, text FROM episode_segment WHERE id = ANY(CAST(:ids AS uuid[]))
""")


@dataclass(frozen=True, slots=True)
class SegmentTexts:
    """`found`: speaker and text. `busy`: their episode is being moved. `lost`: their text cannot be had."""

    found: Mapping[UUID, str]
    busy: Sequence[UUID]
    lost: Sequence[UUID]


async def body_texts(session: AsyncSession, id_: UUID, tier: Tier) -> Sequence[str] | None:
    """By position, of an episode that is not hot and that the caller holds; None where its body cannot be had.

    The one place to know where such bodies are. Raises BodyCorruptError.
    """
    if tier is Tier.WARM:
        return (await warm_texts(session, [id_])).get(id_)
    return None


async def segment_texts(session: AsyncSession, ids: Sequence[UUID]) -> SegmentTexts:
    """Of those that still exist. Until the transaction ends nobody moves their episodes."""
    tiers = {row[0]: Tier(row[1]) for row in (await session.execute(HELD, {"ids": [*ids]})).all()}
    places = (await session.execute(ROWS, {"ids": [*ids]})).all()
    bodies = {id_: await _body(session, id_, tier) for id_, tier in tiers.items() if tier is not Tier.HOT}
    found: dict[UUID, str] = {}
    missing: dict[bool, list[UUID]] = defaultdict(list)
    for id_, episode_id, position, speaker, own in places:
        if episode_id not in tiers:
            missing[True].append(id_)
            continue
        body = bodies.get(episode_id)
        if tiers[episode_id] is Tier.HOT:
            found[id_] = f"{speaker}: {own}"
        elif body is not None and position < len(body):
            found[id_] = f"{speaker}: {body[position]}"
        else:
            missing[False].append(id_)
    return SegmentTexts(found, missing[True], missing[False])


async def _body(session: AsyncSession, id_: UUID, tier: Tier) -> Sequence[str] | None:
    """A damaged body is one episode's loss, not that of all the others in the batch."""
    try:
        return await body_texts(session, id_, tier)
    except BodyCorruptError:
        return None
