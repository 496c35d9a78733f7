"""Audit rows, who may write them, and a superuser who tampers with them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance import store as entries
from atom.governance.audit import store
from atom.governance.audit.anchors import Witness
from atom.governance.audit.findings import Report
from atom.governance.audit.layer import AuditLayer, build_audit
from atom.governance.audit.verify import Verification
from atom.infra.database_url import parse_database_url
from atom.infra.db import Sessions, create_engine, create_sessions, unit_of_work
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.kit.clock import FrozenClock
from atom.settings import AuditSettings, DatabaseSettings
from tests.conftest import Cluster

END = (1 << 63) - 1


def values(number: int, **fields: Any) -> dict[str, Any]:
    said = {"actor": f"agent:a{number % 3}", "action": "write_file", "decision": "allow", "reason": "within_maturity"}
    return {**said, "data": {"number": number, "digest": "ab" * 8}, **fields}


async def write(sessions: Sessions, count: int, start: int = 1) -> None:
    for number in range(start, start + count):
        async with unit_of_work(sessions) as session:
            await entries.audit(session, values(number))


async def verified(session: AsyncSession, witness: Witness | None = None) -> Report:
    """The whole chain and everything beside it, as this session sees it."""
    found = Verification(witness or Witness())
    for row in await store.chain(session, 0, END, 100_000):
        found.add(row.link)
    strays, _ = await store.strays(session, UUID(int=0), 100_000)
    for stray in strays:
        found.stray(stray)
    return found.report()


@asynccontextmanager
async def open_sessions(url: URL) -> AsyncIterator[Sessions]:
    engine = create_engine(url, DatabaseSettings(pool_size=2, max_overflow=0, pool_timeout=2))
    yield create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    await engine.dispose()


@dataclass(frozen=True, slots=True)
class Desk:
    """Audit in a home of its own, with a clock that stands still."""

    layer: AuditLayer
    clock: FrozenClock
    sessions: Sessions
    home: Path


@pytest.fixture
def desk(sessions: Sessions, tmp_path: Path) -> Desk:
    clock = FrozenClock()
    return Desk(build_audit(sessions, clock, AuditSettings(anchor_rows=10), tmp_path), clock, sessions, tmp_path)


@pytest_asyncio.fixture
async def superuser(cluster: Cluster, database: URL) -> AsyncIterator[Sessions]:
    """Whom no grant and no trigger holds back."""
    url = parse_database_url(cluster.postgres.endpoint.admin_url).set(database=database.database)
    async with open_sessions(url) as sessions:
        yield sessions
