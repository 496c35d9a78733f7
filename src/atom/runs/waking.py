"""Lets a parked run go on after a decision: the port that governance owns."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.ports import Doorbell, Topic
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.runs import store


@dataclass(frozen=True, slots=True)
class RunWaking:
    outbox: Outbox
    doorbell: Doorbell

    async def wake(self, session: AsyncSession, run_id: UUID, *, by: str) -> None:
        agent_id = await store.wake(session, run_id)
        if agent_id is None:
            return
        await self.outbox.emit(session, EventType.RUN_RESUMED, actor=by, agent_id=agent_id, run_id=run_id, data={})
        await self.doorbell.ring(session, Topic.RUN, [run_id])
