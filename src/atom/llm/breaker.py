"""Circuit breakers: a route that keeps failing is left alone for a while, then tried by one call at a time."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import IntEnum

from atom.kit.clock import Clock
from atom.llm.errors import ModelError

THRESHOLD = 3  # failures in a row
FIRST_COOLDOWN = 2.0
LONGEST_COOLDOWN = 60.0
MAX_CIRCUITS = 10_000


class CircuitState(IntEnum):
    """As the metric shows it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(slots=True)
class Circuit:
    """`failures` in a row; `openings` without a success between them; `probing`: the one call that tries it out."""

    failures: int = 0
    openings: int = 0
    open_until: float = 0.0
    probing: bool = False


@dataclass(slots=True)
class Circuits:
    """Of this process. `jitter` is random in [0, 1): replicas do not come back to a provider in step."""

    clock: Clock
    jitter: Callable[[], float]
    _circuits: dict[Hashable, Circuit] = field(default_factory=dict, init=False)

    def admit(self, route: Hashable) -> bool:
        """Whether a call may go there now. A True must be followed by `succeeded`, `failed` or `released`."""
        circuit = self._circuits.get(route)
        if circuit is None:
            return True
        if circuit.probing or self.clock.monotonic() < circuit.open_until:
            return False
        circuit.probing = circuit.openings > 0
        return True

    def wait(self, route: Hashable) -> float:
        """Seconds until a call may go there; 0 when it may now. Behind another call's probe: a moment."""
        circuit = self._circuits.get(route)
        if circuit is None:
            return 0.0
        left = max(0.0, circuit.open_until - self.clock.monotonic())
        return max(left, 1.0) if circuit.probing else left

    def succeeded(self, route: Hashable) -> None:
        self._circuits.pop(route, None)

    def released(self, route: Hashable) -> None:
        """The call was given up by its caller: nothing was learnt."""
        circuit = self._circuits.get(route)
        if circuit is not None:
            circuit.probing = False

    def failed(self, route: Hashable, error: ModelError) -> None:
        """Opens after several failures in a row. Where the provider says how long it wants to be left, it is left."""
        if len(self._circuits) >= MAX_CIRCUITS and route not in self._circuits:
            self._circuits.pop(next(iter(self._circuits)))
        circuit = self._circuits.setdefault(route, Circuit())
        was_probe, circuit.probing = circuit.probing, False
        circuit.failures += 1
        cooldown = 0.0 if error.retry_after is None else error.retry_after + self.jitter()
        if was_probe or circuit.failures >= THRESHOLD:
            circuit.openings += 1
            cooldown = max(cooldown, cooldown_seconds(circuit.openings, self.jitter()))
        circuit.open_until = max(circuit.open_until, self.clock.monotonic() + cooldown)

    def state(self, route: Hashable) -> CircuitState:
        circuit = self._circuits.get(route)
        if circuit is None or (not circuit.openings and self.clock.monotonic() >= circuit.open_until):
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self.clock.monotonic() >= circuit.open_until else CircuitState.OPEN


def cooldown_seconds(openings: int, jitter: float) -> float:
    """Twice as long each time, at most a minute, half of it random."""
    grown: float = min(LONGEST_COOLDOWN, FIRST_COOLDOWN * 2.0 ** min(openings - 1, 10))
    return grown * (0.5 + jitter / 2)
