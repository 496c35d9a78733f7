"""Which skills an agent may use, and which of them a task is about: hybrid search over names and descriptions."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.service import AgentService
from atom.errors import AtomError
from atom.governance.models import Maturity, Risk
from atom.infra.db import Sessions, unit_of_work
from atom.retrieval.embedding_cache import EmbeddingCache
from atom.retrieval.fusion import fuse
from atom.retrieval.lexical import Document, Lexicon, document
from atom.retrieval.lru import WeightedLru
from atom.retrieval.ports import Embedder
from atom.retrieval.vectors import Vectors
from atom.skills.registry import store
from atom.skills.registry.access import Access, refusal
from atom.skills.registry.capabilities import hosts_of
from atom.skills.registry.store import Listed

NAME_WEIGHT = 3.0  # a name says in two words what the description says in a hundred
WORDS, MEANING = 0.4, 0.6
CANDIDATES = 64  # of the best by words, and of those whose vector is known, meaning decides
EMBED_SECONDS = 10.0
CACHE_BYTES = 8_000_000
DOCUMENT_CHARS = 12_000_000  # of texts whose counted words are kept
log = structlog.get_logger(service="agent_execution")


@dataclass(frozen=True, slots=True)
class Entry:
    """A skill that an agent may use now. `version`: hexadecimal digits that its content's hash begins with."""

    name: str
    description: str
    version: str
    online: bool


@dataclass(slots=True)
class Catalogue:
    """Read anew each time: who may use what changes at once. Without an embedder words alone decide."""

    sessions: Sessions
    agents: AgentService
    embedder: Embedder | None
    cache: EmbeddingCache | None
    _documents: WeightedLru[Document] = field(default_factory=lambda: WeightedLru(DOCUMENT_CHARS), init=False)
    _vectors: WeightedLru[bytes] = field(default_factory=lambda: WeightedLru(CACHE_BYTES), init=False)

    async def of(self, agent: str) -> list[Entry]:
        """By name. `agent` is a name or an id. Raises AgentNotFoundError."""
        async with unit_of_work(self.sessions) as session:
            return await usable_by(session, self.agents, agent)

    async def search(self, agent: str, query: str, limit: int) -> list[Entry]:
        """Those that fit best first, at most `limit`; those that have nothing to do with it are left out by words
        alone, and stand last where meaning is compared."""
        entries = await self.of(agent)
        return await self.rank(entries, query, limit)

    async def rank(self, entries: Sequence[Entry], query: str, limit: int) -> list[Entry]:
        if not entries or not query.strip():
            return list(entries[:limit])
        words = await asyncio.to_thread(lambda: Lexicon([self._document(one) for one in entries]).bm25(query))
        meaning = await self._meaning(entries, query, words)
        scores = words if meaning is None else fuse((words, WORDS), (meaning, MEANING))
        order = sorted(range(len(entries)), key=lambda number: (-scores[number], entries[number].name))
        return [entries[number] for number in order if meaning is not None or scores[number] > 0][:limit]

    def _document(self, one: Entry) -> Document:
        text = _text(one)
        key = _key(text)
        found = self._documents.get(key)
        if found is None:
            found = document((one.name.replace("-", " "), NAME_WEIGHT), (one.description, 1.0))
            self._documents.put(key, found, len(text))
        return found

    async def _meaning(self, entries: Sequence[Entry], query: str, words: Sequence[float]) -> list[float] | None:
        """A cosine for each, 0 for what was not compared. None: there is no embedder, or it does not answer."""
        if self.embedder is None:
            return None
        try:
            async with asyncio.timeout(EMBED_SECONDS):
                return await self._cosines(self.embedder, entries, query, words)
        except (AtomError, OSError, RuntimeError) as error:  # also that it takes too long, or the cache is broken
            log.warning("skills.words_only", error_code="embedder_away", error=str(error)[:200])
            return None

    async def _cosines(
        self, embedder: Embedder, entries: Sequence[Entry], query: str, words: Sequence[float]
    ) -> list[float]:
        texts = [_text(one) for one in entries]
        known = {number: row for number, text in enumerate(texts) if (row := await self._known(text)) is not None}
        best = sorted(range(len(texts)), key=lambda number: -words[number])
        missing = [number for number in best if number not in known][:CANDIDATES]
        asked = await embedder.embed([query])
        if missing:
            rows = await embedder.embed([texts[number] for number in missing])
            width = len(rows.data) // len(rows)
            for place, number in enumerate(missing):
                known[number] = rows.data[place * width : (place + 1) * width]
                await self._keep(texts[number], known[number], rows.dimensions)
        compared = sorted(known)
        matrix = Vectors(b"".join(known[number] for number in compared), asked.dimensions)
        found = await asyncio.to_thread(embedder.similarities, asked, matrix)
        lowest = min(found, default=0.0)
        scores = [lowest] * len(entries)
        for number, cosine in zip(compared, found, strict=True):
            scores[number] = cosine
        return scores

    async def _known(self, text: str) -> bytes | None:
        key = _key(text)
        found = self._vectors.get(key)
        if found is None and self.cache is not None:
            stored = await asyncio.to_thread(self.cache.load, key)
            if stored is not None and len(stored) == 1:
                found = stored.data
                self._vectors.put(key, found, len(found))
        return found

    async def _keep(self, text: str, row: bytes, dimensions: int) -> None:
        key = _key(text)
        self._vectors.put(key, row, len(row))
        if self.cache is not None:
            await asyncio.to_thread(self.cache.save, key, Vectors(row, dimensions))


async def usable_by(session: AsyncSession, agents: AgentService, agent: str) -> list[Entry]:
    asking = await agents.get(session, agent)
    found = await store.listed(session)
    return [_entry(one) for one in found if _may(one, asking.name, Maturity(asking.maturity))]


def _may(one: Listed, agent: str, maturity: Maturity) -> bool:
    access = Access(one.agents, Maturity(one.lowest_maturity), Risk(one.highest_risk))
    return refusal(access, agent=agent, maturity=maturity, risk=Risk(one.risk)) is None


def _entry(one: Listed) -> Entry:
    return Entry(one.name, one.description, one.digest.removeprefix("sha256:")[:16], bool(hosts_of(one.declared)))


def _text(one: Entry) -> str:
    return f"{one.name.replace('-', ' ')}: {one.description}"


def _key(text: str) -> str:
    return hashlib.sha256(b"skill\n" + text.encode()).hexdigest()
