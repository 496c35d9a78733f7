"""The Prometheus registry of this process and the metrics that belong to no domain."""

from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from atom.infra.log import sinks

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class ProcessCollector(Collector):
    """Resident memory and its limit (cgroup, else the host's), read when scraped."""

    def collect(self) -> list[GaugeMetricFamily]:
        usage = GaugeMetricFamily("atom_memory_usage_bytes", "Resident memory of this process.")
        usage.add_metric([], psutil.Process().memory_info().rss)
        limit = GaugeMetricFamily("atom_memory_limit_bytes", "Memory limit of the cgroup, else of the host.")
        limit.add_metric([], memory_limit_bytes())
        return [usage, limit]


class LogCollector(Collector):
    """Log lines that a full disk, a closed pipe or the like did not take."""

    def collect(self) -> list[CounterMetricFamily]:
        family = CounterMetricFamily("atom_log_dropped", "Log lines that could not be written.", labels=["sink"])
        for sink in sinks():
            family.add_metric([sink.label], sink.dropped)
        return [family]


class PoolCollector(Collector):
    """Connections of the database pool by state."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    def collect(self) -> list[GaugeMetricFamily]:
        pool = self.engine.pool
        family = GaugeMetricFamily("atom_db_pool_connections", "Database connections of the pool.", labels=["state"])
        if isinstance(pool, QueuePool):
            family.add_metric(["in_use"], pool.checkedout())
            family.add_metric(["idle"], pool.checkedin())
            family.add_metric(["limit"], pool.size() + pool._max_overflow)  # noqa: SLF001 - the pool has no public name for it
        return [family]


class DatabaseMetrics:
    """What `unit_of_work` counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.errors = Counter("atom_db_errors_total", "Failures of the database by kind.", ["kind"], registry=registry)
        self.pool_wait = Histogram(
            "atom_db_pool_wait_seconds",
            "Seconds until a database connection was free.",
            buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 3, 10),
            registry=registry,
        )


def memory_limit_bytes() -> int:
    total = int(psutil.virtual_memory().total)
    for file in CGROUP_LIMITS:
        if file.is_file():
            text = file.read_text().strip()
            if text.isdigit() and int(text) < total:
                return int(text)
    return total


def create_registry(version: str) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ProcessCollector())
    registry.register(LogCollector())
    Gauge("atom_build_info", "Version of this process.", ["version"], registry=registry).labels(version=version).set(1)
    return registry
