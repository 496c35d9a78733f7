"""Runs that wait for a provider or a budget: woken when their time has come, or somebody changed what held them."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from atom.runs import store
from atom.runs.family import Family
from atom.runs.models import WaitReason

AT_ONCE = 200
AUTOMATIC = (WaitReason.PROVIDER, WaitReason.BUDGET)
BY = "system:models"


@dataclass(frozen=True, slots=True)
class Patience:
    family: Family

    async def wake_due(self, session: AsyncSession) -> None:
        """For the sweep."""
        for run_id in sorted(await store.due(session, limit=AT_ONCE)):
            for reason in AUTOMATIC:
                await self.family.wake(session, run_id, reason, by=BY)

    async def models_changed(self, session: AsyncSession) -> None:
        """Keys or routes are others now: whoever waits for a provider is woken by the next sweep."""
        await store.due_now(session, WaitReason.PROVIDER)

    async def budgets_changed(self, session: AsyncSession) -> None:
        await store.due_now(session, WaitReason.BUDGET)
