"""What Prometheus sees of the model layer."""

from collections.abc import Callable, Hashable
from decimal import Decimal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from atom.llm.ports import Usage

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)
MAX_MODELS = 200
MAX_ROUTES = 50  # to one model, of which the state is looked at
ANSWERED = "answered"
ABORTED = "aborted"  # cancelled, or ended by a fault of ours


class LlmMetrics:
    """Counted by attempt: `outcome` is `answered`, `aborted` or the code of the error.

    `model` is the name that was asked for; beyond `MAX_MODELS` names it is `other`, so that a metric stays bounded.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ["provider", "model"]
        self._requests = Counter(
            "atom_llm_requests_total", "Model calls by their outcome.", [*names, "outcome"], registry=registry
        )
        self.first_byte = Histogram(
            "atom_llm_ttfb_seconds",
            "Seconds until a model began to answer.",
            ["provider"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._first_token = Histogram(
            "atom_llm_first_token_seconds",
            "Seconds until the first text of a reply.",
            names,
            buckets=BUCKETS,
            registry=registry,
        )
        self._seconds = Histogram(
            "atom_llm_seconds", "Seconds one model call took.", names, buckets=BUCKETS, registry=registry
        )
        self._tokens = Counter(
            "atom_llm_tokens_total", "Tokens as the providers report them.", [*names, "kind"], registry=registry
        )
        self._cost = Counter(
            "atom_llm_cost_usd_total", "Dollars of calls whose price is known.", names, registry=registry
        )
        self.unpriced = Counter(
            "atom_llm_unpriced_total", "Answered calls whose price or usage nobody knows.", ["provider"],
            registry=registry,
        )  # fmt: skip
        self._circuit = Gauge(
            "atom_llm_circuit_state",
            "0 closed, 1 half open, 2 open; of several keys the worst.",
            names,
            registry=registry,
        )
        self.cache = Counter("atom_llm_cache_total", "Looks into the response cache.", ["result"], registry=registry)
        self._models: set[str] = set()
        self._circuits: dict[tuple[str, str], dict[Hashable, Callable[[], int]]] = {}

    def attempted(self, provider: str, model: str, outcome: str, seconds: float) -> None:
        model = self._bounded(model)
        self._requests.labels(provider, model, outcome).inc()
        self._seconds.labels(provider, model).observe(seconds)

    def began(self, provider: str, model: str, first_byte: float, first_token: float | None) -> None:
        self.first_byte.labels(provider).observe(first_byte)
        if first_token is not None:
            self._first_token.labels(provider, self._bounded(model)).observe(first_token)

    def used(self, provider: str, model: str, usage: Usage, cost: Decimal | None) -> None:
        model = self._bounded(model)
        kinds = {"input": usage.input_tokens, "output": usage.output_tokens, "cached": usage.cached_tokens}
        for kind, tokens in kinds.items():
            if tokens is not None:
                self._tokens.labels(provider, model, kind).inc(tokens)
        if cost is None:
            self.unpriced.labels(provider).inc()
        else:
            self._cost.labels(provider, model).inc(float(cost))

    def circuit(self, provider: str, model: str, route: Hashable, state: Callable[[], int]) -> None:
        """`state` is asked when somebody looks: a cooldown ends without a call. Of several routes to one model (keys),
        the worst is shown: it is what somebody has to look at."""
        shown = (provider, self._bounded(model))
        states = self._circuits.setdefault(shown, {})
        if route not in states and len(states) >= MAX_ROUTES:
            del states[next(iter(states))]
        states[route] = state
        self._circuit.labels(*shown).set_function(lambda: max(one() for one in [*states.values()]))

    def _bounded(self, model: str) -> str:
        if model not in self._models and len(self._models) >= MAX_MODELS:
            return "other"
        self._models.add(model)
        return model
