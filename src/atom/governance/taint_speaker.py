"""Taint as a rule beside the table."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.governance.decide import Spoken
from atom.governance.models import Action
from atom.governance.taint import judge
from atom.governance.wish import Readings, Wish


@dataclass(frozen=True, slots=True)
class TaintSpeaker:
    """A wish that does not say what its run has read is looked up in the journal: never taken for a clean one."""

    readings: Readings

    async def speak(self, session: AsyncSession, agent: Agent, action: Action, wish: Wish) -> Sequence[Spoken]:
        del agent
        reading = wish.reading or await self.readings.of_run(session, wish.run_id)
        return () if reading is None else judge(action, wish.arguments, reading)
