"""A cache in memory that forgets what was used least recently once it weighs too much."""

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class WeightedLru(Generic[V]):
    """Keys are content digests. Not for several threads at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self.weight = 0

    def get(self, key: str) -> V | None:
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key][0]

    def put(self, key: str, value: V, weight: int) -> None:
        """Something heavier than the whole cache is not kept."""
        self.weight -= self._held.pop(key, (None, 0))[1]
        if weight > self._most:
            return
        self._held[key] = (value, weight)
        self.weight += weight
        while self.weight > self._most:
            _, (_, gone) = self._held.popitem(last=False)
            self.weight -= gone
