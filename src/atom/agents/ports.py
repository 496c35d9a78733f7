"""What agents need of the governance above them."""

from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


class MaturityBook(Protocol):
    async def set_by_hand(
        self, session: AsyncSession, agent_id: UUID, *, version: int, before: str, after: str, by: str
    ) -> None:
        """A person has set the agent's maturity without regard to evidence. In the transaction of the change."""
        ...


class Unwritten:
    """Where nobody keeps a book: a part of Atom on its own."""

    async def set_by_hand(
        self, session: AsyncSession, agent_id: UUID, *, version: int, before: str, after: str, by: str
    ) -> None:
        return None
