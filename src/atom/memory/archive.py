"""Bodies into the cold store: written, read back and compared before any row gives up its texts.

A batch is of one agent and becomes one object. The object is on record before it is written; the rows of the batch move
in one transaction after it has been read back. Whatever a crash leaves is an object without bodies: `tidy` deletes it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import AtomError
from atom.infra.db import Sessions, unit_of_work
from atom.kit.ids import new_id
from atom.memory import archive_store, job_runs, tier_store
from atom.memory.archive_store import ColdPlace, Due, Planned
from atom.memory.bodies import pack
from atom.memory.cold_bodies import Bodies, opened
from atom.memory.cold_tidy import Tidied, tidy
from atom.memory.cold_turn import Turn, my_turn
from atom.memory.errors import ColdStoreCorruptError
from atom.memory.models import Tier
from atom.memory.sealing import seal
from atom.memory.tier_store import Change, Locked
from atom.settings import MemorySettings

MAGIC = b"atom cold 1\n"
PLAN = 5_000  # episodes that are put in order at once
MAX_PLANS = 10_000
MAX_EPISODES = 200  # of one object
MAX_SEGMENTS = 5_000
MAX_TOLD = 20
PATIENCE = 600.0
Progress = Callable[[int, int | None], Awaitable[None]]
log = structlog.get_logger(service="episodic_memory")


@dataclass(slots=True)
class Archived:
    """What an archive has done. Bytes: `before` of the bodies in the database, `after` in the cold store, `freed` in
    the database. `repacked`: cold ones that moved to another object. `failed`: ids with why, the first of them."""

    episodes: int = 0
    segments: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    bytes_freed: int = 0
    objects: int = 0
    repacked: int = 0
    objects_deleted: int = 0
    bytes_deleted: int = 0
    objects_pending: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(report: dict[str, Any]) -> "Archived":
        known = {one.name for one in fields(Archived)}
        return Archived(**{name: value for name, value in report.items() if name in known})

    def told(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Body:
    """A body on its way: the texts, and where they will lie."""

    planned: Planned
    texts: list[str]
    place: ColdPlace
    stored: bytes


@dataclass(frozen=True, slots=True)
class Archivist:
    """`owner` names this process. `lease_seconds`: longer than one object may take twice."""

    sessions: Sessions
    bodies: Bodies
    settings: MemorySettings
    owner: str
    patience: float = PATIENCE

    @property
    def lease_seconds(self) -> float:
        return 3 * self.settings.cold_timeout + 30

    async def archive(self, wanted: Due, run: UUID, progress: Progress) -> Archived:
        """All that is due, the weakest first. `run` is on record, and has the report up to its last batch.

        Raises ArchiveBusyError, ColdStoreUnavailableError, ColdStoreCorruptError: what was done stays done.
        """
        async with unit_of_work(self.sessions) as session:
            report = Archived.of(await job_runs.report_of(session, run))
            left, _, _ = await archive_store.due_counts(session, wanted)
        work = Work(self, run, report, progress, report.episodes + left)
        async with my_turn(
            self.sessions, self.owner, seconds=self.lease_seconds, patience=self.patience, alive=work.alive
        ) as turn:
            await work.repack(turn)
            await work.archive(turn, wanted)
            done = await self.tidy(turn)
        report.objects_deleted += done.objects
        report.bytes_deleted += done.bytes
        report.objects_pending = done.pending
        return report

    async def tidy(self, turn: Turn, *, orphan_seconds: float | None = None) -> Tidied:
        seconds = 2 * self.settings.cold_timeout + 60 if orphan_seconds is None else orphan_seconds
        keep = self.settings.cold_keep_days
        return await tidy(self.sessions, self.bodies.cold, turn, keep_days=keep, orphan_seconds=seconds)


@dataclass(slots=True)
class Work:
    """One run of the archive, in its turn."""

    archivist: Archivist
    run: UUID
    report: Archived
    progress: Progress
    total: int
    skipped: set[UUID] = field(default_factory=set)

    @property
    def sessions(self) -> Sessions:
        return self.archivist.sessions

    async def alive(self) -> None:
        await self.progress(self.report.episodes, self.total)

    async def repack(self, turn: Turn) -> None:
        async for batch in self._batches(lambda session: archive_store.sparse(session, limit=PLAN)):
            await self._batch(turn, batch, again=True)

    async def archive(self, turn: Turn, wanted: Due) -> None:
        def plan(session: AsyncSession) -> Awaitable[list[Planned]]:
            return archive_store.due(session, wanted, without=sorted(self.skipped), limit=PLAN)

        async for batch in self._batches(plan):
            await self._batch(turn, batch, again=False)
            await self.alive()

    async def _batches(
        self, plan: Callable[[AsyncSession], Awaitable[list[Planned]]]
    ) -> AsyncIterator[Sequence[Planned]]:
        most = self.archivist.settings.cold_object_bytes
        for _ in range(MAX_PLANS):
            async with unit_of_work(self.sessions) as session:
                planned = [one for one in await plan(session) if one.id not in self.skipped]
            if not planned:
                return
            for batch in cut(planned, most):
                yield batch

    async def _batch(self, turn: Turn, batch: Sequence[Planned], *, again: bool) -> None:
        object_id = new_id()
        path = f"{datetime.now(UTC):%Y-%m}/{object_id}.cold"
        self.skipped |= {one.id for one in batch}
        texts = await self._texts(batch)
        if not texts:
            return
        content, bodies = await asyncio.to_thread(_sealed, object_id, path, [*texts.items()])
        async with unit_of_work(self.sessions) as session:
            await turn.fence(session)
            await archive_store.add_object(session, object_id, path, hashlib.sha256(content).digest(), len(content))
        try:
            await self._write(turn, path, content, bodies)
        except AtomError:
            await self._give_up(turn, object_id)
            raise
        async with unit_of_work(self.sessions) as session:
            await turn.fence(session)
            moved = await self._move(session, object_id, bodies, again=again)
            await job_runs.record_report(session, self.run, self.report.told())
        self.skipped -= moved  # they are due no more

    async def _texts(self, batch: Sequence[Planned]) -> dict[Planned, list[str]]:
        """Of those that can be read. One that cannot is told, and holds up no other."""
        found = await self.archivist.bodies.texts_of([one.id for one in batch])
        texts = {}
        for one in batch:
            got = found.get(one.id)
            if isinstance(got, AtomError):
                log.error("memory.body_not_archived", episode_id=str(one.id), error_code=got.code, error=got.message)
                self._tell(one.id, got.code)
            elif got is not None and len(got) == one.segments:
                texts[one] = got
        return texts

    def _tell(self, id_: UUID, code: str) -> None:
        if len(self.report.failed) < MAX_TOLD:
            self.report.failed[str(id_)] = code

    async def _write(self, turn: Turn, path: str, content: bytes, bodies: Sequence[Body]) -> None:
        """The object, and what is read back of it. Raises ColdStoreCorruptError unless each text is there again."""
        cold = self.archivist.bodies.cold
        await cold.put(path, content)
        async with unit_of_work(self.sessions) as session:
            await turn.fence(session)
        back = await cold.get(path)
        if not await asyncio.to_thread(_same, content, back, bodies):
            raise ColdStoreCorruptError(cold.place, path)

    async def _give_up(self, turn: Turn, object_id: UUID) -> None:
        async with unit_of_work(self.sessions) as session:
            await turn.fence(session)
            await archive_store.set_state(session, object_id, "garbage", at_once=True)

    async def _move(self, session: AsyncSession, object_id: UUID, bodies: Sequence[Body], *, again: bool) -> set[UUID]:
        """The rows of those whose body is still what was read give up their texts. Returns which."""
        by_id = {body.planned.id: body for body in bodies}
        locked = {tier: await tier_store.lock(session, [*by_id], tier) for tier in _tiers(again)}
        sizes = await archive_store.cold_sizes(session, [one.id for one in locked.get(Tier.COLD, [])])
        moving = [(tier, one) for tier, rows in locked.items() for one in rows if _fits(tier, one, by_id[one.id])]
        if not moving:
            await archive_store.set_state(session, object_id, "garbage", at_once=True)
            return set()
        changes: list[Change] = []
        for tier, one in moving:
            was = {Tier.HOT: one.bytes, Tier.WARM: one.stored}.get(tier) or sizes.get(one.id, (None, 0))[1]
            now = by_id[one.id].place.size
            changes += [Change(one, tier, was, -1), Change(one, Tier.COLD, now, 1)]
            self._count(tier, one, was, now)
        ids = [one.id for _, one in moving]
        await archive_store.place(session, {id_: by_id[id_].place for id_ in ids})
        await tier_store.empty(session, [one.id for tier, one in moving if tier is Tier.HOT])
        await tier_store.drop(session, ids)
        await tier_store.mark(session, ids, Tier.COLD)
        await tier_store.count_all(session, changes)
        await archive_store.set_state(session, object_id, "stored")
        self.report.objects += 1
        return set(ids)

    def _count(self, tier: Tier, one: Locked, was: int, now: int) -> None:
        if tier is Tier.COLD:
            self.report.repacked += 1
            return
        self.report.episodes += 1
        self.report.segments += one.segments
        self.report.bytes_before += was
        self.report.bytes_after += now
        self.report.bytes_freed += was


def cut(planned: Sequence[Planned], most: int) -> list[list[Planned]]:
    """Batches of one agent each, bounded by bytes of texts, segments and number; in the order of their first."""
    batches: list[list[Planned]] = []
    current: dict[UUID, tuple[list[Planned], int, int]] = {}
    for one in planned:
        batch, size, segments = current.get(one.agent_id, ([], 0, 0))
        full = size + one.bytes > most or segments + one.segments > MAX_SEGMENTS or len(batch) >= MAX_EPISODES
        if not batch or full:
            batch, size, segments = [], 0, 0
            batches.append(batch)
        batch.append(one)
        current[one.agent_id] = (batch, size + one.bytes, segments + one.segments)
    return batches


def _tiers(again: bool) -> tuple[Tier, ...]:  # noqa: FBT001 - private
    return (Tier.COLD,) if again else (Tier.HOT, Tier.WARM)


def _fits(tier: Tier, one: Locked, body: Body) -> bool:
    """A row that still has what was read: a correction may have come since."""
    if one.segments != len(body.texts):
        return False
    return tier is not Tier.HOT or one.bytes == sum(len(text.encode()) for text in body.texts)


def _sealed(object_id: UUID, path: str, texts: Sequence[tuple[Planned, list[str]]]) -> tuple[bytes, list[Body]]:
    """The content of an object, and what lies where in it. Blocks."""
    content, bodies = bytearray(MAGIC), []
    for one, said in texts:
        packed = pack(said)
        sealed = seal(one.id, packed)
        sums = sealed.key, sealed.stored_sha256, packed.sha256
        place = ColdPlace(object_id, path, len(content), len(sealed.stored), *sums, packed.unpacked)
        bodies.append(Body(one, said, place, sealed.stored))
        content += sealed.stored
    return bytes(content), bodies


def _same(content: bytes, back: bytes, bodies: Sequence[Body]) -> bool:
    """Whether everything is there again, to the character. Blocks."""
    if back != content:
        return False
    return all(
        opened(body.planned.id, body.place, back[body.place.start : body.place.start + body.place.size]) == body.texts
        for body in bodies
    )
