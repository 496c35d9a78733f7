"""Budgets: room is reserved before a call and settled after it, so that runs in parallel cannot overspend."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.events.models import EventType
from atom.events.service import Outbox
from atom.kit.clock import Clock
from atom.kit.ids import new_id
from atom.llm.budgets import store
from atom.llm.budgets.errors import BudgetInvalidError, BudgetNotFoundError
from atom.llm.budgets.models import BudgetRow, Scope, Unit, Window
from atom.llm.budgets.rules import Need, needs, window_end, window_key
from atom.llm.catalogue import Estimate
from atom.llm.errors import OverBudgetError
from atom.llm.routes import Budget, Route

MAX_AMOUNT = Decimal(10) ** 11
NO_RUN = UUID(int=0)
RESERVED_AT_MOST = 7200.0  # seconds; longer than any call may take


@dataclass(frozen=True, slots=True)
class NewBudget:
    """`subject` is an agent's or a key's id, none for the deployment."""

    scope: Scope
    subject: UUID | None
    unit: Unit
    window: Window
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit and the present window of it. Of limits for each run there is no present one: both are None."""

    row: BudgetRow
    used: Decimal | None
    reserved: Decimal | None


@dataclass(frozen=True, slots=True)
class BudgetService:
    outbox: Outbox
    clock: Clock

    async def reserve(
        self,
        session: AsyncSession,
        budgets: Sequence[Budget],
        *,
        run_id: UUID,
        agent_id: UUID,
        route: Route,
        estimate: Estimate,
    ) -> UUID | None:
        """Room in each budget that applies, or in none. Returns what `settle` is given; None when none applies.

        Raises OverBudgetError: the caller's transaction must then not be committed.
        """
        now = self.clock.now()
        wanted = needs(budgets, run_id=run_id, agent_id=agent_id, route=route, estimate=estimate, now=now)
        if not wanted:
            return None
        id_ = new_id()
        for need in wanted:
            if need.amount is None:
                raise _unpriced(need, route)
            place: dict[str, Any] = {"budget_id": need.budget.id, "window_key": need.window_key, "amount": need.amount}
            if not await store.reserve(session, **place):
                raise self._over(need, route)
            await store.hold(session, {"id": id_, "execution_id": run_id, **place})
        return id_

    async def settle(self, session: AsyncSession, id_: UUID, *, tokens: int, usd: Decimal | None) -> None:
        """What the call came to takes the place of what was reserved. Doing it twice does it once."""
        await store.settle(session, id_, tokens=tokens, usd=usd)

    async def abandoned(self, session: AsyncSession, run_id: UUID) -> None:
        await store.abandoned(session, run_id)

    async def expire(self, session: AsyncSession) -> None:
        """Reservations of runs that ended without their worker count as used."""
        await store.expire(session, seconds=RESERVED_AT_MOST)

    async def put(self, session: AsyncSession, by: str, new: NewBudget) -> BudgetRow:
        """A limit, or a new amount for it. Raises BudgetInvalidError."""
        if (new.scope is Scope.DEPLOYMENT) != (new.subject is None):
            raise BudgetInvalidError(f"subject: a budget of scope {new.scope} needs " + (
                "none." if new.scope is Scope.DEPLOYMENT else "one: the name or id."
            ), field="subject")  # fmt: skip
        if not 0 < new.amount < MAX_AMOUNT:
            raise BudgetInvalidError(
                f"amount: {new.amount} is not above 0 and below {MAX_AMOUNT}.", hint="Remove it to lift the limit.",
                field="amount",
            )  # fmt: skip
        values = {
            "id": new_id(),
            "scope": new.scope.value,
            "subject": new.subject,
            "unit": new.unit.value,
            "window_kind": new.window.value,
            "amount": new.amount,
            "created_by": by,
        }
        row = await self.get(session, await store.put(session, values))
        await self._tell(session, row, by, removed=False)
        return row

    async def get(self, session: AsyncSession, id_: UUID) -> BudgetRow:
        row = await store.get(session, id_)
        if row is None:
            raise BudgetNotFoundError(str(id_))
        return row

    async def remove(self, session: AsyncSession, by: str, id_: UUID) -> None:
        row = await self.get(session, id_)
        await store.remove(session, id_)
        await self._tell(session, row, by, removed=True)

    async def standings(self, session: AsyncSession) -> list[Standing]:
        return [await self.standing(session, row) for row in await store.all_budgets(session)]

    async def standing(self, session: AsyncSession, row: BudgetRow) -> Standing:
        if row.window_kind == Window.RUN:
            return Standing(row, None, None)
        uses = await store.uses(session, row.id, [window_key(row.window_kind, NO_RUN, self.clock.now())])
        return Standing(row, uses[0].used, uses[0].reserved) if uses else Standing(row, Decimal(0), Decimal(0))

    def _over(self, need: Need, route: Route) -> OverBudgetError:
        budget, now = need.budget, self.clock.now()
        end = window_end(budget.window, now)
        money = f"${budget.amount.normalize():f}" if budget.unit == Unit.USD else f"{budget.amount:.0f} tokens"
        whose = {Scope.AGENT: "this agent", Scope.KEY: f"the key {route.key.name!r}"}.get(
            Scope(budget.scope), "the deployment"
        )
        return OverBudgetError(
            f"The next call could go over the budget of {whose}: {money} a {budget.window}.",
            hint="`atom keys budgets` shows what is used; raising the limit lets the run go on.",
            scope=budget.scope,
            resume_after=None if end is None else (end - now).total_seconds(),
        )

    async def _tell(self, session: AsyncSession, row: BudgetRow, by: str, *, removed: bool) -> None:
        data = {
            "scope": row.scope,
            "subject": str(row.subject) if row.subject else None,
            "unit": row.unit,
            "window": row.window_kind,
            "amount": None if removed else str(row.amount),
        }
        await self.outbox.emit(session, EventType.BUDGET_CHANGED, actor=by, data=data)


def _unpriced(need: Need, route: Route) -> OverBudgetError:
    """What costs nobody knows how much cannot be kept below an amount of money."""
    return OverBudgetError(
        f"A budget in dollars applies, and nobody knows the price of {route.provider}/{route.model}.",
        hint="Give its price in the file of ATOM_LLM__CATALOGUE_PATH, or limit tokens instead.",
        scope=need.budget.scope,
        resume_after=None,
    )
