"""What an agent wants to do, and who has a say in it beside the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.governance.decide import Spoken, Trigger
from atom.governance.models import Action
from atom.governance.taint import Reading


@dataclass(frozen=True, slots=True)
class Wish:
    """What an agent wants to do, and where it stands in its run. `callers`: the agents it does this for.

    `requester`: the actor behind the run. `reading`: what the run has read, if whoever wishes knows it.
    """

    agent_id: UUID
    run_id: UUID
    trigger: Trigger
    action: str
    arguments: Mapping[str, Any]
    callers: tuple[UUID, ...] = ()
    requester: str | None = None
    reading: Reading | None = field(default=None, compare=False, repr=False)


class Speaker(Protocol):
    """Rules beside the table, such as policies. A failure to know them is raised: then nothing is authorised."""

    async def speak(self, session: AsyncSession, agent: Agent, action: Action, wish: Wish) -> Sequence[Spoken]:
        """Those that fit this call."""
        ...


class Readings(Protocol):
    """Governance's way to the journal above it."""

    async def of_run(self, session: AsyncSession, run_id: UUID) -> Reading | None:
        """What a run has read, by its journal. None: there is no such run."""
        ...
