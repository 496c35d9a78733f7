"""SQL of how old memories are, by tier."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncSession

from atom.memory.models import Episode

FROM = (0, 7, 30, 90, 365)  # days


@dataclass(frozen=True, slots=True)
class Age:
    """Episodes of a tier that ended `days` ago or more, up to the next of `FROM`. Bytes of their texts, unpacked."""

    tier: str
    days: int
    episodes: int
    bytes: int


async def ages(session: AsyncSession, agent_id: UUID | None) -> list[Age]:
    """Of each tier those that there are, the youngest first. It looks at every episode."""
    old = func.extract("epoch", func.now() - func.coalesce(Episode.ended_at, Episode.started_at)) / 86_400
    number = func.width_bucket(func.greatest(old, 0), array([literal(days) for days in FROM]))
    query = select(Episode.storage_tier, number, func.count(), func.sum(Episode.bytes)).group_by(
        Episode.storage_tier, number
    )
    query = query if agent_id is None else query.where(Episode.agent_id == agent_id)
    rows = (await session.execute(query.order_by(Episode.storage_tier, number))).all()
    return [Age(tier, FROM[number - 1], int(count), int(size)) for tier, number, count, size in rows]
