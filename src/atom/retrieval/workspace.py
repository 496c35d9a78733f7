"""Search in the text files of a workspace: lines, ranked, with where they stand."""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from atom.retrieval.corpus import CorpusLimits, read_corpus
from atom.retrieval.embedding_cache import EmbeddingCache
from atom.retrieval.files import FileIndex, IndexedCorpus
from atom.retrieval.line_vectors import LineVectors
from atom.retrieval.local_embedder import INSTALL_HINT, find_local_embedder
from atom.retrieval.ports import Embedder
from atom.retrieval.ranking import Ranking
from atom.retrieval.vectors import Vectors

JUDGED = 8  # of the best lines decide whether the query is answered here at all
MAX_QUERY_CHARS = 1_000
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """Bounds of one search. With more than `embed_lines` lines without a vector, `candidates` get one."""

    corpus: CorpusLimits = field(default_factory=CorpusLimits)
    lines: int = 20_000
    embed_lines: int = 3_000
    embed_seconds: float = 15.0
    candidates: int = 100
    vector_memory_bytes: int = 64_000_000
    cache_bytes: int = 256_000_000


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A line that was found, verbatim. `also` are other lines of the same file with the same text.

    `cosine` compares the query with the line and its nearest context; None where it was not compared.
    """

    path: str
    line: int
    text: str
    context: str
    score: float
    cosine: float | None = None
    also: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """`semantic`: an embedder took part. `indexed` of `lines` have a vector. `whole`: all files could be looked at."""

    hits: tuple[SearchHit, ...]
    files: int
    lines: int
    indexed: int
    semantic: bool
    whole: bool
    skipped: int


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What preparing a workspace did: `embedded` lines now, `reused` from before."""

    files: int
    lines: int
    embedded: int
    reused: int
    skipped: int
    whole: bool
    seconds: float


@dataclass(slots=True)
class _Judged:
    """Numbers of places with their scores; the cosines of the claims of the best of them."""

    order: list[tuple[int, float]]
    claims: list[float] | None = None

    @property
    def best(self) -> list[int]:
        return [number for number, _ in self.order[:JUDGED]]


