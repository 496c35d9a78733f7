"""Consolidation: old episodes that are alike have one that sums them up, and go to warm as they are.

Each group is one transaction: the consolidated episode, its links, the move of its sources and what the report says of
it are there together or not at all. Any number of runners may work at once: what one has locked or done, another
leaves alone.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from uuid import UUID

import structlog

from atom.infra.db import Sessions, unit_of_work
from atom.memory import consolidation_store, job_runs, links, tier_store
from atom.memory.consolidation_store import Crowded, Old
from atom.memory.grouping import MAX_BYTES, MAX_SEGMENTS, Group, grouped
from atom.memory.merging import Remembered, consolidated
from atom.memory.models import Tier
from atom.memory.service import MemoryService
from atom.memory.tiers import to_warm
from atom.settings import MemorySettings

PLAN = 4_800  # episodes that are put in order at once
BATCH = 240  # of these that are compared with each other
MAX_PLANS = 10_000
MAX_EXAMPLES = 10
Progress = Callable[[int, int | None], Awaitable[None]]
Tells = Callable[[UUID, Sequence[Remembered]], Awaitable[str | None]]
log = structlog.get_logger(service="episodic_memory")


@dataclass(slots=True)
class Consolidated:
    """What was done, or would be. `episodes`: sources of the groups; `alone`: what is like no other, and went to warm
    by itself. Bytes: of the texts while they were hot, and of what takes their place; `freed` is the difference.
    `agent_id`: whose turn it is. `examples`: of a dry run, ids and no words."""

    agents: int = 0
    groups: int = 0
    episodes: int = 0
    alone: int = 0
    segments: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    bytes_freed: int = 0
    by_model: int = 0
    skipped: int = 0
    agent_id: str | None = None
    dry_run: bool = False
    examples: list[dict[str, Any]] = field(default_factory=list)

    @staticmethod
    def of(report: dict[str, Any]) -> "Consolidated":
        known = {one.name for one in fields(Consolidated)}
        return Consolidated(**{name: value for name, value in report.items() if name in known})

    def told(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def done(self) -> int:
        return self.episodes + self.alone


async def by_rule(_: UUID, __: Sequence[Remembered]) -> str | None:
    """No model: the overview is made by rule."""
    return None


@dataclass(frozen=True, slots=True)
class Consolidator:
    """`model`: whose vectors episodes are compared by. `tell`: an overview of some episodes by a language model, or
    None where none may be asked."""

    sessions: Sessions
    service: MemoryService
    settings: MemorySettings
    model: str | None
    tell: Tells = by_rule

    async def consolidate(
        self, agent_id: UUID | None, run: UUID, progress: Progress, *, dry_run: bool = False
    ) -> Consolidated:
        """Of one agent or of everybody. `run` is on record, and has the report up to its last group: said again of the
        same run, it goes on."""
        async with unit_of_work(self.sessions) as session:
            report = Consolidated.of(await job_runs.report_of(session, run))
            report.dry_run = dry_run
            due = await consolidation_store.crowded(
                session,
                threshold=self.settings.consolidation_threshold,
                days=self.settings.episode_decay_days,
                agent_id=agent_id,
                resumed=None if report.agent_id is None else UUID(report.agent_id),
            )
        total = report.done + sum(max(0, one.episodes - self.kept) for one in due)
        work = Work(self, run, report, progress, total)
        for one in due:
            await work.agent(one)
        report.agent_id = None
        return report

    @property
    def kept(self) -> int:
        """Plain hot episodes that are left to an agent: so it is not its turn again with the next one."""
        return self.settings.consolidation_threshold // 2


@dataclass(slots=True)
class Work:
    """One run of it."""

    by: Consolidator
    run: UUID
    report: Consolidated
    progress: Progress
    total: int
    skipped: list[UUID] = field(default_factory=list)

    async def agent(self, of: Crowded) -> None:
        if self.report.agent_id != str(of.agent_id):
            self.report.agents += 1
            self.report.agent_id = str(of.agent_id)
        left, skip = of.episodes - self.by.kept, 0
        for _ in range(MAX_PLANS):
            async with unit_of_work(self.by.sessions) as session:
                plan = await consolidation_store.weakest(
                    session, of, without=self.skipped, skip=skip, limit=min(PLAN, max(0, left))
                )
            for start in range(0, len(plan), BATCH):
                await self._batch(of, plan[start : start + BATCH])
            left -= len(plan)
            skip += len(plan) if self.report.dry_run else 0  # else they are hot no more
            if not plan or left <= 0:
                return

    async def _batch(self, of: Crowded, old: Sequence[Old]) -> None:
        async with unit_of_work(self.by.sessions) as session:
            items = await consolidation_store.items(session, old, self.by.model)
        groups = await asyncio.to_thread(grouped, items)
        sizes = {one.id: one for one in old}
        if self.report.dry_run:
            for group in groups:
                self._foresee(of, group, [sizes[id_] for id_ in group.ids])
            await self.progress(self.report.done, self.total)
            return
        alone = [sizes[group.ids[0]] for group in groups if len(group.ids) == 1]
        for group in groups:
            if len(group.ids) > 1:
                await self._merge(of, group)
                await self.progress(self.report.done, self.total)
        for some in _bounded(alone):
            await self._move([one.id for one in some])
            await self.progress(self.report.done, self.total)

    def _foresee(self, of: Crowded, group: Group, old: Sequence[Old]) -> None:
        if len(old) == 1:
            self.report.alone += 1
        else:
            self.report.groups += 1
            self.report.episodes += len(old)
            if len(self.report.examples) < MAX_EXAMPLES:
                ids = [str(one.id) for one in old]
                self.report.examples.append({"agent_id": str(of.agent_id), "episodes": ids, "near": group.near})
        self.report.segments += sum(one.segments for one in old)
        self.report.bytes_before += sum(one.bytes for one in old)

    async def _merge(self, of: Crowded, group: Group) -> None:
        async with unit_of_work(self.by.sessions) as session:
            sources = await consolidation_store.remembered(session, group.ids)
        if len(sources) < len(group.ids):
            return self._skip(group.ids)
        told = await self.by.tell(of.agent_id, sources)
        draft = await asyncio.to_thread(consolidated, of.agent_id, sources, ref=ref_of(group.ids), told=told)
        async with unit_of_work(self.by.sessions) as session:
            locked = await tier_store.lock(session, group.ids, Tier.HOT)
            if len(locked) < len(group.ids) or not await consolidation_store.still_free(session, group.ids):
                return self._skip(group.ids)
            written = await self.by.service.record(session, draft)
            moved = await to_warm(session, group.ids)
            ordered = sorted(sources, key=lambda one: (one.started_at, one.id))
            await links.add(session, written.id, [one.id for one in ordered])
            size = sum(len(turn.text.encode()) for turn in draft.turns)
            self._count(len(group.ids), moved.segments, moved.bytes_before, moved.bytes_after + size)
            self.report.groups += 1
            self.report.by_model += told is not None
            await job_runs.record_report(session, self.run, self.report.told())
        log.info("memory.consolidated", episode_id=str(written.id), agent_id=str(of.agent_id), episodes=len(group.ids))
        return None

    async def _move(self, ids: Sequence[UUID]) -> None:
        """What is like no other goes to warm as it is."""
        async with unit_of_work(self.by.sessions) as session:
            moved = await to_warm(session, ids)
            self._count(0, moved.segments, moved.bytes_before, moved.bytes_after)
            self.report.alone += moved.episodes
            await job_runs.record_report(session, self.run, self.report.told())

    def _count(self, episodes: int, segments: int, before: int, after: int) -> None:
        self.report.episodes += episodes
        self.report.segments += segments
        self.report.bytes_before += before
        self.report.bytes_after += after
        self.report.bytes_freed += before - after

    def _skip(self, ids: Sequence[UUID]) -> None:
        """Somebody else has moved or forgotten one of them meanwhile: the next run sees what is left."""
        self.skipped += ids
        self.report.skipped += len(ids)


def ref_of(ids: Sequence[UUID]) -> str:
    """The same sources are summed up once."""
    return hashlib.sha256(b"".join(id_.bytes for id_ in sorted(ids))).hexdigest()


def _bounded(old: Sequence[Old]) -> Iterator[list[Old]]:
    """As many as one transaction may pack."""
    some: list[Old] = []
    for one in old:
        size = sum(known.bytes for known in some) + one.bytes
        if some and (size > MAX_BYTES or sum(known.segments for known in some) + one.segments > MAX_SEGMENTS):
            yield some
            some = []
        some.append(one)
    if some:
        yield some
