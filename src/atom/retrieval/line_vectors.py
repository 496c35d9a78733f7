"""The vectors of the lines of files: from memory, from disk, or made now."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from atom.retrieval.embedding_cache import EmbeddingCache
from atom.retrieval.files import IndexedFile
from atom.retrieval.lru import WeightedLru
from atom.retrieval.ports import Embedder
from atom.retrieval.vectors import Vectors

BATCH = 128
SAVE_EVERY = 2_048  # rows that a crash can cost at most


@dataclass(frozen=True, slots=True)
class Progress:
    """Lines that have a vector, and how many of them were made by this call."""

    done: int
    total: int
    made: int


class LineVectors:
    """One embedder and its cache. Concurrent callers take turns by batch, so none waits for a whole workspace."""

    def __init__(self, embedder: Embedder, cache: EmbeddingCache, memory_bytes: int) -> None:
        self.embedder, self._cache = embedder, cache
        self._held: WeightedLru[Vectors] = WeightedLru(memory_bytes)
        self._turn = asyncio.Lock()

    async def known(self, file: IndexedFile) -> Vectors:
        """The rows that exist, for the first lines of a file; often all, sometimes none."""
        held = self._held.get(file.key)
        if held is not None:
            return held
        loaded = await asyncio.to_thread(self._cache.load, file.key) or Vectors(b"", self.embedder.dimensions)
        loaded = loaded.first(len(file.lines))
        held = self._held.get(file.key)  # somebody else may have gone on while this one was reading
        if held is not None and len(held) >= len(loaded):
            return held
        self._held.put(file.key, loaded, len(loaded.data))
        return loaded

    async def missing(self, files: Sequence[IndexedFile]) -> int:
        return sum([len(file.lines) - len(await self.known(file)) for file in files])

    async def make(
        self,
        files: Sequence[IndexedFile],
        *,
        seconds: float | None = None,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> Progress:
        """Makes what is missing, for at most `seconds`. What is made is kept, also when this is cancelled."""
        unique = list({file.key: file for file in files}.values())
        ends = math.inf if seconds is None else time.monotonic() + seconds
        total = sum(len(file.lines) for file in unique)
        before = total - await self.missing(unique)
        made = 0
        report(before, total)
        for file in unique:
            async for added in self._complete(file, ends):
                made += added
                report(before + made, total)
        return Progress(before + made, total, made)

    async def _complete(self, file: IndexedFile, ends: float) -> AsyncIterator[int]:
        """Yields how many rows each batch added; saves now and then, and whatever ends it."""
        rows = await self.known(file)
        saved = len(rows)
        try:
            while len(rows) < len(file.lines) and time.monotonic() < ends:
                before = len(rows)
                rows = await self._extended(file, rows)
                yield len(rows) - before
                if len(rows) - saved >= SAVE_EVERY:
                    await asyncio.to_thread(self._cache.save, file.key, rows)
                    saved = len(rows)
        finally:
            if len(rows) > saved:
                await asyncio.to_thread(self._cache.save, file.key, rows)

    async def _extended(self, file: IndexedFile, rows: Vectors) -> Vectors:
        async with self._turn:
            held = self._held.get(file.key)
            if held is not None and len(held) > len(rows):  # somebody else worked on this file meanwhile
                return held
            lines = file.lines[len(rows) : len(rows) + BATCH]
            rows = rows.joined(await self.embedder.embed([line.embedded_text for line in lines]))
            self._held.put(file.key, rows, len(rows.data))
            return rows
