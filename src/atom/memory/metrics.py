"""Signals of memory."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from atom.memory.models import Tier

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class MemoryMetrics:
    """`atom_episodes` and `atom_memory_bytes` are the whole deployment's, as a worker last counted them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._episodes = Gauge("atom_episodes", "Episodes of all agents, by tier.", ["tier"], registry=registry)
        self._bytes = Gauge(
            "atom_memory_bytes",
            "Bytes of the texts of all agents' episodes, packed or not, by tier.",
            ["tier"],
            registry=registry,
        )
        self.recall = Histogram(
            "atom_memory_recall_seconds",
            "Seconds of one recall, by mode.",
            ["mode"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.jobs = Counter(
            "atom_memory_jobs_total", "Runs of work on memory, by kind and end.", ["job", "outcome"], registry=registry
        )

    def count(self, tiers: Mapping[str, tuple[int, int, int]]) -> None:
        """Episodes, segments and bytes of each tier that has any."""
        for tier in Tier:
            episodes, _, size = tiers.get(tier.value, (0, 0, 0))
            self._episodes.labels(tier=tier.value).set(episodes)
            self._bytes.labels(tier=tier.value).set(size)
