"""What an agent wants to do, and who has a say in it beside the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.governance.decide import Spoken, Trigger
from atom.governance.models import Action


@dataclass(frozen=True, slots=True)
class Wish:
    """What an agent wants to do, and where it stands in its run. `callers`: the agents it does this for.

    `requester`: the actor behind the run.
    """

    agent_id: UUID
    run_id: UUID
    trigger: Trigger
    action: str
    arguments: Mapping[str, Any]
    callers: tuple[UUID, ...] = ()
    requester: str | None = None


class Speaker(Protocol):
    """Rules beside the table, such as policies. A failure to know them is raised: then nothing is authorised."""

    async def speak(self, session: AsyncSession, agent: Agent, action: Action, wish: Wish) -> Sequence[Spoken]:
        """Those that fit this call."""
        ...
