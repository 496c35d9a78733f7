"""Vectors for what was written: in batches, off the event loop, with no transaction open while a model computes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from atom.errors import UnavailableError
from atom.events.service import Signal
from atom.infra.db import Sessions, unit_of_work, with_retry
from atom.memory import store, vector_store
from atom.memory.metrics import MemoryMetrics
from atom.memory.reading import Reading
from atom.retrieval.ports import Embedder

BATCH = 16  # a question waits behind at most one batch, 0.3 s of the local model
LEASE_SECONDS = 120.0
POLL_SECONDS = 5.0
ENQUEUE = 2_000
RECORD_ATTEMPTS = 6
log = structlog.get_logger(service="episodic_memory")


@dataclass(slots=True)
class EmbeddingWorker:
    """Any number of these may run, in any number of processes: a batch belongs to one for two minutes, and to anybody
    after that. Without an embedder or without pgvector, recall is by words alone, and says so."""

    sessions: Sessions
    embedder: Embedder | None
    written: Signal
    metrics: MemoryMetrics
    reading: Reading
    poll_seconds: float = POLL_SECONDS
    _ready: bool = field(default=False, init=False)
    _missing_told: bool = field(default=False, init=False)
    _looked_until: UUID | None = field(default_factory=lambda: UUID(int=0), init=False)

    async def run(self, stop: asyncio.Event) -> None:
        written = self.written.listen()
        try:
            while not stop.is_set():
                written.clear()
                try:
                    busy = await self.once()
                    if not busy:
                        await self._count()
                except UnavailableError:
                    busy = False
                if not busy:
                    await self._rest(stop, written)
        finally:
            self.written.forget(written)

    async def once(self) -> bool:
        """One batch, or a look for segments that lack a vector of this model. False when nothing is left to do."""
        if self.embedder is None or not await self._prepared(self.embedder):
            return False
        async with unit_of_work(self.sessions) as session:
            taken = await vector_store.take(session, seconds=LEASE_SECONDS, limit=BATCH)
        if not taken:
            return await self._look(self.embedder)
        texts = await self._texts(taken)
        if not texts:
            return True
        vectors = await self.embedder.embed([*texts.values()])
        rows, ids, model = vectors.rows(), [*texts], self.embedder.name

        async def record() -> None:
            async with unit_of_work(self.sessions) as session:
                await vector_store.add(session, model, ids, rows)

        await with_retry(record, attempts=RECORD_ATTEMPTS)
        log.debug("memory.embedded", segments=len(ids), model=model)
        return True

    async def _texts(self, taken: Sequence[tuple[UUID, str | None]]) -> dict[UUID, str]:
        """What is in no row comes from its body; where that is not to be had it is tried again after the lease."""
        away = [id_ for id_, text in taken if text is None]
        found = await self.reading.segment_texts(away) if away else {}
        return {id_: text for id_, text in taken if text is not None} | found

    async def _prepared(self, embedder: Embedder) -> bool:
        if not self._ready:
            async with unit_of_work(self.sessions) as session:
                self._ready = await vector_store.prepare(session, embedder.name, embedder.dimensions)
            if not self._ready and not self._missing_told:
                self._missing_told = True
                log.warning("memory.no_pgvector", hint="As a superuser: CREATE EXTENSION vector; recall is by words.")
        return self._ready

    async def _look(self, embedder: Embedder) -> bool:
        """Once in the life of a process all segments are gone through: another model may have embedded them."""
        if self._looked_until is None:
            return False
        async with unit_of_work(self.sessions) as session:
            after, model = self._looked_until, embedder.name
            self._looked_until = await vector_store.enqueue(session, model, after=after, limit=ENQUEUE)
        return self._looked_until is not None

    async def _count(self) -> None:
        async with unit_of_work(self.sessions) as session:
            counts = await store.by_tier(session, None)
        self.metrics.count({tier: episodes for tier, (episodes, _, _) in counts.items()})

    async def _rest(self, stop: asyncio.Event, written: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(written.wait())]
        try:
            await asyncio.wait(waits, timeout=self.poll_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
