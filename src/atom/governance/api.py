"""REST: approvals."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.governance.approvals import ApprovalService
from atom.governance.decide import EXPLAIN, Reason
from atom.governance.tables import Approval, ApprovalStatus
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page


class ApprovalOut(BaseModel):
    id: UUID
    run_id: UUID
    agent: str
    agent_id: UUID
    agent_version: int
    action: str
    arguments: dict[str, Any]
    digest: str = Field(description="SHA-256 over agent version, action and arguments: what the decision is bound to.")
    reason: str
    explanation: str
    status: ApprovalStatus
    requested_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    note: str | None


class ApprovalPage(BaseModel):
    items: list[ApprovalOut]
    next: str | None


class DecisionIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    note: str | None = Field(default=None, max_length=2000, description="Why; kept with the decision.")


def routes(approvals: ApprovalService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/approvals", tags=["approvals"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.APPROVALS_READ))
    Decider = Annotated[Principal, Depends(guard.requires(Permission.APPROVALS_WRITE))]  # noqa: N806 - a type

    @router.get("", dependencies=[reader])
    async def list_approvals(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        after: str | None = None,
        status: ApprovalStatus | None = None,
        run_id: UUID | None = None,
    ) -> ApprovalPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await approvals.page(session, status=status, run_id=run_id, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row[0].id)
        return ApprovalPage(items=[_out(*row) for row in page.items], next=page.next)

    @router.get("/{approval_id}", dependencies=[reader])
    async def show_approval(approval_id: UUID) -> ApprovalOut:
        async with unit_of_work(sessions) as session:
            return _out(*await approvals.get(session, approval_id))

    @router.post("/{approval_id}/approve")
    async def approve(approval_id: UUID, body: DecisionIn, by: Decider) -> ApprovalOut:
        async with unit_of_work(sessions) as session:
            return _out(*await approvals.decide(session, by, approval_id, approve=True, note=body.note))

    @router.post("/{approval_id}/reject")
    async def reject(approval_id: UUID, body: DecisionIn, by: Decider) -> ApprovalOut:
        async with unit_of_work(sessions) as session:
            return _out(*await approvals.decide(session, by, approval_id, approve=False, note=body.note))

    return router


def _out(approval: Approval, agent: str) -> ApprovalOut:
    return ApprovalOut(
        id=approval.id,
        run_id=approval.execution_id,
        agent=agent,
        agent_id=approval.agent_id,
        agent_version=approval.agent_version,
        action=approval.action,
        arguments=approval.arguments,
        digest=approval.digest,
        reason=approval.reason,
        explanation=approval.detail or EXPLAIN[Reason(approval.reason)],
        status=ApprovalStatus(approval.status),
        requested_at=approval.requested_at,
        expires_at=approval.expires_at,
        decided_at=approval.decided_at,
        decided_by=approval.decided_by,
        note=approval.note,
    )
