"""Skills put together: everything that other layers use of them, made once per process."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from atom.agents.service import AgentService
from atom.events.service import Outbox
from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.models import Bundle
from atom.skills.bundle.reading import read_bytes
from atom.skills.manifest.reading import read
from atom.skills.registry.records import checked_name, row_of
from atom.skills.registry.service import Registry
from atom.skills.registry.using import Use
from atom.skills.scan.models import Scan
from atom.skills.scan.service import Scanner
from atom.skills.validation.service import Validator

READERS = 2  # a bundle of 20 MB costs seconds of a processor


@dataclass(frozen=True, slots=True)
class Reader:
    """Uploaded bytes become a row; nothing of them is written or executed.

    `turns`: whoever has whole bundles in hand takes one, so that a few are unpacked at one time.
    """

    validator: Validator
    scanner: Scanner
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READERS))

    async def read(self, data: bytes, name: str) -> tuple[str, dict[str, Any]]:
        """The skill's name, and its row. Raises BundleError, SkillNameInvalidError."""
        async with self.turns:
            return await asyncio.to_thread(self._read, data, name)

    def _read(self, data: bytes, name: str) -> tuple[str, dict[str, Any]]:
        report = self.validator.validate(read_bytes(data, name))
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


def build_skills(agents: AgentService, outbox: Outbox) -> SkillLayer:
    grammars = TreeSitter()
    return SkillLayer(Registry(agents, outbox), Reader(Validator(grammars), Scanner(grammars)), Use(agents))
