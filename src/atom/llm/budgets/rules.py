"""Which limits a call falls under, and what it needs of each. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from atom.llm.budgets.models import Scope, Unit, Window
from atom.llm.catalogue import Estimate
from atom.llm.routes import Budget, Route


@dataclass(frozen=True, slots=True)
class Need:
    """`amount` of one budget in one window. None: the price is unknown, and nobody can say."""

    budget: Budget
    window_key: str
    amount: Decimal | None


@dataclass(frozen=True, slots=True)
class Room:
    """How a limit stands in one window."""

    amount: Decimal
    used: Decimal
    reserved: Decimal


class Blocked(StrEnum):
    """Why a call does not fit: calls in progress hold the room, it is used, or no window has as much."""

    RESERVED = "reserved"
    USED = "used"
    TOO_SMALL = "too_small"


def blocked(room: Room, amount: Decimal) -> Blocked:
    """Of a call that needs `amount` and found no room a moment ago."""
    if amount > room.amount:
        return Blocked.TOO_SMALL
    return Blocked.USED if room.used + amount > room.amount else Blocked.RESERVED


def needs(
    budgets: Sequence[Budget], *, run_id: UUID, agent_id: UUID, route: Route, estimate: Estimate, now: datetime
) -> list[Need]:
    """In the order of the budgets' ids: everybody reserves in that order, so that nobody waits in a circle."""
    found = [budget for budget in budgets if _applies(budget, agent_id, route)]
    return [
        Need(budget, window_key(budget.window, run_id, now), _amount(budget, estimate))
        for budget in sorted(found, key=lambda budget: budget.id)
    ]


def window_key(window: str, run_id: UUID, now: datetime) -> str:
    """A day or a month is that of UTC."""
    if window == Window.RUN:
        return str(run_id)
    return now.astimezone(UTC).strftime("%Y-%m-%d" if window == Window.DAY else "%Y-%m")


def window_end(window: str, now: datetime) -> datetime | None:
    """When there is room again by itself; None for a run's own limit."""
    if window == Window.RUN:
        return None
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if window == Window.DAY:
        return midnight + timedelta(days=1)
    return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)


def _applies(budget: Budget, agent_id: UUID, route: Route) -> bool:
    if budget.scope == Scope.DEPLOYMENT:
        return True
    return budget.subject == (agent_id if budget.scope == Scope.AGENT else route.key.id)


def _amount(budget: Budget, estimate: Estimate) -> Decimal | None:
    return Decimal(estimate.tokens) if budget.unit == Unit.TOKENS else estimate.usd
