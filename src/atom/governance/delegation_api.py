"""REST: who decides an approval instead."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from atom.governance.api import ApprovalOut, approval_out
from atom.governance.delegation import DelegationService
from atom.governance.tables import ApprovalDelegation
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page


class AssignIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    to: str = Field(max_length=200, description="The name of a person's key, or `role:` and a role.")
    note: str | None = Field(default=None, max_length=2000)


class DelegationIn(AssignIn):
    until: AwareDatetime


class DelegationOut(BaseModel):
    id: UUID
    from_person: str = Field(description="Whose approvals these are.")
    to_person: str
    note: str | None
    until: datetime
    created_by: str
    created_at: datetime
    revoked_by: str | None
    revoked_at: datetime | None


class DelegationPage(BaseModel):
    items: list[DelegationOut]
    next: str | None


def delegation_routes(delegations: DelegationService, sessions: Sessions, guard: Guard) -> APIRouter:
    """Paths that are fixed come before `/api/approvals/{approval_id}`: this router goes first."""
    router = APIRouter(prefix="/api/approvals", tags=["approvals"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.APPROVALS_READ))
    Decider = Annotated[Principal, Depends(guard.requires(Permission.APPROVALS_WRITE))]  # noqa: N806 - a type

    @router.get("/delegations", dependencies=[reader])
    async def list_delegations(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, after: str | None = None
    ) -> DelegationPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await delegations.page(session, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return DelegationPage(items=[_out(one) for one in page.items], next=page.next)

    @router.post("/delegations", status_code=201)
    async def delegate_all(body: DelegationIn, by: Decider) -> DelegationOut:
        async with unit_of_work(sessions) as session:
            return _out(await delegations.delegate_all(session, by, body.to, until=body.until, note=body.note))

    @router.post("/delegations/{delegation_id}/revoke")
    async def revoke_delegation(delegation_id: UUID, by: Decider) -> DelegationOut:
        async with unit_of_work(sessions) as session:
            return _out(await delegations.revoke(session, by, delegation_id))

    @router.post("/{approval_id}/delegate")
    async def delegate_approval(approval_id: UUID, body: AssignIn, by: Decider) -> ApprovalOut:
        async with unit_of_work(sessions) as session:
            return approval_out(*await delegations.assign(session, by, approval_id, body.to, note=body.note))

    return router


def _out(one: ApprovalDelegation) -> DelegationOut:
    return DelegationOut.model_validate(one, from_attributes=True)
