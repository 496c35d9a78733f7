"""Vectors for what was written: in batches, off the event loop, with no transaction open while a model computes.

When the model changes, all segments are gone through: each that lacks a vector of it waits for one. Then it is
complete, and after a while the vectors of former models are removed. Every step is one transaction that leaves the
next one to be done by anybody.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import UnavailableError
from atom.events.service import Signal
from atom.infra.db import Sessions, unit_of_work, with_retry
from atom.memory import model_store, store, vector_store
from atom.memory.metrics import MemoryMetrics
from atom.memory.model_store import Present
from atom.memory.reading import Reading
from atom.retrieval.errors import EmbedderError, EmbedderInputError, EmbedderRefusedError
from atom.retrieval.ports import Embedder

BATCH = 16  # a question waits behind at most one batch, 0.3 s of the local model
LEASE_SECONDS = 120.0
POLL_SECONDS = 5.0
LONGEST_POLL = 60.0  # while an embedder fails
ENQUEUE = 2_000
REMOVE = 2_000
LOST_SECONDS = 600.0  # until a segment whose text cannot be had now is taken again
QUIET_SECONDS = 60.0  # after which a model that no worker works for may be followed by another one
GRACE_SECONDS = 60.0  # that the vectors of a former model outlive it: processes go on for some seconds with a choice
DROP_SECONDS = 1.0  # that removing an index waits, and makes searches wait
RECORD_ATTEMPTS = 6
PROBE = "Which words are these?"
log = structlog.get_logger(service="episodic_memory")


@dataclass(slots=True)
class EmbeddingWorker:
    """Any number of these may run, in any number of processes: a batch belongs to one for two minutes, and to anybody
    after that. Without an embedder or without pgvector, recall is by words alone, and says so.

    Where processes are set to different models, the one that started last decides; the others stand aside.
    """

    sessions: Sessions
    embedder: Embedder | None
    written: Signal
    metrics: MemoryMetrics
    reading: Reading
    poll_seconds: float = POLL_SECONDS
    quiet_seconds: float = QUIET_SECONDS
    grace_seconds: float = GRACE_SECONDS
    _started: bool = field(default=False, init=False)
    _ready: bool = field(default=False, init=False)
    _missing_told: bool = field(default=False, init=False)
    _failures: int = field(default=0, init=False)
    _removed: tuple[str, UUID] = field(default=("", model_store.NONE), init=False)

    async def run(self, stop: asyncio.Event) -> None:
        written = self.written.listen()
        try:
            while not stop.is_set():
                written.clear()
                try:
                    busy = await self.once()
                    self._failures = 0
                    if not busy:
                        await self._count()
                except EmbedderError as error:
                    busy = False
                    self._tell(error)
                except UnavailableError:
                    busy = False
                if not busy:
                    await self._rest(stop, written)
        finally:
            self.written.forget(written)

    async def once(self) -> bool:
        """One batch, or one step of what a change of the model brings with it. False when nothing is left to do.

        Raises EmbedderError; the batch waits for the next try then.
        """
        if self.embedder is None or not await self._prepared(self.embedder):
            return False
        embedder = self.embedder
        async with unit_of_work(self.sessions) as session:
            present = await model_store.hold(session, embedder.name)
            taken = await self._take(session, embedder.name) if present is not None else []
        if present is None:
            self._ready = False  # another one is the present model: looked at again with the next turn
            return False
        if not taken:
            return await self._behind(embedder.name, present)
        await self._embed(embedder, await self._texts(taken))
        return True

    async def _take(self, session: AsyncSession, model: str) -> list[tuple[UUID, str | None]]:
        await model_store.seen(session, model)
        return await vector_store.take(session, seconds=LEASE_SECONDS, limit=BATCH)

    async def _texts(self, taken: Sequence[tuple[UUID, str | None]]) -> dict[UUID, str]:
        """What is in no row comes from its body. Where that is not to be had it is tried again later."""
        away = [id_ for id_, text in taken if text is None]
        if not away:
            return {id_: text for id_, text in taken if text is not None}
        found = await self.reading.segment_texts(away)
        lost = [id_ for id_ in away if id_ not in found]
        if lost:
            log.warning("memory.texts_away", segments=len(lost), hint="Their bodies cannot be read: tried again later.")
            await self._put_off(lost, LOST_SECONDS)
        return {id_: text for id_, text in taken if text is not None} | found

    async def _embed(self, embedder: Embedder, texts: Mapping[UUID, str]) -> None:
        ids = [*texts]
        if not ids:
            return
        try:
            vectors = await embedder.embed([texts[id_] for id_ in ids])
        except EmbedderInputError:
            await self._each(embedder, texts)
            return
        except EmbedderError:
            await self._put_off(ids, 0.0)
            raise
        await self._record(embedder.name, ids, vectors.rows())

    async def _each(self, embedder: Embedder, texts: Mapping[UUID, str]) -> None:
        """One of them is refused. Where any text is, it is not the texts' fault, and they wait."""
        try:
            await embedder.embed([PROBE])
        except EmbedderError:
            await self._put_off([*texts], 0.0)
            raise
        for id_, text in texts.items():
            try:
                [row] = (await embedder.embed([text])).rows()
            except EmbedderInputError as error:
                await self._put_off([id_], None)
                log.warning("memory.text_not_embedded", segment_id=str(id_), model=embedder.name, error=str(error))
            else:
                await self._record(embedder.name, [id_], [row])

    async def _record(self, model: str, ids: Sequence[UUID], rows: Sequence[Sequence[float]]) -> None:
        async def record() -> None:
            async with unit_of_work(self.sessions) as session:
                if await model_store.hold(session, model) is not None:  # else its successor embeds them
                    await vector_store.add(session, model, ids, rows)

        await with_retry(record, attempts=RECORD_ATTEMPTS)
        log.debug("memory.embedded", segments=len(ids), model=model)

    async def _put_off(self, ids: Sequence[UUID], seconds: float | None) -> None:
        async with unit_of_work(self.sessions) as session:
            await vector_store.put_off(session, ids, seconds)

    async def _prepared(self, embedder: Embedder) -> bool:
        """Whether this worker's model is the present one, as far as it was when it was looked at last."""
        if self._ready:
            return True
        if not embedder.dimensions:
            await embedder.embed([PROBE])
        async with unit_of_work(self.sessions) as session:
            there = await vector_store.prepare(session, embedder.name, embedder.dimensions)
            self._ready = there and await self._follow(session, embedder)
        if not there and not self._missing_told:
            self._missing_told = True
            log.warning("memory.no_pgvector", hint="As a superuser: CREATE EXTENSION vector; recall is by words.")
        return self._ready

    async def _follow(self, session: AsyncSession, embedder: Embedder) -> bool:
        """A worker that starts decides; later on only where no worker of the present model is left."""
        starting, self._started = not self._started, True
        found = await model_store.current(session, quiet=self.quiet_seconds)
        stored = await model_store.dimensions(session, embedder.name)
        if stored not in {None, embedder.dimensions}:
            raise EmbedderRefusedError(
                f"{embedder.name} gives vectors of {embedder.dimensions} numbers; those stored have {stored}.",
                hint="Another model needs another name: ATOM_MEMORY__EMBEDDER_MODEL.",
            )
        if found is not None and found[0] == embedder.name:
            return True
        if found is not None and not starting and not found[1]:
            return False
        await model_store.follow(session, embedder.name, embedder.dimensions)
        log.info("memory.embedding_model", model=embedder.name, former=found[0] if found else None)
        return True

    async def _behind(self, model: str, present: Present) -> bool:
        """What is done when nothing waits: a look for what lacks a vector, the end of that, and what was before it."""
        if present.looking:
            async with unit_of_work(self.sessions) as session:
                after = await model_store.look(session, model)
                if after is not None:
                    until = await vector_store.enqueue(session, model, after=after, limit=ENQUEUE)
                    await model_store.looked(session, model, until)
            return True
        if not present.complete:
            async with unit_of_work(self.sessions) as session:
                ended = await model_store.complete(session, model)
            if ended:
                log.info("memory.embedding_complete", model=model)
            return ended
        return await self._remove(model)

    async def _remove(self, model: str) -> bool:
        """Some vectors of a former model; its index when there are no more."""
        async with unit_of_work(self.sessions) as session:
            if await model_store.hold(session, model) is None:
                return False
            former = await model_store.former(session, model, grace=self.grace_seconds)
            if former is None:
                return False
            after = self._removed[1] if self._removed[0] == former else model_store.NONE
            last = await vector_store.remove(session, former, after=after, limit=REMOVE)
            if last is None and after == model_store.NONE:
                await vector_store.unindex(session, former, seconds=DROP_SECONDS)
                await model_store.gone(session, former)
                log.info("memory.former_model_removed", model=former)
        self._removed = (former, last or model_store.NONE)
        return True

    async def _count(self) -> None:
        async with unit_of_work(self.sessions) as session:
            counts = await store.by_tier(session, None)
        self.metrics.count(counts)

    def _tell(self, error: EmbedderError) -> None:
        """Once for every time it begins."""
        self._failures += 1
        if self._failures == 1:
            log.warning("memory.embedder_failed", error=str(error))

    async def _rest(self, stop: asyncio.Event, written: asyncio.Event) -> None:
        """Until something is written; while the embedder fails, longer and longer whatever is written."""
        seconds = min(LONGEST_POLL, self.poll_seconds * 2.0 ** min(self._failures, 10)) if self._failures else 0.0
        waits = [asyncio.ensure_future(stop.wait())]
        waits += [] if self._failures else [asyncio.ensure_future(written.wait())]
        try:
            await asyncio.wait(waits, timeout=seconds or self.poll_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
