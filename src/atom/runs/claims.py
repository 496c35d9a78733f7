"""Claiming: which run this worker takes next, and everything it needs to work on it, in one short transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.service import AgentService
from atom.governance.decide import Trigger
from atom.infra.db import Sessions, unit_of_work
from atom.runs import store
from atom.runs.briefing import brief_of
from atom.runs.loop import Work
from atom.runs.models import Run
from atom.runs.transitions import claim
from atom.runs.turns import Bounds, choose, rooms
from atom.settings import RunSettings

RUNG_AT_ONCE = 200
TRIES = 5  # a run that somebody else changes at this moment is passed over


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run this worker owns now, as it was found. `crashed`: its last owner died with it."""

    run: Run
    epoch: int
    work: Work
    first: bool
    crashed: bool


@dataclass(slots=True)
class Claims:
    """`owner` names this process in the lease. Claims of the whole deployment take turns, so that bounds are exact."""

    sessions: Sessions
    agents: AgentService
    settings: RunSettings
    owner: str
    _one: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)  # one connection waits for its turn, not many

    async def take(self) -> Claimed | None:
        """The next run by `turns.choose`, or None when there is none that the bounds leave room for."""
        async with self._one:
            for _ in range(TRIES):
                async with unit_of_work(self.sessions) as session:
                    chosen = await self._next(session)
                    if chosen is None:
                        return None
                    claimed = await self._claim(session, chosen)
                if claimed is not None:
                    return claimed
        return None

    async def to_ring(self, session: AsyncSession) -> Sequence[UUID]:
        """For the sweep: runs that a worker could take now."""
        waiting = await store.waiting(session, orphans=RUNG_AT_ONCE)
        room = rooms(waiting, self._bounds())
        return [*waiting.orphans, *await store.queued(session, room, limit=RUNG_AT_ONCE)]

    async def _next(self, session: AsyncSession) -> UUID | None:
        await store.take_turns(session)
        return choose(await store.waiting(session, orphans=1), self._bounds())

    def _bounds(self) -> Bounds:
        return Bounds(self.settings.max_running, self.settings.max_running_per_agent)

    async def _claim(self, session: AsyncSession, run_id: UUID) -> Claimed | None:
        for run, state in await store.locked(session, [run_id], skip_locked=True):
            taken = claim(state)
            if taken is None:
                return None
            await store.take(session, run, taken, owner=self.owner, seconds=self.settings.lease_seconds)
            crashed, run.crashes = taken.crashes > run.crashes, taken.crashes
            work = await self._describe(session, run)
            return Claimed(run, taken.epoch, work, run.started_at is None, crashed)
        return None

    async def _describe(self, session: AsyncSession, run: Run) -> Work:
        version = await self.agents.at_version(session, run.agent_id, run.agent_version)
        lineage = await store.lineage(session, run.id) if run.parent_id else ()
        root = await store.get(session, lineage[-1][0]) if lineage else run
        return Work(
            run_id=run.id,
            agent_id=run.agent_id,
            agent_name=str(version.definition["name"]),
            trigger=Trigger(run.trigger),
            brief=await brief_of(session, run, version, [id_ for id_, _ in lineage[1:]]),
            tools=tuple(version.definition["tools"]),
            worked_ms=run.worked_ms,
            callers=tuple(agent_id for _, agent_id in lineage[1:]),
            requester=root.requested_by if root else None,
            requested_model=run.requested_model,
            no_cache=run.no_cache,
        )
