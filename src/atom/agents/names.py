"""What agents are called, for those who keep ids of them."""

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents import store


class AgentNames:
    async def names(self, session: AsyncSession, ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Of those that exist."""
        return await store.names(session, ids)
