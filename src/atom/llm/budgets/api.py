"""REST: budgets."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.llm.budgets.models import Scope, Unit, Window
from atom.llm.budgets.service import BudgetService, NewBudget, Standing
from atom.llm.ports import WaitingRuns


class BudgetIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    scope: Scope
    subject: UUID | None = Field(default=None, description="Id of the agent or the key; none for the deployment.")
    unit: Unit
    window: Window = Field(description="Of each run, or of a day or a month in UTC.")
    amount: Decimal = Field(max_digits=19, decimal_places=8, allow_inf_nan=False)


class BudgetOut(BaseModel):
    id: UUID
    scope: Scope
    subject: UUID | None
    unit: Unit
    window: Window
    amount: Decimal
    subject_name: str | None = Field(description="What the agent or the key is called.")
    used: Decimal | None = Field(description="In the present window; null for a limit of each run.")
    reserved: Decimal | None = Field(description="By calls in progress.")
    created_by: str


class BudgetPage(BaseModel):
    items: list[BudgetOut]
    next: str | None


def routes(budgets: BudgetService, waiting: WaitingRuns, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/budgets", tags=["budgets"], route_class=GuardedRoute)
    Admin = Annotated[Principal, Depends(guard.requires(Permission.MODELS_ADMIN))]  # noqa: N806 - a type

    @router.get("", dependencies=[Depends(guard.requires(Permission.MODELS_READ))])
    async def list_budgets(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, after: str | None = None
    ) -> BudgetPage:
        """The limits, with what is used of them."""
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await budgets.page(session, after=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda one: one.row.id)
        return BudgetPage(items=[_out(one) for one in page.items], next=page.next)

    @router.put("")
    async def put_budget(body: BudgetIn, by: Admin) -> BudgetOut:
        """Set a limit, or change its amount. Runs that wait for a budget try again."""
        new = NewBudget(body.scope, body.subject, body.unit, body.window, body.amount)
        async with unit_of_work(sessions) as session:
            row = await budgets.put(session, by.actor, new)
            await waiting.budgets_changed(session)
            return _out(await budgets.standing(session, row))

    @router.delete("/{budget_id}", status_code=204)
    async def remove_budget(budget_id: UUID, by: Admin) -> None:
        async with unit_of_work(sessions) as session:
            await budgets.remove(session, by.actor, budget_id)
            await waiting.budgets_changed(session)

    return router


def _out(one: Standing) -> BudgetOut:
    row = one.row
    return BudgetOut(
        id=row.id,
        scope=Scope(row.scope),
        subject=row.subject,
        unit=Unit(row.unit),
        window=Window(row.window_kind),
        amount=row.amount,
        subject_name=one.subject_name,
        used=one.used,
        reserved=one.reserved,
        created_by=row.created_by,
    )
