"""The way back from a consolidation: its sources are hot again, and what summed them up is gone."""

from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance import audit_book
from atom.infra.db import Sessions, unit_of_work
from atom.memory import job_runs, keeping, links, policy_store
from atom.memory.archive_store import Away
from atom.memory.drafts import Source
from atom.memory.errors import EpisodeHeldError, EpisodeMovingError, NotConsolidatedError
from atom.memory.job_runs import RunOutcome
from atom.memory.models import Tier
from atom.memory.restoring import Restorer
from atom.memory.service import MemoryService
from atom.memory.tiers import to_hot

TRIES = 3
RESTORE = "restore"
log = structlog.get_logger(service="episodic_memory")


@dataclass(frozen=True, slots=True)
class Split:
    """The sources, in the order of their times."""

    id: UUID
    sources: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Splitter:
    sessions: Sessions
    service: MemoryService
    restorer: Restorer

    async def split(self, by: str, id_: UUID) -> Split:
        """All at once, and audited; only cold sources are read back before. They are not consolidated again.

        Raises EpisodeNotFoundError, NotConsolidatedError, EpisodeHeldError, EpisodeMovingError, BodyCorruptError,
        ColdStoreUnavailableError.
        """
        for _ in range(TRIES):
            async with unit_of_work(self.sessions) as session:
                cold = [source for source, tier in await self._sources(session, id_) if tier is Tier.COLD]
            if cold:
                await self._restore(cold)
            async with unit_of_work(self.sessions) as session:
                done = await self._split(session, by, id_)
            if done is not None:
                return done
        raise EpisodeMovingError(str(id_))

    async def _sources(self, session: AsyncSession, id_: UUID) -> list[tuple[UUID, Tier]]:
        episode, _ = await self.service.get(session, id_)
        if episode.source != Source.CONSOLIDATION:
            raise NotConsolidatedError(str(id_))
        return await links.sources_of(session, id_)

    async def _restore(self, cold: list[UUID]) -> None:
        async def alive(_: int, __: int | None) -> None:
            """Nobody watches."""

        async with unit_of_work(self.sessions) as session:
            run = await job_runs.record_started(session, RESTORE, whole=False)
        report = await self.restorer.restore(Away(ids=tuple(cold)), run, alive)
        outcome = RunOutcome.FAILED if report.left else RunOutcome.DONE
        async with unit_of_work(self.sessions) as session:
            await job_runs.record_finished(session, run, outcome, report.told())

    async def _split(self, session: AsyncSession, by: str, id_: UUID) -> Split | None:
        """None where one of them is cold again, or still."""
        await links.lock_group(session, id_)
        sources = await self._sources(session, id_)
        episode, agent = await self.service.get(session, id_)
        await policy_store.lock(session, episode.agent_id)
        rules = await keeping.rules_of(session, episode.agent_id)
        if rules.legal_hold:
            raise EpisodeHeldError(agent, rules.hold_reason)
        if any(tier is Tier.COLD for _, tier in sources):
            return None
        ids = [source for source, _ in sources]
        agent_id = episode.agent_id
        await to_hot(session, ids)
        await links.keep_apart(session, ids)
        await links.remove(session, id_)
        told = {"episode_id": str(id_), "sources": [str(source) for source in ids]}
        await audit_book.record(
            session, actor=by, action="memory", decision="split", reason="asked for", agent_id=agent_id, data=told
        )
        log.info("memory.episode_split", episode_id=str(id_), agent_id=str(agent_id), by=by)
        return Split(id_, tuple(ids))
