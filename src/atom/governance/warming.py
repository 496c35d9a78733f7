"""The decision cache as an operator sees it: filled before it is needed, or emptied, on every replica."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance import store
from atom.governance.knowledge import CHANNEL, Knowledge, Warmed
from atom.governance.models import Action

PER_NOTICE = 150  # ids in one notification: its payload has at most 8000 bytes


@dataclass(frozen=True, slots=True)
class WarmingService:
    knowledge: Knowledge
    actions: Mapping[str, Action]

    async def warm(self, session: AsyncSession, refs: Sequence[str]) -> Warmed:
        """This process at once, the others when they hear of it. Refs that name no agent are given back."""
        warmed = await self.knowledge.warm(session, refs, self.actions)
        ids = [str(id_) for id_ in warmed.agents]
        for begin in range(0, len(ids), PER_NOTICE):
            await store.tell(session, CHANNEL, "warm:" + ",".join(ids[begin : begin + PER_NOTICE]))
        return warmed

    async def clear(self, session: AsyncSession) -> int:
        """Decisions that this process let go of; the others do when they hear of it."""
        await store.tell(session, CHANNEL, "clear")
        return self.knowledge.clear()