class WorkspaceSearch:
    """Stateless but for caches. Without an embedder it ranks by words alone and says so. What blocks is in threads."""

    def __init__(self, embedder: Embedder | None, cache_dir: Path, limits: SearchLimits | None = None) -> None:
        self._limits = limits or SearchLimits()
        self._files = FileIndex(self._limits.lines)
        self._reading = asyncio.Lock()
        self._vectors: LineVectors | None = None
        if embedder is not None:
            cache = EmbeddingCache.beside(cache_dir, embedder.name, embedder.dimensions, self._limits.cache_bytes)
            self._vectors = LineVectors(embedder, cache, self._limits.vector_memory_bytes)

    @property
    def embedder(self) -> Embedder | None:
        """For whoever else compares texts: one process loads one model. It is closed with this."""
        return None if self._vectors is None else self._vectors.embedder

    @property
    def semantic(self) -> bool:
        return self._vectors is not None

    async def aclose(self) -> None:
        if self._vectors is not None:
            await self._vectors.embedder.aclose()

    async def search(self, workspace: Path, query: str, limit: int, path: str | None = None) -> SearchResult:
        """The best lines first, at most `limit`; none when nothing is about the query.

        `path` (relative to the workspace) narrows it to one file or folder.
        """
        query = query[:MAX_QUERY_CHARS]
        corpus = await self._read(workspace, path)
        indexed = await self._prepare(corpus)
        ranking = await asyncio.to_thread(Ranking, query, corpus.files)
        judged = await self._judge(query, corpus, ranking)
        hits = _hits(ranking, judged, limit)
        log.info("retrieval.searched", lines=corpus.line_count, indexed=indexed, hits=len(hits), semantic=self.semantic)
        return SearchResult(
            hits,
            files=len(corpus.files),
            lines=corpus.line_count,
            indexed=indexed,
            semantic=self.semantic,
            whole=corpus.whole,
            skipped=corpus.skipped,
        )

    async def index(
        self, workspace: Path, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> IndexReport:
        """Embeds lines that have no vector yet. Interrupted, it goes on where it was; `progress` is (done, total)."""
        started = time.monotonic()
        corpus = await self._read(workspace, None)
        made = 0
        if self._vectors is not None:
            made = (await self._vectors.make(corpus.files, report=progress)).made
        seconds = time.monotonic() - started
        log.info("retrieval.indexed", files=len(corpus.files), lines=corpus.line_count, made=made, seconds=seconds)
        return IndexReport(
            files=len(corpus.files),
            lines=corpus.line_count,
            embedded=made,
            reused=corpus.line_count - made if self.semantic else 0,
            skipped=corpus.skipped,
            whole=corpus.whole,
            seconds=seconds,
        )

    async def _read(self, workspace: Path, path: str | None) -> IndexedCorpus:
        async with self._reading:
            return await asyncio.to_thread(
                lambda: self._files.index(read_corpus(workspace, self._limits.corpus, below=path))
            )

    async def _prepare(self, corpus: IndexedCorpus) -> int:
        """How many lines have a vector when the search begins: it makes them itself when they are few."""
        if self._vectors is None:
            return 0
        missing = await self._vectors.missing(corpus.files)
        if 0 < missing <= self._limits.embed_lines:
            await self._vectors.make(corpus.files, seconds=self._limits.embed_seconds)
            missing = await self._vectors.missing(corpus.files)
        return corpus.line_count - missing

    async def _judge(self, query: str, corpus: IndexedCorpus, ranking: Ranking) -> _Judged:
        """The order of the lines, emptied when the best of them are not about the query."""
        if self._vectors is None:
            judged = _Judged(await asyncio.to_thread(ranking.order, None))
        else:
            embedder = self._vectors.embedder
            question = await embedder.embed([query])
            cosines = await self._cosines(self._vectors, question, corpus, ranking)
            judged = _Judged(await asyncio.to_thread(ranking.order, cosines))
            claims = await embedder.embed([ranking.places[number].line.claim for number in judged.best])
            judged.claims = await asyncio.to_thread(embedder.similarities, question, claims)
        if not ranking.is_about(judged.best, judged.claims):
            judged.order = []
        return judged

    async def _cosines(
        self, vectors: LineVectors, question: Vectors, corpus: IndexedCorpus, ranking: Ranking
    ) -> list[float]:
        """One for each line. Of lines without a vector only the best by words are compared; the others get 0."""
        cosines: list[float] = []
        unknown: list[int] = []
        for file in corpus.files:
            rows = await vectors.known(file)
            cosines += await asyncio.to_thread(vectors.embedder.similarities, question, rows)
            rest = len(file.lines) - len(rows)
            unknown += range(len(cosines), len(cosines) + rest)
            cosines += [0.0] * rest
        candidates = sorted(unknown, key=lambda number: -ranking.lexical[number])[: self._limits.candidates]
        texts = [ranking.places[number].line.embedded_text for number in candidates]
        rows = await vectors.embedder.embed(texts)
        for number, cosine in zip(candidates, vectors.embedder.similarities(question, rows), strict=True):
            cosines[number] = cosine
        return cosines


def workspace_search(home: Path) -> WorkspaceSearch:
    """With the local embedder when it is installed, and its cache in the home folder."""
    embedder = find_local_embedder()
    if embedder is None:
        log.info("retrieval.lexical_only", hint=INSTALL_HINT)
    return WorkspaceSearch(embedder, home / "cache" / "embeddings")


def _hits(ranking: Ranking, judged: _Judged, limit: int) -> tuple[SearchHit, ...]:
    """A text that stands several times in one file is one hit, at its best place."""
    claims = dict(zip(judged.best, judged.claims or [], strict=False))
    same: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for number, score in judged.order:
        place = ranking.places[number]
        same.setdefault((place.path, place.line.text.strip()), []).append((number, score))
    return tuple(_hit(ranking, places, claims) for places in itertools.islice(same.values(), max(0, limit)))


def _hit(ranking: Ranking, places: Sequence[tuple[int, float]], claims: Mapping[int, float]) -> SearchHit:
    number, score = places[0]
    place = ranking.places[number]
    also = tuple(sorted(ranking.places[other].line.number for other, _ in places[1:]))
    return SearchHit(
        place.path, place.line.number, place.line.text, place.line.context, score, claims.get(number), also
    )
