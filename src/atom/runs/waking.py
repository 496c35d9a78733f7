"""Lets a parked run go on after a decision: the port that governance owns."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.runs import store
from atom.runs.family import Family
from atom.runs.models import WaitReason


@dataclass(frozen=True, slots=True)
class RunWaking:
    family: Family

    async def hold(self, session: AsyncSession, run_id: UUID) -> None:
        await store.locked(session, [run_id])

    async def wake(self, session: AsyncSession, run_id: UUID, *, by: str) -> None:
        await self.family.wake(session, run_id, WaitReason.APPROVAL, by=by)
