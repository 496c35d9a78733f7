"""A whole Atom with a scripted model, and a memory without one."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from sqlalchemy import URL

from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.identity.models import Principal, Role
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import SystemClock
from atom.kit.ids import new_id
from atom.llm.testing import ScriptedModel
from atom.memory.drafts import Draft, SegmentKind, Source, Turn
from atom.memory.embedding import EmbeddingWorker
from atom.memory.layer import MemoryLayer, build_memory
from atom.memory.service import MemoryService, Written
from atom.memory.testing import FaultyColdStore
from atom.retrieval.ports import Embedder
from atom.retrieval.testing import WordEmbedder
from atom.settings import MemorySettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.databases import execute, rows

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]
AGENTS = AgentService(Outbox(Signal()), frozenset(), lambda _: None)
PERSON = Principal(new_id(), "ann", Role.OPERATOR)
MORNING = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)


@pytest.fixture
def start(database: URL, home: Path) -> Start:
    """`async with start(reply, reply, ...) as atom`."""

    @asynccontextmanager
    async def run(*replies: Any, **groups: Any) -> AsyncIterator[RunningAtom]:
        async with running_atom(settings_for_tests(home, **groups), database, ScriptedModel(*replies)) as atom:
            yield atom

    return run


@dataclass(frozen=True, slots=True)
class Bench:
    """Memory on a real database, with an embedder that counts words."""

    layer: MemoryLayer
    cold: FaultyColdStore
    sessions: Sessions
    embedder: WordEmbedder
    agent_id: UUID

    @property
    def service(self) -> MemoryService:
        return self.layer.service

    def worker(self, embedder: Embedder | None = None) -> EmbeddingWorker:
        """Another process that makes vectors."""
        chosen = embedder or self.embedder
        return EmbeddingWorker(self.sessions, chosen, Signal(), self.layer.metrics, self.layer.reading)

    async def agent(self, name: str) -> UUID:
        return await agent_in(self.sessions, name)

    async def remember(
        self, *said: str, agent_id: UUID | None = None, at: datetime = MORNING, **fields: Any
    ) -> Written:
        """An episode of these turns, a minute apart; `speaker: text` names who said it."""
        values: dict[str, Any] = {"source": Source.API, "created_by": "admin:admin", "labels": frozenset()} | fields
        draft = Draft(agent_id=agent_id or self.agent_id, turns=turns(*said, at=at), **values)
        async with unit_of_work(self.sessions) as session:
            return await self.service.record(session, draft)

    async def embed(self) -> None:
        """Until nothing is left to embed."""
        while await self.layer.embedding.once():
            pass

    async def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        return await rows(self.sessions, query, **values)

    async def execute(self, statement: str, **values: Any) -> None:
        await execute(self.sessions, statement, **values)


def turns(*said: str, at: datetime = MORNING) -> list[Turn]:
    found = []
    for number, line in enumerate(said):
        speaker, _, text = line.partition(": ")
        found.append(Turn(SegmentKind.MESSAGE, speaker, text, at + timedelta(minutes=number), f"t{number}"))
    return found


async def agent_in(sessions: Sessions, name: str) -> UUID:
    async with unit_of_work(sessions) as session:
        return (await AGENTS.create(session, PERSON, name, Changes())).id


@pytest_asyncio.fixture
async def memory(sessions: Sessions) -> Bench:
    embedder = WordEmbedder()
    cold = FaultyColdStore()
    layer = build_memory(
        AGENTS,
        MemorySettings(cold_recall_seconds=0.5, cold_keep_days=0),
        sessions,
        embedder=embedder,
        registry=CollectorRegistry(),
        clock=SystemClock(),
        cold=cold,
    )
    return Bench(layer, cold, sessions, embedder, await agent_in(sessions, "worker"))
