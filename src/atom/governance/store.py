"""SQL of audit entries and approvals."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.tables import Approval, AuditEntry
from atom.kit.ids import new_id


async def audit(session: AsyncSession, values: dict[str, Any]) -> None:
    await session.execute(insert(AuditEntry).values(id=new_id(), at=func.now(), **values))


async def add_approval(session: AsyncSession, values: dict[str, Any], *, seconds: float) -> UUID:
    id_ = new_id()
    expires = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    await session.execute(
        insert(Approval).values(id=id_, status="pending", requested_at=func.now(), expires_at=expires, **values)
    )
    return id_


async def cancel_approvals(session: AsyncSession, execution_id: UUID) -> None:
    """A run that ended asks nothing any more."""
    await session.execute(
        update(Approval)
        .where(Approval.execution_id == execution_id, Approval.status == "pending")
        .values(status="cancelled", decided_at=func.now())
    )
