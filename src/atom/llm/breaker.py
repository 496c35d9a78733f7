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


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """That one call may go to `route`. It is given back with what became of the call."""

    route: Hashable


@dataclass(slots=True)
class Circuit:
    """`failures` in a row; `openings` without a success between them; `probe`: the one call that tries it out."""

    failures: int = 0
    openings: int = 0
    open_until: float = 0.0
    probe: Admission | None = None


@dataclass(slots=True)
class Circuits:
    """Of this process. `jitter` is random in [0, 1): replicas do not come back to a provider in step.

    Calls that were on their way when a circuit opened learn of the same outage: they neither lengthen it by their
    number nor end it, nor are they taken for the probe.
    """

    clock: Clock
    jitter: Callable[[], float]
    _circuits: dict[Hashable, Circuit] = field(default_factory=dict, init=False)

    def admit(self, route: Hashable) -> Admission | None:
        """Whether a call may go there now. An admission must be followed by `succeeded`, `failed` or `released`."""
        circuit, admission = self._circuits.get(route), Admission(route)
        if circuit is None:
            return admission
        if circuit.probe is not None or self.clock.monotonic() < circuit.open_until:
            return None
        if circuit.openings:
            circuit.probe = admission
        return admission

    def wait(self, route: Hashable) -> float:
        """Seconds until a call may go there; 0 when it may now. Behind another call's probe: a moment."""
        circuit = self._circuits.get(route)
        if circuit is None:
            return 0.0
        left = max(0.0, circuit.open_until - self.clock.monotonic())
        return left if circuit.probe is None else max(left, 1.0)

    def succeeded(self, admission: Admission) -> None:
        """Closes what it was the probe of. A wait that the provider asked another call for stays."""
        circuit = self._circuits.get(admission.route)
        if circuit is None:
            return
        if circuit.probe is admission:
            circuit.probe, circuit.openings = None, 0
        if circuit.openings:
            return
        circuit.failures = 0
        if self.clock.monotonic() >= circuit.open_until:
            del self._circuits[admission.route]

    def released(self, admission: Admission) -> None:
        """The call was given up by its caller: nothing was learnt."""
        circuit = self._circuits.get(admission.route)
        if circuit is not None and circuit.probe is admission:
            circuit.probe = None

    def failed(self, admission: Admission, error: ModelError) -> None:
        """Opens after several failures in a row. Where the provider says how long it wants to be left, it is left."""
        circuit = self._circuits.get(admission.route)
        if circuit is None:
            circuit = self._new(admission.route)
        probed, opened = circuit.probe is admission, circuit.openings > 0
        if probed:
            circuit.probe = None
        circuit.failures += 1
        cooldown = 0.0 if error.retry_after is None else error.retry_after + self.jitter()
        if probed or (not opened and circuit.failures >= THRESHOLD):
            circuit.openings += 1
            cooldown = max(cooldown, cooldown_seconds(circuit.openings, self.jitter()))
        circuit.open_until = max(circuit.open_until, self.clock.monotonic() + cooldown)

    def state(self, route: Hashable) -> CircuitState:
        circuit = self._circuits.get(route)
        if circuit is None or (not circuit.openings and self.clock.monotonic() >= circuit.open_until):
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self.clock.monotonic() >= circuit.open_until else CircuitState.OPEN

    def _new(self, route: Hashable) -> Circuit:
        if len(self._circuits) >= MAX_CIRCUITS:
            del self._circuits[next(iter(self._circuits))]
        circuit = self._circuits[route] = Circuit()
        return circuit


def cooldown_seconds(openings: int, jitter: float) -> float:
    """Twice as long each time, at most a minute, half of it random."""
    grown: float = min(LONGEST_COOLDOWN, FIRST_COOLDOWN * 2.0 ** min(openings - 1, 10))
    return grown * (0.5 + jitter / 2)
