"""Whether somebody is there who could step in: an open live view, or a look at what waits, in the last minutes."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from atom.identity.models import Permission, Principal, Role
from atom.infra.db import Sessions, unit_of_work
from atom.triggers import store

PRESENT_SECONDS = 180.0  # an open view is looked at again every minute: it may miss one look
NOTED_EVERY = 30.0


@dataclass(frozen=True, slots=True)
class OperatorWatch:
    """`Presence` from the database, so that every replica knows whom the others have seen."""

    sessions: Sessions

    async def seen(self, by: Principal) -> None:
        """In a transaction of its own. Who may not steer runs, and agents, do not count."""
        if by.role is Role.AGENT or not by.may(Permission.RUNS_WRITE):
            return
        async with unit_of_work(self.sessions) as session:
            await store.seen(session, by.key_id, by.actor, at_most_every=NOTED_EVERY)

    async def present(self, session: AsyncSession) -> bool:
        return await store.anybody_since(session, PRESENT_SECONDS)
