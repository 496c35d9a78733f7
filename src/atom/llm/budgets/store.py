"""SQL of budgets. A reservation is one conditional update of one row: calls that run at once cannot overspend."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.llm.budgets.models import BudgetRow, BudgetUse

MAX_BUDGETS = 10_000
OPEN = text("INSERT INTO budget_use (budget_id, window_key) VALUES (:budget_id, :window_key) ON CONFLICT DO NOTHING")
RESERVE = text("""
UPDATE budget_use u SET reserved = u.reserved + :amount FROM budget b
WHERE u.budget_id = :budget_id AND u.window_key = :window_key AND b.id = u.budget_id
    AND u.used + u.reserved + :amount <= b.amount
RETURNING u.used
""")
HOLD = text("""
INSERT INTO budget_reservation (id, budget_id, window_key, amount, execution_id)
VALUES (:id, :budget_id, :window_key, :amount, :execution_id)
""")
SETTLE = text("""
WITH gone AS (
    DELETE FROM budget_reservation WHERE id = :id RETURNING budget_id, window_key, amount
), due AS (
    SELECT g.budget_id, g.window_key, g.amount, CASE b.unit WHEN 'tokens' THEN :tokens ELSE coalesce(:usd, g.amount) END
        AS cost FROM gone g JOIN budget b ON b.id = g.budget_id ORDER BY g.budget_id
)
UPDATE budget_use u SET reserved = greatest(u.reserved - due.amount, 0), used = u.used + due.cost FROM due
WHERE u.budget_id = due.budget_id AND u.window_key = due.window_key
""")
ABANDONED = text("""
WITH gone AS (
    DELETE FROM budget_reservation WHERE execution_id = :run RETURNING budget_id, window_key, amount
), due AS (SELECT budget_id, window_key, sum(amount) AS amount FROM gone GROUP BY budget_id, window_key)
UPDATE budget_use u SET reserved = greatest(u.reserved - due.amount, 0), used = u.used + due.amount FROM due
WHERE u.budget_id = due.budget_id AND u.window_key = due.window_key
""")
EXPIRED = text("""
WITH gone AS (
    DELETE FROM budget_reservation WHERE created_at < now() - make_interval(secs => :seconds)
    RETURNING budget_id, window_key, amount
), due AS (SELECT budget_id, window_key, sum(amount) AS amount FROM gone GROUP BY budget_id, window_key)
UPDATE budget_use u SET reserved = greatest(u.reserved - due.amount, 0), used = u.used + due.amount FROM due
WHERE u.budget_id = due.budget_id AND u.window_key = due.window_key
""")


async def all_budgets(session: AsyncSession) -> Sequence[BudgetRow]:
    query = select(BudgetRow).order_by(BudgetRow.id).limit(MAX_BUDGETS)
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def put(session: AsyncSession, values: dict[str, Any]) -> UUID:
    """A limit, or the new amount of the one there is. Returns its id."""
    statement = pg_insert(BudgetRow).values(created_at=func.now(), **values)
    changed = statement.on_conflict_do_update(
        index_elements=["scope", "subject", "unit", "window_kind"], set_={"amount": statement.excluded.amount}
    )
    found: UUID | None = await session.scalar(changed.returning(BudgetRow.id))
    assert found is not None
    return found


async def get(session: AsyncSession, id_: UUID) -> BudgetRow | None:
    return await session.get(BudgetRow, id_, populate_existing=True)


async def remove(session: AsyncSession, id_: UUID) -> bool:
    removed = await session.scalar(delete(BudgetRow).where(BudgetRow.id == id_).returning(BudgetRow.id))
    return removed is not None


async def uses(session: AsyncSession, budget_id: UUID, window_keys: Sequence[str]) -> Sequence[BudgetUse]:
    query = select(BudgetUse).where(BudgetUse.budget_id == budget_id, BudgetUse.window_key.in_(window_keys))
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def reserve(session: AsyncSession, *, budget_id: UUID, window_key: str, amount: Decimal) -> bool:
    """False when there is no room."""
    values = {"budget_id": budget_id, "window_key": window_key}
    await session.execute(OPEN, values)
    return await session.scalar(RESERVE, {**values, "amount": amount}) is not None


async def hold(session: AsyncSession, values: dict[str, Any]) -> None:
    await session.execute(HOLD, values)


async def settle(session: AsyncSession, id_: UUID, *, tokens: int, usd: Decimal | None) -> None:
    await session.execute(SETTLE, {"id": id_, "tokens": tokens, "usd": usd})


async def abandoned(session: AsyncSession, run_id: UUID) -> None:
    """What a worker that died had reserved counts as used: nobody knows whether its call was paid for."""
    await session.execute(ABANDONED, {"run": run_id})


async def expire(session: AsyncSession, *, seconds: float) -> None:
    await session.execute(EXPIRED, {"seconds": seconds})
