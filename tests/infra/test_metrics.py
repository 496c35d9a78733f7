"""The contract's gauges of a process: memory with its limit, the database's pool by state."""

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import URL

from atom.infra.db import create_engine, create_sessions, unit_of_work
from atom.infra.metrics import DatabaseMetrics, PoolCollector, create_registry, memory_limit_bytes
from atom.infra.outage import database_outage
from atom.settings import DatabaseSettings


def test_memory_is_that_of_this_process_and_below_its_limit() -> None:
    registry = create_registry("1.2.3")
    used = registry.get_sample_value("atom_memory_usage_bytes")
    limit = registry.get_sample_value("atom_memory_limit_bytes")
    assert used is not None
    assert limit is not None
    assert abs(used - psutil.Process().memory_info().rss) < 100_000_000
    assert 10_000_000 < used < limit <= psutil.virtual_memory().total


def test_limit_is_the_hosts_memory_at_most() -> None:
    assert 0 < memory_limit_bytes() <= psutil.virtual_memory().total


def test_version_is_told_and_two_registries_do_not_meet() -> None:
    one, two = create_registry("1.2.3"), create_registry("9")
    assert one.get_sample_value("atom_build_info", {"version": "1.2.3"}) == 1
    assert two.get_sample_value("atom_build_info", {"version": "1.2.3"}) is None


async def test_pool_is_shown_by_state(database: URL) -> None:
    registry = CollectorRegistry()
    engine = create_engine(database, DatabaseSettings(pool_size=3, max_overflow=2))
    registry.register(PoolCollector(engine))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(registry))

    def shown() -> dict[str, float | None]:
        name = "atom_db_pool_connections"
        return {state: registry.get_sample_value(name, {"state": state}) for state in ("in_use", "idle", "limit")}

    assert shown() == {"in_use": 0, "idle": 0, "limit": 5}
    async with unit_of_work(sessions):
        assert shown() == {"in_use": 1, "idle": 0, "limit": 5}
    assert shown() == {"in_use": 0, "idle": 1, "limit": 5}
    waits = registry.get_sample_value("atom_db_pool_wait_seconds_count")
    assert waits == 1
    assert b"atom_db_errors_total" in generate_latest(registry)
    await engine.dispose()
