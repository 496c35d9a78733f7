"""One more line in the audit, for whoever above governance changes something that has to be answered for."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance import store


async def record(
    session: AsyncSession,
    *,
    actor: str,
    action: str,
    decision: str,
    reason: str,
    agent_id: UUID | None = None,
    run_id: UUID | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """In the transaction of the change itself: both happen, or neither. `data` holds no secret, no text of a person."""
    entry = {"actor": actor, "action": action, "decision": decision, "reason": reason}
    await store.audit(session, {**entry, "agent_id": agent_id, "run_id": run_id, "data": dict(data or {})})
