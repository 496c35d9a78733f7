"""What became of the connections of one execution: the same thing twice is counted, and there is a most."""

from dataclasses import dataclass, field

from atom.skills.sandbox.egress.refusal import Refused
from atom.skills.sandbox.models import Connection

MOST = 64
MORE = "more"


@dataclass(slots=True)
class Visit:
    """One connection while it lasts. `ended` says what cut it short after it had been allowed."""

    host: str = ""
    port: int = 0
    allowed: bool = False
    reason: str = ""
    sent: int = 0
    received: int = 0


@dataclass(slots=True)
class Journal:
    """`left` bytes may still pass, in both directions together."""

    left: int
    entries: dict[tuple[str, int, bool, str], list[int]] = field(default_factory=dict)

    def spend(self, count: int) -> None:
        """Raises Refused when that is more than is left."""
        if count > self.left:
            self.left = 0
            raise Refused("bytes", "The execution has moved as many bytes as it may.", 403)
        self.left -= count

    def add(self, visit: Visit, count: int = 1) -> None:
        key = (visit.host, visit.port, visit.allowed, visit.reason)
        if key not in self.entries and len(self.entries) >= MOST:
            key = ("", 0, visit.allowed, MORE)
        entry = self.entries.setdefault(key, [0, 0, 0])
        entry[0] += count
        entry[1] += visit.sent
        entry[2] += visit.received

    def connections(self) -> tuple[Connection, ...]:
        return tuple(Connection(*key, *counts) for key, counts in self.entries.items())
