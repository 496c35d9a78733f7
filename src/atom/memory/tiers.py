"""Bodies between hot and warm. Lexemes, vectors and everything that is said of an episode stay in place."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.memory import tier_store
from atom.memory.bodies import pack, unpack
from atom.memory.models import Tier
from atom.memory.tier_store import Change


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did. `bytes_before` and `bytes_after`: of the bodies, where they were and where they are."""

    episodes: int = 0
    segments: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def __add__(self, other: "Moved") -> "Moved":
        return Moved(
            self.episodes + other.episodes,
            self.segments + other.segments,
            self.bytes_before + other.bytes_before,
            self.bytes_after + other.bytes_after,
        )


async def to_warm(session: AsyncSession, ids: Sequence[UUID]) -> Moved:
    """Those of them that are hot, all in the caller's transaction: keep batches small."""
    locked = await tier_store.lock(session, ids, Tier.HOT)
    texts = await tier_store.texts(session, [one.id for one in locked])
    moved, changes = Moved(), []
    for one in locked:
        packed = pack(texts.get(one.id, []))
        await tier_store.keep(session, one.id, packed)
        changes += [Change(one, Tier.HOT, one.bytes, -1), Change(one, Tier.WARM, len(packed.body), 1)]
        moved += Moved(1, one.segments, one.bytes, len(packed.body))
    await tier_store.empty(session, [one.id for one in locked])
    await tier_store.mark(session, [one.id for one in locked], Tier.WARM)
    await tier_store.count_all(session, changes)
    return moved


async def to_hot(session: AsyncSession, ids: Sequence[UUID]) -> Moved:
    """Those of them that are warm, all in the caller's transaction. Raises BodyCorruptError, and nothing has moved."""
    locked = await tier_store.lock(session, ids, Tier.WARM)
    packed = await tier_store.bodies(session, [one.id for one in locked])
    moved, changes = Moved(), []
    for one in locked:
        await tier_store.fill(session, one.id, unpack(packed[one.id]))
        changes += [Change(one, Tier.WARM, one.stored, -1), Change(one, Tier.HOT, one.bytes, 1)]
        moved += Moved(1, one.segments, one.stored, one.bytes)
    await tier_store.drop(session, [one.id for one in locked])
    await tier_store.mark(session, [one.id for one in locked], Tier.HOT)
    await tier_store.count_all(session, changes)
    return moved
