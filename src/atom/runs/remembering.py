"""Ended runs become episodes: a chore of the sweep, once for each run, in the transaction that says so."""

from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import AtomError, UnavailableError
from atom.memory.service import MemoryService
from atom.runs import remember_store, store
from atom.runs.journal import MAX_STEPS
from atom.runs.recollection import Told, draft_of

AT_ONCE = 20
AGAIN_SECONDS = 3600.0
log = structlog.get_logger(service="episodic_memory")


@dataclass(frozen=True, slots=True)
class RunMemory:
    """Whatever ended it, and whichever release: a run's row says that its episode is still to be written."""

    memory: MemoryService

    async def remember(self, session: AsyncSession) -> None:
        """For the sweep. A run that cannot be made an episode of holds up no other, and is tried again in an hour."""
        for run_id in await remember_store.due(session, limit=AT_ONCE):
            try:
                async with session.begin_nested():
                    await self._remember(session, run_id)
            except UnavailableError:
                raise
            except (AtomError, DBAPIError) as error:
                if isinstance(error, DBAPIError) and error.connection_invalidated:
                    raise
                code = error.code if isinstance(error, AtomError) else type(error).__name__
                log.error("memory.run_not_remembered", run_id=str(run_id), error_code=code, error=str(error))
                await remember_store.later(session, run_id, seconds=AGAIN_SECONDS)

    async def _remember(self, session: AsyncSession, run_id: UUID) -> None:
        found = await store.with_agent_name(session, run_id)
        assert found is not None
        steps = await store.steps(session, run_id, limit=MAX_STEPS)
        notes = await remember_store.notes(session, run_id)
        decided = await remember_store.decided(session, run_id)
        await self.memory.remember(session, draft_of(Told(*found, steps, notes, decided)))
        await remember_store.done(session, run_id)
