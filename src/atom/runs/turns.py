"""Whose turn it is: which of the waiting runs a free worker takes. Pure.

First what a dead worker left behind, because it was begun. Then the higher priority; within one, the agent with the
least at work; among those, the agent whose last turn is longest ago. Waiting raises a priority, so that nothing waits
for ever behind a stream of more urgent work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from atom.runs.models import Priority

AGING_SECONDS = 300.0  # of waiting are worth one step of priority


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest queued run of an agent in one priority. Times are seconds; `served` is when the agent had a turn."""

    run_id: UUID
    agent_id: UUID
    priority: int
    waited: float
    running: int
    limit: int | None
    served: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most runs at work at one time: in the deployment, and of one agent that sets no limit of its own."""

    total: int
    per_agent: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """`orphans`: runs without a live worker, oldest first; they have their place among the `running` already."""

    orphans: Sequence[UUID]
    heads: Sequence[Head]
    running: int


def choose(waiting: Waiting, bounds: Bounds) -> UUID | None:
    """The run that comes next, or None when there is nothing that the bounds leave room for."""
    if waiting.orphans:
        return waiting.orphans[0]
    open_heads = eligible(waiting, bounds)
    return min(open_heads, key=_order).run_id if open_heads else None


def eligible(waiting: Waiting, bounds: Bounds) -> list[Head]:
    if waiting.running >= bounds.total:
        return []
    return [head for head in waiting.heads if head.running < _limit(head, bounds)]


def rooms(waiting: Waiting, bounds: Bounds) -> dict[UUID, int]:
    """For the sweep: how many more runs each agent could begin now. Ringing for more would be noise."""
    free = bounds.total - waiting.running
    return {head.agent_id: min(free, _limit(head, bounds) - head.running) for head in eligible(waiting, bounds)}


def effective(priority: int, waited: float) -> int:
    """The priority that waiting has made of it; at most the highest."""
    return min(Priority.HIGH.rank, priority + int(max(waited, 0.0) // AGING_SECONDS))


def _limit(head: Head, bounds: Bounds) -> int:
    return bounds.per_agent if head.limit is None else head.limit


def _order(head: Head) -> tuple[int, int, float, UUID]:
    return (-effective(head.priority, head.waited), head.running, head.served, head.run_id)
