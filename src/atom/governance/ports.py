"""What governance needs of the runs above it."""

from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


class RunWaker(Protocol):
    async def hold(self, session: AsyncSession, run_id: UUID) -> None:
        """Lock the run: whoever writes a run and its approvals writes the run first."""
        ...

    async def wake(self, session: AsyncSession, run_id: UUID, *, by: str) -> None:
        """Let a run that waits for an approval go on, in the caller's transaction. Nothing when it does not wait."""
        ...
