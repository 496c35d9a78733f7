"""Skills put together: everything that other layers use of them, made once per process."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from atom.agents.service import AgentService
from atom.events.service import Outbox
from atom.infra.db import Sessions, unit_of_work
from atom.retrieval.embedding_cache import EmbeddingCache
from atom.retrieval.ports import Embedder
from atom.settings import Settings
from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.models import Bundle
from atom.skills.bundle.reading import read_bytes
from atom.skills.catalogue import Catalogue
from atom.skills.execution.service import Executions
from atom.skills.manifest.reading import read
from atom.skills.registry.records import checked_name, row_of
from atom.skills.registry.service import Registry
from atom.skills.registry.store import any_active
from atom.skills.registry.using import Use
from atom.skills.sandbox.access import open_access
from atom.skills.scan.models import Scan
from atom.skills.scan.service import Scanner
from atom.skills.sources.fetching import Origin, Sources, open_sources
from atom.skills.validation.service import Report, Validator

READERS = 2  # a bundle of 20 MB costs seconds of a processor


@dataclass(frozen=True, slots=True)
class Reader:
    """Uploaded bytes become a row; nothing of them is written or executed.

    `turns`: whoever has whole bundles in hand takes one, so that a few are unpacked at one time.
    """

    validator: Validator
    scanner: Scanner
    sources: Sources
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READERS))

    async def read(self, data: bytes, name: str) -> tuple[str, dict[str, Any]]:
        """The skill's name, and its row. Raises BundleError, SkillNameInvalidError."""
        async with self.turns:
            return await asyncio.to_thread(self._read, data, name)

    async def validate(self, data: bytes, name: str) -> Report:
        """What the specification says of it. Raises BundleError."""
        async with self.turns:
            return await asyncio.to_thread(lambda: self.validator.validate(read_bytes(data, name)))

    async def read_from(self, url: str) -> tuple[str, dict[str, Any], Origin]:
        """The same of what lies at an address. Raises what `Sources.fetch` and `Fetched.bundle` raise, too."""
        fetched = await self.sources.fetch(url)
        async with self.turns:
            bundle, origin = await fetched.bundle()
            return *await asyncio.to_thread(self._row, bundle), origin

    def _read(self, data: bytes, name: str) -> tuple[str, dict[str, Any]]:
        return self._row(read_bytes(data, name))

    def _row(self, bundle: Bundle) -> tuple[str, dict[str, Any]]:
        report = self.validator.validate(bundle)
        return checked_name(report), row_of(report, self.scanner.scan(report.bundle, report.manifest.metadata))

    async def scan(self, bundle: Bundle) -> Scan:
        """Of a stored content, by the rules as they are now. The caller has taken a turn."""
        return await asyncio.to_thread(self._scan, bundle)

    def _scan(self, bundle: Bundle) -> Scan:
        return self.scanner.scan(bundle, read(bundle).manifest.metadata)


@dataclass(frozen=True, slots=True)
class SkillLayer:
    registry: Registry
    reader: Reader
    use: Use
    executions: Executions
    catalogue: Catalogue

    async def prepare(self, stop: asyncio.Event) -> None:
        """A task of whoever runs skills: the sandbox is made ready where there are skills to run in it."""
        async with unit_of_work(self.executions.sessions) as session:
            wanted = await any_active(session)
        await self.executions.sandbox.prepare(start=wanted)
        await stop.wait()

    async def aclose(self) -> None:
        await self.executions.sandbox.aclose()


@dataclass(frozen=True, slots=True)
class Base:
    """What skills stand on."""

    sessions: Sessions
    outbox: Outbox
    metrics: CollectorRegistry
    embedder: Embedder | None


def build_skills(base: Base, agents: AgentService, settings: Settings) -> SkillLayer:
    """Raises InvalidError for a setting that cannot be."""
    use, logging = Use(agents), settings.logging
    sandbox = open_access(settings.sandbox, settings.home, log_level=logging.level, log_file=logging.file)
    ended = Counter("atom_skill_runs_total", "Executions of skills that ended.", ["outcome"], registry=base.metrics)
    executions = Executions(base.sessions, use, base.outbox, sandbox, settings.sandbox, ended)
    embedder = base.embedder
    folder = settings.home / "cache" / "embeddings"
    cache = None if embedder is None else EmbeddingCache(folder / f"{embedder.name}-skills", embedder.dimensions)
    catalogue = Catalogue(base.sessions, agents, embedder, cache)
    grammars = TreeSitter()
    reader = Reader(Validator(grammars), Scanner(grammars), open_sources(settings.skills))
    return SkillLayer(Registry(agents, base.outbox), reader, use, executions, catalogue)
