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
from atom.llm.budgets.rules import Blocked, Need, Room, blocked, needs, window_end, window_key
from atom.llm.catalogue import Estimate
from atom.llm.errors import OverBudgetError
from atom.llm.routes import Budget, Route
from atom.llm.subjects import Subjects

MAX_AMOUNT = Decimal(10) ** 11
NO_RUN = UUID(int=0)
RESERVED_AT_MOST = 7200.0  # seconds; longer than any call may take
AFTER_THE_RUN = 60.0  # seconds; a worker that lost the run meanwhile has said by then what its call came to
SOON = 3.0  # seconds; calls in progress give back what they did not need


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
    """A limit and the present window of it. Of limits for each run there is no present one: both are None.

    `subject_name`: what the agent or the key is called.
    """

    row: BudgetRow
    subject_name: str | None
    used: Decimal | None
    reserved: Decimal | None


@dataclass(frozen=True, slots=True)
class BudgetService:
    outbox: Outbox
    clock: Clock
    subjects: Subjects

    async def reserve(
        self,
        session: AsyncSession,
        budgets: Sequence[Budget],
        *,
        id_: UUID,
        run_id: UUID,
        agent_id: UUID,
        route: Route,
        estimate: Estimate,
        in_run: bool = True,
    ) -> bool:
        """Room in each budget that applies, or in none. `id_` is what `settle` is given; false when none applies.
        `in_run` False: `run_id` is of something else that a limit for each run is to bind.

        Raises OverBudgetError: the caller's transaction must then not be committed.
        """
        held = False
        now = self.clock.now()
        for need in needs(budgets, run_id=run_id, agent_id=agent_id, route=route, estimate=estimate, now=now):
            if need.amount is None:
                raise _unpriced(need, route)
            place: dict[str, Any] = {"budget_id": need.budget.id, "window_key": need.window_key}
            if await store.reserve(session, **place, amount=need.amount):
                await store.hold(
                    session, {"id": id_, "execution_id": run_id if in_run else None, **place, "amount": need.amount}
                )
                held = True
                continue
            room = await store.room(session, **place)
            if room is not None:  # else the limit was taken away, and this process has not heard of it
                raise self._over(need, need.amount, room, route)
        return held

    async def hold_config(self, session: AsyncSession) -> int:
        """The version of what people have set, which nobody changes before this transaction ends."""
        return await store.hold_config(session)

    async def lock(self, session: AsyncSession, ids: Sequence[UUID]) -> None:
        """Before several reservations are settled in one transaction: two that do so must not wait for each other."""
        await store.lock(session, ids)

    async def settle(self, session: AsyncSession, id_: UUID, *, tokens: int, usd: Decimal | None) -> None:
        """What the call came to takes the place of what was reserved. Doing it twice does it once."""
        await store.settle(session, id_, tokens=tokens, usd=usd)

    async def abandoned(self, session: AsyncSession, run_id: UUID) -> None:
        """What the dead owners of a run had reserved counts as used: nobody knows whether their calls were paid for."""
        await store.abandoned(session, run_id)

    async def expire(self, session: AsyncSession) -> None:
        """For the sweep. Reservations of runs that ended without their worker count as used."""
        await store.expire(session, seconds=RESERVED_AT_MOST, grace=AFTER_THE_RUN)

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
        if new.unit is Unit.TOKENS and new.amount != int(new.amount):
            raise BudgetInvalidError(f"amount: {new.amount} tokens.", hint="Tokens are counted whole.", field="amount")
        await store.take_config(session)
        await self._check_subject(session, new)
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
        await store.take_config(session)
        row = await self.get(session, id_)
        await store.remove(session, id_)
        await self._tell(session, row, by, removed=True)

    async def remove_all_of(self, session: AsyncSession, by: str, scope: Scope, subject: UUID) -> None:
        """The limits of what is gone: nothing is used through it any more, and nobody could name it to lift them."""
        await store.take_config(session)
        for row in await store.budgets_of(session, scope, subject):
            await store.remove(session, row.id)
            await self._tell(session, row, by, removed=True)

    async def page(self, session: AsyncSession, *, after: UUID | None, limit: int) -> list[Standing]:
        """The oldest first."""
        return await self._standings(session, await store.page(session, after=after, limit=limit))

    async def standing(self, session: AsyncSession, row: BudgetRow) -> Standing:
        return (await self._standings(session, [row]))[0]

    async def _standings(self, session: AsyncSession, rows: Sequence[BudgetRow]) -> list[Standing]:
        now = self.clock.now()
        keys = {window: window_key(window, NO_RUN, now) for window in (Window.DAY, Window.MONTH)}
        uses = await store.uses(session, [row.id for row in rows], list(keys.values()))
        found = {(use.budget_id, use.window_key): use for use in uses}
        names = await self.subjects.names(session, {row.subject for row in rows if row.subject})
        standings = []
        for row in rows:
            name = None if row.subject is None else names.get(row.subject)
            if row.window_kind == Window.RUN:
                standings.append(Standing(row, name, None, None))
                continue
            use = found.get((row.id, keys[Window(row.window_kind)]))
            used, reserved = (use.used, use.reserved) if use else (Decimal(0), Decimal(0))
            standings.append(Standing(row, name, used, reserved))
        return standings

    async def _check_subject(self, session: AsyncSession, new: NewBudget) -> None:
        """A limit of what does not exist would bind nobody, and whoever set it would rely on it."""
        if new.subject is None or await self.subjects.exists(session, new.scope.value, new.subject):
            return
        raise BudgetInvalidError(
            f"subject: there is no {new.scope} {str(new.subject)!r}.",
            hint="`atom agents list` and `atom keys list` show the ids.",
            field="subject",
        )

    def _over(self, need: Need, amount: Decimal, room: Room, route: Route) -> OverBudgetError:
        budget, now = need.budget, self.clock.now()
        why, end = blocked(room, amount), window_end(budget.window, now)
        whose = {Scope.AGENT: "this agent", Scope.KEY: f"the key {route.key.name!r}"}.get(
            Scope(budget.scope), "the deployment"
        )
        limit, used = _quantity(budget, room.amount), _quantity(budget, room.used)
        message = f"The next call could go over the budget of {whose}: {limit} a {budget.window}, {used} used."
        hint = "`atom keys budgets` shows what is used; raising the limit lets the run go on."
        seconds = None if end is None else (end - now).total_seconds()
        if why is Blocked.TOO_SMALL:
            need_ = _quantity(budget, amount)
            message = (
                f"The next call may take {need_}, more than the whole budget of {whose}: {limit} a {budget.window}."
            )
            hint = "Raise it (`atom keys budgets` shows it), or make calls smaller with ATOM_LLM__MAX_TOKENS."
            seconds = None
        elif why is Blocked.RESERVED:
            message += " Calls in progress hold the rest."
            hint = "It is tried again by itself when they end. `atom keys budgets` shows what is reserved."
            seconds = SOON
        return OverBudgetError(message, hint=hint, scope=budget.scope, resume_after=seconds)

    async def _tell(self, session: AsyncSession, row: BudgetRow, by: str, *, removed: bool) -> None:
        data = {
            "scope": row.scope,
            "subject": str(row.subject) if row.subject else None,
            "unit": row.unit,
            "window": row.window_kind,
            "amount": None if removed else str(row.amount),
        }
        await self.outbox.emit(session, EventType.BUDGET_CHANGED, actor=by, data=data)


def _quantity(budget: Budget, amount: Decimal) -> str:
    return f"${amount.normalize():f}" if budget.unit == Unit.USD else f"{amount:.0f} tokens"


def _unpriced(need: Need, route: Route) -> OverBudgetError:
    """What costs nobody knows how much cannot be kept below an amount of money."""
    return OverBudgetError(
        f"A budget in dollars applies, and nobody knows the price of {route.provider}/{route.model}.",
        hint="Give its price in the file of ATOM_LLM__CATALOGUE_PATH, or limit tokens instead.",
        scope=need.budget.scope,
        resume_after=None,
    )
