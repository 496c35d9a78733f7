"""One call of a model as its caller sees it: on whose behalf, what may stop it, and what every attempt came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from atom.kit.ids import new_id
from atom.llm.catalogue import Estimate
from atom.llm.ports import Completion, Usage
from atom.llm.routes import Route


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """A row of the ledger. `outcome`: `ok`, `aborted`, `unknown`, or the code of the error. None is unknown, not zero.

    `seconds` are of this attempt. `charged`: tokens to count against budgets where the provider reported none.
    """

    id: UUID
    provider: str
    model: str
    key_id: UUID | None
    attempt: int
    outcome: str
    seconds: float
    error_class: str | None = None
    first_token_seconds: float | None = None
    usage: Usage = field(default_factory=Usage)
    cost_usd: Decimal | None = None
    request_id: str | None = None
    cache_hit: bool = False
    charged: int = 0
    reservation: UUID | None = None


@dataclass(frozen=True, slots=True)
class FailedOver:
    """A route failed and another is asked next. `restarted`: text was shown that the next answer replaces."""

    source: Route
    target: Route
    error_code: str
    reason: str
    restarted: bool


class CallHooks(Protocol):
    """What the caller of a model keeps about it. None of the methods may wait for long."""

    def note(self, record: AttemptRecord) -> None:
        """An attempt ended, with an answer or without: either way its tokens may have been paid for."""
        ...

    async def reserve(self, route: Route, estimate: Estimate) -> UUID | None:
        """Room in every budget that applies, or None where none does. Raises OverBudgetError."""
        ...

    async def failed_over(self, change: FailedOver) -> None: ...


@dataclass(frozen=True, slots=True)
class NoHooks:
    """A call outside of any run."""

    def note(self, record: AttemptRecord) -> None:
        """Nobody keeps it."""

    async def reserve(self, route: Route, estimate: Estimate) -> UUID | None:
        return None

    async def failed_over(self, change: FailedOver) -> None:
        """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`requester` is the actor the call is made for: keys with an owner are that owner's. `labels`: for its spans."""

    requester: str | None = None
    hooks: CallHooks = field(default_factory=NoHooks)
    use_cache: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompletedCall:
    """A reply and what it took. The seconds are of the attempt that answered; `waited` is all that went before it."""

    completion: Completion
    attempt: int
    seconds: float
    first_byte_seconds: float
    first_token_seconds: float | None  # None: the reply has no text
    waited: float
    record: AttemptRecord
    fell_back_from: str | None = None


def cache_hit_record(route: Route, completion: Completion, seconds: float) -> AttemptRecord:
    """Nothing was asked and nothing is owed."""
    return AttemptRecord(
        id=new_id(),
        provider=completion.provider,
        model=completion.model,
        key_id=route.key.id,
        attempt=1,
        outcome="ok",
        seconds=seconds,
        first_token_seconds=seconds,
        usage=Usage(0, 0, 0),
        cost_usd=Decimal(0),
        request_id=completion.request_id,
        cache_hit=True,
    )
