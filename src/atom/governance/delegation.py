"""Who decides instead: one approval assigned to somebody, or all of somebody's for a time. Audited, and revocable."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import InvalidError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance import inbox_store, store
from atom.governance.approvals import MAX_NOTE, ApprovalService, audit_row
from atom.governance.errors import (
    ApprovalAssignedError,
    ApprovalFourEyesError,
    ApprovalSettledError,
    DelegationForbiddenError,
    DelegationNotFoundError,
)
from atom.governance.eyes import ROLE, as_assignee, person
from atom.governance.tables import Approval, ApprovalDelegation, ApprovalStatus
from atom.identity.models import GRANTS, Permission, Principal, Role
from atom.kit.clock import Clock
from atom.kit.text import clean

MAX_NAME = 200
MAX_DAYS = 366


@dataclass(frozen=True, slots=True)
class DelegationService:
    """A delegation gives no rights: who may decide nothing still may not, and four eyes stay four."""

    approvals: ApprovalService
    outbox: Outbox
    clock: Clock

    async def assign(
        self, session: AsyncSession, by: Principal, id_: UUID, to: str, *, note: str | None
    ) -> tuple[Approval, str]:
        """Give an open approval to a person or `role:` and a role: only they or an admin decide it then."""
        name, note = _name(to), _note(note)
        approval, _ = await self.approvals.get(session, id_)
        await self.approvals.waker.hold(session, approval.execution_id)
        approval, _ = await self.approvals.get(session, id_)
        if not await self.approvals.may_decide(session, by, approval):
            raise ApprovalAssignedError(f"Approval {id_} is assigned to {approval.assignee}.", hint="Ask an admin.")
        if name in approval.withheld:
            raise ApprovalFourEyesError(f"{name} may not decide this approval.", hint="It takes somebody else.")
        if approval.status != ApprovalStatus.PENDING or not await store.assign(session, id_, name):
            raise ApprovalSettledError(f"Approval {id_} is not open any more.", hint="`atom approvals show` says why.")
        await store.audit(session, audit_row(approval, by.actor, "delegated", to=name, note=note))
        await self.outbox.emit(
            session,
            EventType.APPROVAL_DELEGATED,
            actor=by.actor,
            agent_id=approval.agent_id,
            run_id=approval.execution_id,
            data={"approval_id": str(id_), "tool": approval.action, "to": name},
        )
        return await self.approvals.get(session, id_)

    async def delegate_all(
        self, session: AsyncSession, by: Principal, to: str, *, until: datetime, note: str | None
    ) -> ApprovalDelegation:
        """Until then, `to` may decide what is assigned to the caller."""
        name, note, me = _name(to), _note(note), person(by.actor)
        if name.startswith(ROLE) or name == me:
            raise InvalidError("to: the name of another person.", field="to")
        now = self.clock.now()
        if not now < until <= now + timedelta(days=MAX_DAYS):
            raise InvalidError(f"until: a time within the next {MAX_DAYS} days.", field="until")
        values = {"from_person": me, "to_person": name, "note": note, "until": until, "created_by": by.actor}
        id_ = await inbox_store.add_delegation(session, values)
        made = await self._get(session, id_)
        await store.audit(session, _row(made, by.actor, "delegated"))
        return made

    async def page(self, session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[ApprovalDelegation]:
        return await inbox_store.delegations(session, before=before, limit=limit)

    async def revoke(self, session: AsyncSession, by: Principal, id_: UUID) -> ApprovalDelegation:
        """By who made it, or an admin. Again: nothing."""
        found = await self._get(session, id_)
        if found.from_person != person(by.actor) and by.role is not Role.ADMIN:
            raise DelegationForbiddenError("Only who delegated, or an admin, takes it back.")
        if await inbox_store.revoke_delegation(session, id_, by=by.actor):
            await store.audit(session, _row(found, by.actor, "revoked"))
        return await self._get(session, id_)

    async def _get(self, session: AsyncSession, id_: UUID) -> ApprovalDelegation:
        found = await inbox_store.delegation(session, id_)
        if found is None:
            raise DelegationNotFoundError(str(id_))
        return found


def _row(one: ApprovalDelegation, actor: str, decision: str) -> dict[str, Any]:
    said = {"delegation_id": str(one.id), "from": one.from_person, "to": one.to_person, "until": one.until.isoformat()}
    return {
        "actor": actor, "action": "approvals.delegate", "decision": decision, "reason": "delegation", "data": said,
    }  # fmt: skip


def _name(to: str) -> str:
    """Raises InvalidError for what is no name, and for a role that may decide nothing."""
    name = as_assignee(to)
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidError(f"to: a name of 1 to {MAX_NAME} printable characters, or role:NAME.", field="to")
    able = [role.value for role in Role if Permission.APPROVALS_WRITE in GRANTS[role]]
    if name.startswith(ROLE) and name.removeprefix(ROLE) not in able:
        raise InvalidError(f"to: {name!r} decides nothing.", hint=f"Roles: {', '.join(able)}.", field="to")
    return name


def _note(note: str | None) -> str | None:
    if note is not None and len(note) > MAX_NOTE:
        raise InvalidError(f"note: {len(note)} characters; at most {MAX_NOTE}.", field="note")
    return clean(note) if note else None
