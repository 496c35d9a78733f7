"""Bodies back into the rows. It only reads the cold store: any number may do it at once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import AtomError
from atom.infra.db import Sessions, unit_of_work
from atom.memory import archive_store, job_runs, tier_store
from atom.memory.archive import MAX_TOLD, cut
from atom.memory.archive_store import Away, ColdPlace, Planned
from atom.memory.cold_bodies import Bodies
from atom.memory.errors import BodyCorruptError, ColdStoreUnavailableError
from atom.memory.models import Tier
from atom.memory.tier_store import Change
from atom.memory.tiers import Moved, to_hot
from atom.settings import MemorySettings

PLAN = 1_000
MAX_PLANS = 100_000
ROUNDS = 4  # of those that moved to another object just then
Progress = Callable[[int, int | None], Awaitable[None]]
log = structlog.get_logger(service="episodic_memory")


@dataclass(slots=True)
class Restored:
    """What a restore has done. Bytes: `before` of the bodies where they were, `after` in the rows. `left`: of
    those that were meant.
    `failed`: ids with why, the first of them."""

    episodes: int = 0
    segments: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    left: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(report: dict[str, Any]) -> "Restored":
        known = {one.name for one in fields(Restored)}
        return Restored(**{name: value for name, value in report.items() if name in known})

    def add(self, moved: Moved) -> None:
        self.episodes += moved.episodes
        self.segments += moved.segments
        self.bytes_before += moved.bytes_before
        self.bytes_after += moved.bytes_after

    def told(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Restorer:
    sessions: Sessions
    bodies: Bodies
    settings: MemorySettings

    async def restore(self, wanted: Away, run: UUID, progress: Progress) -> Restored:
        """`run` is on record, and has the report up to its last batch. What cannot be restored is told and stays cold.

        Raises ColdStoreUnavailableError.
        """
        async with unit_of_work(self.sessions) as session:
            report = Restored.of(await job_runs.report_of(session, run))
            left, _, _ = await archive_store.away_counts(session, wanted)
        total = report.episodes + left
        after = UUID(int=0)
        for _ in range(MAX_PLANS):
            async with unit_of_work(self.sessions) as session:
                planned = await archive_store.away(session, wanted, after=after, limit=PLAN)
            for batch in cut(planned, self.settings.cold_object_bytes):
                await self._batch(batch, run, report)
                await progress(report.episodes, total)
            if not planned:
                break
            after = planned[-1].id
        async with unit_of_work(self.sessions) as session:
            report.left, _, _ = await archive_store.away_counts(session, wanted)
        return report

    async def _batch(self, batch: Sequence[Planned], run: UUID, report: Restored) -> None:
        wanted = [one.id for one in batch]
        for _ in range(ROUNDS):
            async with unit_of_work(self.sessions) as session:
                lying = await archive_store.lying(session, wanted)
            await self._warm([id_ for id_, one in lying.items() if one.warm is not None], run, report)
            places = {id_: one.cold for id_, one in lying.items() if one.cold is not None}
            if not places:
                return
            read = await asyncio.gather(*(self._read(id_, place) for id_, place in places.items()))
            texts = {id_: got for id_, got in zip(places, read, strict=True) if not isinstance(got, AtomError)}
            errors = {id_: got for id_, got in zip(places, read, strict=True) if isinstance(got, AtomError)}
            async with unit_of_work(self.sessions) as session:
                moved, stayed = await _move(session, places, texts, errors, report)
                await job_runs.record_report(session, run, report.told())
            for id_ in stayed:
                self._tell(id_, errors[id_], report)
            wanted = [id_ for id_ in places if id_ not in moved and id_ not in stayed]
            if not wanted:
                return

    async def _warm(self, ids: Sequence[UUID], run: UUID, report: Restored) -> None:
        """Together, or where one of them is damaged one by one."""
        if not ids:
            return
        try:
            async with unit_of_work(self.sessions) as session:
                moved = await to_hot(session, ids)
                report.add(moved)
                await job_runs.record_report(session, run, report.told())
        except BodyCorruptError as error:
            if len(ids) == 1:
                self._tell(ids[0], error, report)
                return
            for id_ in ids:
                await self._warm([id_], run, report)

    async def _read(self, id_: UUID, place: ColdPlace) -> list[str] | AtomError:
        try:
            return await self.bodies.read(id_, place)
        except ColdStoreUnavailableError:
            raise
        except AtomError as error:
            return error

    def _tell(self, id_: UUID, error: AtomError, report: Restored) -> None:
        log.error("memory.body_not_restored", episode_id=str(id_), error_code=error.code, error=error.message)
        if len(report.failed) < MAX_TOLD:
            report.failed[str(id_)] = error.code


async def _move(
    session: AsyncSession,
    places: Mapping[UUID, ColdPlace],
    texts: Mapping[UUID, list[str]],
    errors: Mapping[UUID, AtomError],
    report: Restored,
) -> tuple[set[UUID], set[UUID]]:
    """Those that moved, and those that are where they were and cannot be read there."""
    locked = await tier_store.lock(session, [*places], Tier.COLD)
    here = await archive_store.cold_sizes(session, [one.id for one in locked])
    same = [one for one in locked if here[one.id][0] == places[one.id].object_id]
    moving = [one for one in same if one.id in texts]
    changes: list[Change] = []
    for one in moving:
        await tier_store.fill(session, one.id, texts[one.id])
        size = here[one.id][1]
        changes += [Change(one, Tier.COLD, size, -1), Change(one, Tier.HOT, one.bytes, 1)]
        report.add(Moved(1, one.segments, size, one.bytes))
    ids = [one.id for one in moving]
    if ids:
        await archive_store.leave(session, ids)
        await tier_store.mark(session, ids, Tier.HOT)
        await tier_store.count_all(session, changes)
    return set(ids), {one.id for one in same if one.id in errors}
