"""What governance needs of the runs and tools above it, and whom it tells what people decide."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.tables import Approval


class Outcome(StrEnum):
    """How a question to people ended. `edited`: approved, with arguments that a person changed."""

    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    EXPIRED = "expired"


class RunWaker(Protocol):
    async def hold(self, session: AsyncSession, run_id: UUID) -> None:
        """Lock the run: whoever writes a run and its approvals writes the run first."""
        ...

    async def wake(self, session: AsyncSession, run_id: UUID, *, by: str) -> None:
        """Let a run that waits for an approval go on, in the caller's transaction. Nothing when it does not wait."""
        ...


class ArgumentsCheck(Protocol):
    def check(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the action would get them. Raises ApprovalArgumentsError when they do not fit it."""
        ...


class AskListener(Protocol):
    """Hears of every question to people, in the transaction that asks it. What it raises undoes the question."""

    async def requested(self, session: AsyncSession, approval: Approval, agent: str) -> None: ...


class ApprovalListener(Protocol):
    """Hears how every question ended, in the transaction that ends it. What it raises undoes the decision."""

    async def decided(self, session: AsyncSession, approval: Approval, outcome: Outcome) -> None: ...
