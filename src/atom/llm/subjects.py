"""What the ids in budgets and in the ledger are called."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.llm.keys import store


class AgentNames(Protocol):
    """Agents are above this layer."""

    async def names(self, session: AsyncSession, ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Of those that exist."""
        ...


@dataclass(frozen=True, slots=True)
class Subjects:
    agents: AgentNames

    async def names(self, session: AsyncSession, ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Of agents and keys; of a key that was removed, too: what it was used for stays on record."""
        if not ids:
            return {}
        return {**await store.names(session, ids), **await self.agents.names(session, ids)}

    async def exists(self, session: AsyncSession, scope: str, id_: UUID) -> bool:
        """An agent, or a key that was not removed."""
        if scope == "key":
            return await store.get(session, id_) is not None
        return id_ in await self.agents.names(session, [id_])
