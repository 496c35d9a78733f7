"""Deltas travel ahead of events: a turn speaks only when everything before it has arrived. Pure."""

import re
from dataclasses import dataclass, field

from atom.client.models import Delta, Event

TURN = re.compile(r"turn-(\d{1,9})")


@dataclass(slots=True)
class Order:
    """For a run that is followed from its beginning. `held` are the deltas that came too early."""

    started: bool = False
    replies: int = 0
    calls: int = 0  # of the newest reply, without their end
    held: list[Delta] = field(default_factory=list)

    def take(self, delta: Delta) -> list[Delta]:
        """What may be shown now: the delta itself, or nothing yet."""
        if self._early(delta):
            self.held.append(delta)
            return []
        return [delta]

    def happened(self, event: Event) -> list[Delta]:
        """Note an event. What may be shown behind it."""
        if event.type == "run.started":
            self.started = True
        elif event.type == "model.replied":
            calls = event.data.get("tool_calls")
            self.replies, self.calls = self.replies + 1, len(calls) if isinstance(calls, list) else 0
        elif event.type == "tool.finished":
            self.calls -= 1
        ready = [delta for delta in self.held if not self._early(delta)]
        self.held = [delta for delta in self.held if self._early(delta)]
        return ready

    def _early(self, delta: Delta) -> bool:
        """A step that is not named as a turn is of a newer server: it is shown as it comes."""
        turn = TURN.fullmatch(delta.step)
        if turn is None or int(turn[1]) < self.replies:
            return False
        return not self.started or int(turn[1]) > self.replies or self.calls > 0
