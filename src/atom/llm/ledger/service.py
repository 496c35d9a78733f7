"""Writing attempts down, with what they settle, and reading what they add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.kit.ids import new_id
from atom.llm.budgets.service import BudgetService
from atom.llm.calls import AttemptRecord
from atom.llm.ledger import store
from atom.llm.ledger.models import LlmCall
from atom.llm.ledger.store import GroupBy
from atom.llm.subjects import Subjects

__all__ = ["GroupBy", "LedgerService", "Place", "Usage"]


@dataclass(frozen=True, slots=True)
class Place:
    """Which step of which run an attempt was made for. `run_id` None: outside of any run."""

    run_id: UUID | None
    agent_id: UUID
    step: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums of a group; `name` is what its agent or key is called. Tokens and cost are None where no call of it reported
    any; `unpriced` calls have no cost."""

    group: str
    name: str | None
    calls: int
    failed: int
    cache_hits: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost_usd: Decimal | None
    unpriced: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class LedgerService:
    budgets: BudgetService
    subjects: Subjects

    async def write(self, session: AsyncSession, place: Place, record: AttemptRecord, *, attempt: int) -> None:
        """In the transaction of the step. Writing it twice writes it once. `attempt` is its number in the run.

        Whoever writes several locks their reservations first.
        """
        await store.add(session, _row(place, record, attempt))
        if record.reservation is not None:
            await self.budgets.settle(session, record.reservation, tokens=record.charged, usd=_owed(record))

    async def unknown(self, session: AsyncSession, place: Place, *, attempt: int) -> None:
        """A call may have been made by a worker that died in it: what it cost, nobody knows."""
        row = {
            "id": new_id(),
            "execution_id": place.run_id,
            "agent_id": place.agent_id,
            "step_key": place.step,
            "attempt": attempt,
            "provider": "unknown",
            "model": "unknown",
            "outcome": "unknown",
            "seconds": 0.0,
            "cache_hit": False,
        }
        await store.add(session, row)

    async def usage(
        self, session: AsyncSession, by: GroupBy, *, since: datetime, until: datetime, limit: int
    ) -> list[Usage]:
        rows = await store.usage(session, by, since=since, until=until, limit=limit)
        named = {UUID(row.group) for row in rows if row.group} if by in {GroupBy.AGENT, GroupBy.KEY} else set()
        names = {str(id_): name for id_, name in (await self.subjects.names(session, named)).items()}
        return [
            Usage(name=names.get(row.group), **row._mapping)  # noqa: SLF001 - the documented way to a row's names
            for row in rows
        ]

    async def spent(
        self,
        session: AsyncSession,
        *,
        run_id: UUID | None = None,
        agent_id: UUID | None = None,
        since: datetime | None = None,
    ) -> tuple[Decimal, int]:
        """Dollars, and the number of calls whose price nobody knows. Without a scope: of the whole deployment."""
        return await store.spent(session, run_id=run_id, agent_id=agent_id, since=since)

    async def of_run(self, session: AsyncSession, run_id: UUID, *, after: UUID | None, limit: int) -> Sequence[LlmCall]:
        return await store.of_run(session, run_id, after=after, limit=limit)


def _row(place: Place, record: AttemptRecord, attempt: int) -> dict[str, Any]:
    return {
        "id": record.id,
        "execution_id": place.run_id,
        "agent_id": place.agent_id,
        "step_key": place.step,
        "attempt": attempt,
        "provider": record.provider,
        "model": record.model,
        "key_id": record.key_id,
        "outcome": record.outcome,
        "error_class": record.error_class,
        "input_tokens": record.usage.input_tokens,
        "output_tokens": record.usage.output_tokens,
        "cached_tokens": record.usage.cached_tokens,
        "cost_usd": record.cost_usd,
        "seconds": record.seconds,
        "first_token_seconds": record.first_token_seconds,
        "request_id": record.request_id,
        "cache_hit": record.cache_hit,
    }


def _owed(record: AttemptRecord) -> Decimal | None:
    """Nothing for a call that was never begun; unknown (the whole reservation) for one that was and broke."""
    return Decimal(0) if record.cost_usd is None and record.charged == 0 else record.cost_usd
