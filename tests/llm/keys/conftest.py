"""A desk of providers for each test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from atom.agents.names import AgentNames
from atom.events.service import Outbox, Signal
from atom.infra.db import Sessions
from atom.infra.trace import NO_TRACER
from atom.kit.clock import SystemClock
from atom.llm.access import Access
from atom.llm.layer import Base, build_models
from atom.settings import LlmSettings, Provider, RedisSettings, VaultSettings
from tests.support.desk import Desk, DeskModel, MakeDesk


@pytest.fixture
def make_desk(sessions: Sessions, home: Path) -> MakeDesk:
    def make(vault: VaultSettings | None = None, **llm: Any) -> Desk:
        desk: Desk

        async def factory(access: Access) -> DeskModel:
            return DeskModel(desk, access)

        base = Base(sessions, Outbox(Signal()), SystemClock(), CollectorRegistry(), home, AgentNames(), NO_TRACER)
        providers = (Provider.OPENAI, Provider.ANTHROPIC, Provider.COMPATIBLE)
        layer = build_models(
            base, LlmSettings(**llm), vault or VaultSettings(), RedisSettings(), dict.fromkeys(providers, factory)
        )
        desk = Desk(layer, sessions)
        return desk

    return make


@pytest_asyncio.fixture
async def desk(make_desk: MakeDesk) -> AsyncIterator[Desk]:
    made = make_desk()
    yield made
    await made.layer.llm.aclose()
