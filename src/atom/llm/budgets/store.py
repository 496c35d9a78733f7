"""SQL of budgets. A reservation is one conditional update of one row: calls that run at once cannot overspend."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.llm.budgets.models import BudgetRow, BudgetUse, Scope
from atom.llm.budgets.rules import Room

MAX_BUDGETS = 10_000
# Locks are taken in one order everywhere (config, budget, its uses by id and window), so that nobody waits in a circle.
CONFIG_HELD = text("SELECT version FROM llm_config FOR SHARE")
CONFIG_TAKEN = text("SELECT version FROM llm_config FOR UPDATE")
OPEN = text("""
INSERT INTO budget_use (budget_id, window_key)
SELECT id, :window_key FROM budget WHERE id = :budget_id FOR KEY SHARE ON CONFLICT DO NOTHING
""")
RESERVE = text("""
UPDATE budget_use u SET reserved = u.reserved + :amount FROM budget b
WHERE u.budget_id = :budget_id AND u.window_key = :window_key AND b.id = u.budget_id
    AND u.used + u.reserved + :amount <= b.amount
RETURNING u.used
""")
ROOM = text("""
SELECT b.amount, u.used, u.reserved FROM budget b JOIN budget_use u ON u.budget_id = b.id
WHERE b.id = :budget_id AND u.window_key = :window_key
""")
HOLD = text("""
INSERT INTO budget_reservation (id, budget_id, window_key, amount, execution_id)
VALUES (:id, :budget_id, :window_key, :amount, :execution_id)
""")
MOST = Decimal(999_999_999_999)  # what the columns hold; a provider that reports nonsense must not end the run
LOCK = text("""
SELECT 1 FROM budget_use u JOIN budget_reservation r ON r.budget_id = u.budget_id AND r.window_key = u.window_key
WHERE r.id = ANY(:ids) ORDER BY u.budget_id, u.window_key FOR UPDATE OF u
""")
SETTLE = text("""
WITH gone AS (
    DELETE FROM budget_reservation WHERE id = :id RETURNING budget_id, window_key, amount
), due AS (
    SELECT g.budget_id, g.window_key, g.amount,
        CASE b.unit WHEN 'tokens' THEN :tokens ELSE coalesce(:usd, g.amount) END AS cost
    FROM gone g JOIN budget b ON b.id = g.budget_id
)
UPDATE budget_use u SET reserved = greatest(u.reserved - due.amount, 0), used = least(u.used + due.cost, :most) FROM due
WHERE u.budget_id = due.budget_id AND u.window_key = due.window_key
""")
# A reservation without an owner: nobody knows whether its call was paid for, so it was.
ABANDONED = text("""
WITH gone AS (
    DELETE FROM budget_reservation WHERE id = ANY(:ids) RETURNING budget_id, window_key, amount
), due AS (SELECT budget_id, window_key, sum(amount) AS amount FROM gone GROUP BY budget_id, window_key)
UPDATE budget_use u
SET reserved = greatest(u.reserved - due.amount, 0), used = least(u.used + due.amount, :most) FROM due
WHERE u.budget_id = due.budget_id AND u.window_key = due.window_key
""")
OF_RUN = text("SELECT DISTINCT id FROM budget_reservation WHERE execution_id = :run")
LEFT = text("""
SELECT DISTINCT r.id FROM budget_reservation r LEFT JOIN agent_execution e ON e.id = r.execution_id
WHERE r.created_at < now() - make_interval(secs => :seconds) OR e.ended_at < now() - make_interval(secs => :grace)
""")


async def all_budgets(session: AsyncSession) -> Sequence[BudgetRow]:
    query = select(BudgetRow).order_by(BudgetRow.id).limit(MAX_BUDGETS)
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def page(session: AsyncSession, *, after: UUID | None, limit: int) -> Sequence[BudgetRow]:
    query = select(BudgetRow).order_by(BudgetRow.id).limit(limit).execution_options(populate_existing=True)
    return (await session.scalars(query if after is None else query.where(BudgetRow.id > after))).all()


async def budgets_of(session: AsyncSession, scope: Scope, subject: UUID) -> Sequence[BudgetRow]:
    query = select(BudgetRow).where(BudgetRow.scope == scope, BudgetRow.subject == subject)
    return (await session.scalars(query.order_by(BudgetRow.id).limit(MAX_BUDGETS))).all()


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


async def uses(session: AsyncSession, ids: Sequence[UUID], window_keys: Sequence[str]) -> Sequence[BudgetUse]:
    query = select(BudgetUse).where(BudgetUse.budget_id.in_(ids), BudgetUse.window_key.in_(window_keys))
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def reserve(session: AsyncSession, *, budget_id: UUID, window_key: str, amount: Decimal) -> bool:
    """False when there is no room."""
    values = {"budget_id": budget_id, "window_key": window_key}
    await session.execute(OPEN, values)
    return await session.scalar(RESERVE, {**values, "amount": amount}) is not None


async def hold(session: AsyncSession, values: dict[str, Any]) -> None:
    await session.execute(HOLD, values)


async def room(session: AsyncSession, *, budget_id: UUID, window_key: str) -> Room | None:
    """How a limit stands in a window that was opened. None: the limit is gone."""
    row = (await session.execute(ROOM, {"budget_id": budget_id, "window_key": window_key})).one_or_none()
    return None if row is None else Room(row.amount, row.used, row.reserved)


async def lock(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """For whoever settles several reservations in one transaction."""
    await session.execute(LOCK, {"ids": list(ids)})


async def settle(session: AsyncSession, id_: UUID, *, tokens: int, usd: Decimal | None) -> None:
    await session.execute(SETTLE, {"id": id_, "tokens": tokens, "usd": usd, "most": MOST})


async def abandoned(session: AsyncSession, run_id: UUID) -> None:
    await _abandon(session, (await session.scalars(OF_RUN, {"run": run_id})).all())


async def expire(session: AsyncSession, *, seconds: float, grace: float) -> None:
    """Those older than `seconds`, and those of runs that ended `grace` seconds ago."""
    await _abandon(session, (await session.scalars(LEFT, {"seconds": seconds, "grace": grace})).all())


async def _abandon(session: AsyncSession, ids: Sequence[UUID]) -> None:
    if not ids:
        return
    await lock(session, ids)
    await session.execute(ABANDONED, {"ids": list(ids), "most": MOST})


async def hold_config(session: AsyncSession) -> int:
    """Its version, which nobody changes before this transaction ends."""
    return int(await session.scalar(CONFIG_HELD) or 0)


async def take_config(session: AsyncSession) -> None:
    """For whoever changes limits."""
    await session.execute(CONFIG_TAKEN)
