"""Skills put together: everything that other layers use of them, made once per process."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from atom.agents.service import AgentService
from atom.events.service import Outbox
from atom.settings import SkillSettings
from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.models import Bundle
from atom.skills.bundle.reading import read_bytes
from atom.skills.registry.records import checked_name, row_of
from atom.skills.registry.service import Registry
from atom.skills.registry.using import Use
from atom.skills.sources.fetching import Origin, Sources, open_sources
from atom.skills.validation.service import Validator

READERS = 2  # a bundle of 20 MB costs seconds of a processor


@dataclass(frozen=True, slots=True)
class Reader:
    """Uploaded bytes become a row; nothing of them is written or executed.

    `turns`: whoever has whole bundles in hand takes one, so that a few are unpacked at one time.
    """

    validator: Validator
    sources: Sources
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READERS))

    async def read(self, data: bytes, name: str) -> tuple[str, dict[str, Any]]:
        """The skill's name, and its row. Raises BundleError, SkillNameInvalidError."""
        async with self.turns:
            return await asyncio.to_thread(self._read, data, name)

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
        return checked_name(report), row_of(report)


@dataclass(frozen=True, slots=True)
class SkillLayer:
    registry: Registry
    reader: Reader
    use: Use


def build_skills(agents: AgentService, outbox: Outbox, settings: SkillSettings) -> SkillLayer:
    reader = Reader(Validator(TreeSitter()), open_sources(settings))
    return SkillLayer(Registry(agents, outbox), reader, Use(agents))
