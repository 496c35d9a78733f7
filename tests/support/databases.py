"""What tests of the database ask and do behind the back of the code under test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import URL, text

from atom.infra.db import Sessions, create_engine, create_sessions, unit_of_work
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.settings import DatabaseSettings
from tests.conftest import Cluster


@asynccontextmanager
async def sessions_on(url: URL, *, pool: int = 5, name: str = "atom-test") -> AsyncIterator[Sessions]:
    """A pool of its own, as another process of the cluster has."""
    settings = DatabaseSettings(pool_size=pool, max_overflow=0, pool_timeout=2, connect_timeout=2)
    engine = create_engine(url, settings, name=name)
    yield create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    await engine.dispose()


async def rows(sessions: Sessions, query: str, **values: Any) -> list[tuple[Any, ...]]:
    async with unit_of_work(sessions) as session:
        return [tuple(row) for row in (await session.execute(text(query), values)).all()]


async def execute(sessions: Sessions, statement: str, **values: Any) -> None:
    async with unit_of_work(sessions) as session:
        await session.execute(text(statement), values)


def backends(cluster: Cluster, database: URL, name: str) -> list[int]:
    """Pids of the connections of this application name."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
    with cluster.admin() as connection:
        return [pid for (pid,) in connection.execute(query, (database.database, name)).fetchall()]


def terminate(cluster: Cluster, database: URL, name: str) -> int:
    """The guide's own medicine. Returns how many connections it killed, once they are gone."""
    pids = backends(cluster, database, name)
    with cluster.admin() as connection:
        for pid in pids:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    return len(pids)
