"""What Prometheus sees of the model layer."""

from prometheus_client import CollectorRegistry, Counter, Histogram

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)
ANSWERED = "answered"
ABORTED = "aborted"  # cancelled, or ended by a fault of ours


class LlmMetrics:
    """Counted by attempt: `outcome` is `answered` or the code of the error."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "atom_llm_requests_total", "Model calls by their outcome.", ["provider", "outcome"], registry=registry
        )
        self.first_byte = Histogram(
            "atom_llm_ttfb_seconds",
            "Seconds until a model began to answer.",
            ["provider"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.seconds = Histogram(
            "atom_llm_seconds", "Seconds one model call took.", ["provider"], buckets=BUCKETS, registry=registry
        )
