"""Giving and taking named grants. An admin does it, with a reason; it is audited and told in the same transaction."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.agents.service import AgentService
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance import store as governance_store
from atom.governance.grants import store
from atom.governance.grants.errors import GrantInvalidError, GrantNotFoundError
from atom.governance.grants.models import ActionGrant
from atom.governance.models import Action
from atom.kit.text import clean, shorten

MAX_REASON = 500
MAX_DAYS = 3650


@dataclass(frozen=True, slots=True)
class GrantService:
    agents: AgentService
    actions: Mapping[str, Action]
    outbox: Outbox

    async def grant(
        self, session: AsyncSession, by: str, agent_ref: str, action: str, *, reason: str, days: int | None
    ) -> tuple[ActionGrant, str]:
        """One grant of a kind: a new one replaces the first. Raises GrantInvalidError, AgentNotFoundError."""
        if action not in self.actions:
            near = difflib.get_close_matches(action[:200], self.actions, n=1)
            hint = f"Did you mean {near[0]}?" if near else "`atom governance actions` lists them."
            shown = clean(shorten(action, 200))
            raise GrantInvalidError(f"action: there is no action {shown!r}.", hint=hint, field="action")
        said = clean(shorten(reason.strip(), MAX_REASON))
        if not said:
            raise GrantInvalidError("reason: it is empty.", hint="Who reads the audit wants to know why.")
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise GrantInvalidError(f"expires_in_days: {days} is not 1 to {MAX_DAYS}.", field="expires_in_days")
        agent = await self.agents.get(session, agent_ref, lock=True)
        await store.revoke(session, agent.id, action, by=by)
        values = {"agent_id": agent.id, "action": action, "reason": said, "granted_by": by}
        id_ = await store.add(session, values, days=days)
        given, name = await store.get(session, id_)
        expires = given.expires_at.isoformat() if given.expires_at else None
        told = {"reason": said, "expires_at": expires}
        await self._record(session, by, agent, action, event=EventType.GRANT_ADDED, said=told)
        return given, name

    async def ungrant(self, session: AsyncSession, by: str, agent_ref: str, action: str) -> None:
        """Raises GrantNotFoundError, AgentNotFoundError."""
        agent = await self.agents.get(session, agent_ref, lock=True)
        if not await store.revoke(session, agent.id, clean(action), by=by):
            raise GrantNotFoundError(agent.name, clean(shorten(action, 200)))
        await self._record(session, by, agent, action, event=EventType.GRANT_REMOVED, said={})

    async def page(
        self, session: AsyncSession, *, agent_ref: str | None, ended: bool, before: UUID | None, limit: int
    ) -> Sequence[tuple[ActionGrant, str]]:
        agent_id = (await self.agents.get(session, agent_ref)).id if agent_ref is not None else None
        return await store.page(session, agent_id=agent_id, ended=ended, before=before, limit=limit)

    async def _record(
        self, session: AsyncSession, by: str, agent: Agent, action: str, *, event: EventType, said: dict[str, Any]
    ) -> None:
        row = {
            "actor": by,
            "action": action,
            "decision": "granted" if event is EventType.GRANT_ADDED else "ungranted",
            "reason": said.get("reason") or "ungranted",
            "agent_id": agent.id,
            "data": {**said, "agent_version": agent.version, "maturity": agent.maturity},
        }
        await governance_store.audit(session, row)
        await self.outbox.emit(session, event, actor=by, agent_id=agent.id, data={"action": action, **said})
