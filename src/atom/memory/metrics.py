"""Signals of memory."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from atom.memory.models import Tier

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class MemoryMetrics:
    """`atom_episodes` is the whole deployment's, as a worker last counted it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._episodes = Gauge("atom_episodes", "Episodes of all agents, by tier.", ["tier"], registry=registry)
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

    def count(self, episodes: Mapping[str, int]) -> None:
        for tier in Tier:
            self._episodes.labels(tier=tier.value).set(episodes.get(tier.value, 0))
