"""A registry on a database of its own, and bundles that differ in one thing each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.governance.evidence.changes import ChangeBook
from atom.governance.models import Maturity
from atom.identity.models import Principal, Role
from atom.infra.db import Sessions, unit_of_work
from atom.skills.layer import Base, SkillLayer, build_skills
from atom.skills.registry.models import SkillVersion
from atom.skills.registry.service import Consent, Imported
from atom.web.testing import settings_for_tests
from tests.skills.packing import zipped

BOSS = Principal(uuid4(), "boss", Role.ADMIN)
BY = BOSS.actor


def skill(
    name: str = "report", *, atom: str = "", files: Mapping[str, bytes] | None = None, text: str = "Do."
) -> bytes:
    """A zip. `atom`: what stands below `metadata.atom`, indented by four spaces."""
    metadata = f"metadata:\n  atom:\n{atom}" if atom else ""
    manifest = f"---\nname: {name}\ndescription: Reports. Use it for reports.\n{metadata}---\n\n# {name}\n\n{text}\n"
    return zipped({"SKILL.md": manifest.encode(), **(files or {"scripts/run.py": b"print('ok')\n"})})


@dataclass(frozen=True, slots=True)
class Desk:
    """A registry as a person works with it, each act in a transaction of its own."""

    layer: SkillLayer
    agents: AgentService
    sessions: Sessions

    async def take(self, data: bytes, name: str = "skill.zip") -> Imported:
        skill_name, row = await self.layer.reader.read(data, name)
        async with unit_of_work(self.sessions) as session:
            return await self.layer.registry.add(session, BY, skill_name, row)

    async def approve(self, found: Imported, *, activate: bool = True) -> SkillVersion:
        version = found.version
        consent = Consent(version.digest, version.capabilities_digest)
        async with unit_of_work(self.sessions) as session:
            return await self.layer.registry.approve(session, BY, place(found), consent, activate=activate)

    async def used(self, data: bytes) -> Imported:
        """Imported, approved and active."""
        found = await self.take(data)
        await self.approve(found)
        return found

    async def do(self, act: Callable[..., Awaitable[Any]], *arguments: Any, **words: Any) -> Any:
        async with unit_of_work(self.sessions) as session:
            return await act(session, BY, *arguments, **words)

    async def version(self, found: Imported) -> SkillVersion:
        """As it stands now."""
        async with unit_of_work(self.sessions) as session:
            return await self.layer.registry.version(session, *place(found))

    async def usable(self, name: str = "report", agent: str = "worker") -> Any:
        async with unit_of_work(self.sessions) as session:
            return await self.layer.use.usable(session, name, agent)

    async def agent(self, name: str, maturity: Maturity = Maturity.AUTONOMOUS) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.agents.create(session, BOSS, name, Changes(maturity=maturity.value))

    async def rows(self, query: str) -> list[Any]:
        async with unit_of_work(self.sessions) as session:
            return list((await session.execute(text(query))).all())

    async def decisions(self) -> list[str]:
        return [
            row[0] for row in await self.rows("SELECT decision FROM audit_entry WHERE action = 'skill' ORDER BY id")
        ]


def place(found: Imported) -> tuple[str, str]:
    return (found.skill.name, found.version.digest)


@pytest.fixture
def agents() -> AgentService:
    outbox = Outbox(Signal())
    return AgentService(outbox, frozenset(), lambda _: None, ChangeBook(outbox))


@pytest_asyncio.fixture
async def desk(sessions: Sessions, agents: AgentService, tmp_path: Path) -> AsyncIterator[Desk]:
    base = Base(sessions, Outbox(Signal()), CollectorRegistry(), None)
    made = Desk(build_skills(base, agents, settings_for_tests(tmp_path)), agents, sessions)
    await made.agent("worker")
    yield made
    await made.layer.aclose()
