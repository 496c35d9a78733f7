"""REST: approvals."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from atom.governance.approvals import MAX_BATCH, ApprovalService, BatchOutcome, Word, decider
from atom.governance.decide import EXPLAIN, Reason
from atom.governance.eyes import as_assignee
from atom.governance.inbox_store import Wanted
from atom.governance.models import Eyes
from atom.governance.tables import Approval, ApprovalStatus
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.kit.text import clean

TEXTS = ("agent", "action", "requested_by", "assignee", "digest")


class YesOut(BaseModel):
    by: str
    at: datetime
    note: str | None


class CallOut(BaseModel):
    digest: str
    arguments: dict[str, Any]


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
    eyes: Eyes = Field(description="`other`: not who asked for the run; `two`: two different people.")
    requested_by: str | None = Field(description="Who asked for the run.")
    approvals: list[YesOut] = Field(description="Every yes so far, the first to the last.")
    assignee: str | None = Field(description="Only this person (or `role:` and a role), or an admin, decides it.")
    edited_by: str | None = Field(description="Who changed the arguments before they were approved.")
    edited_from: CallOut | None = Field(description="What the agent had asked for, when a person changed it.")


class ApprovalPage(BaseModel):
    items: list[ApprovalOut]
    next: str | None


class SummaryOut(BaseModel):
    counts: dict[ApprovalStatus, int]
    mine: int = Field(description="Open ones that the caller may decide now.")


class DecisionIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    note: str | None = Field(default=None, max_length=2000, description="Why; kept with the decision.")
    digest: str | None = Field(
        default=None, max_length=64, description="Decide only if it still is about the call with this digest."
    )


class ApprovingIn(DecisionIn):
    arguments: dict[str, Any] | None = Field(
        default=None, description="Approve the call with these arguments instead of the agent's own."
    )


class BatchIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    digest: str = Field(max_length=64, description="Approve only what is about exactly this call.")
    ids: list[UUID] = Field(min_length=1, max_length=MAX_BATCH)
    note: str | None = Field(default=None, max_length=2000, description="Why; kept with each decision.")


class BatchLine(BaseModel):
    id: UUID
    status: ApprovalStatus | None = Field(description="As it is now; null when it was not decided.")
    code: str | None = Field(description="Why it was not: as in the problem that it alone would answer.")
    message: str | None


class BatchOut(BaseModel):
    items: list[BatchLine]


class InboxQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT)
    after: str | None = None
    status: ApprovalStatus | None = None
    agent: str | None = Field(default=None, max_length=200, description="Name or id.")
    action: str | None = Field(default=None, max_length=200)
    run_id: UUID | None = None
    requested_by: str | None = Field(default=None, max_length=200, description="The actor who asked for the run.")
    assignee: str | None = Field(default=None, max_length=200)
    digest: str | None = Field(default=None, max_length=64)
    expires_before: AwareDatetime | None = None
    mine: bool = Field(default=False, description="Only open ones that the caller may decide now.")

    def wanted(self, by: Principal) -> Wanted:
        texts = {name: clean(value) for name in TEXTS if (value := getattr(self, name)) is not None}
        if "assignee" in texts:
            texts["assignee"] = as_assignee(texts["assignee"])
        mine = decider(by) if self.mine else None
        return Wanted(self.status, run_id=self.run_id, expires_before=self.expires_before, mine=mine, **texts)


def routes(approvals: ApprovalService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/approvals", tags=["approvals"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.APPROVALS_READ))
    Decider = Annotated[Principal, Depends(guard.requires(Permission.APPROVALS_WRITE))]  # noqa: N806 - a type

    Reader = Annotated[Principal, Depends(guard.requires(Permission.APPROVALS_READ))]  # noqa: N806 - a type

    @router.get("")
    async def list_approvals(query: Annotated[InboxQuery, Query()], by: Reader) -> ApprovalPage:
        cursor = parse_cursor(query.after)
        async with unit_of_work(sessions) as session:
            rows = await approvals.page(session, query.wanted(by), before=cursor, limit=query.limit + 1)
        page = to_page(rows, query.limit, lambda row: row[0].id)
        return ApprovalPage(items=[approval_out(*row) for row in page.items], next=page.next)

    @router.get("/summary")
    async def summarise_approvals(by: Reader) -> SummaryOut:
        async with unit_of_work(sessions) as session:
            return SummaryOut(counts=await approvals.counts(session), mine=await approvals.count_mine(session, by))

    @router.post("/approve-batch")
    async def approve_batch(body: BatchIn, by: Decider) -> BatchOut:
        async with unit_of_work(sessions) as session:
            done = await approvals.decide_batch(session, by, body.ids, seen=body.digest, note=body.note)
            return BatchOut(items=[_line(one) for one in done])

    @router.get("/{approval_id}", dependencies=[reader])
    async def show_approval(approval_id: UUID) -> ApprovalOut:
        async with unit_of_work(sessions) as session:
            return approval_out(*await approvals.get(session, approval_id))

    @router.post("/{approval_id}/approve")
    async def approve(approval_id: UUID, body: ApprovingIn, by: Decider) -> ApprovalOut:
        word = Word(True, body.note, body.arguments, body.digest)
        async with unit_of_work(sessions) as session:
            return approval_out(*await approvals.decide(session, by, approval_id, word))

    @router.post("/{approval_id}/reject")
    async def reject(approval_id: UUID, body: DecisionIn, by: Decider) -> ApprovalOut:
        async with unit_of_work(sessions) as session:
            return approval_out(
                *await approvals.decide(session, by, approval_id, Word(False, body.note, None, body.digest))
            )

    return router


def approval_out(approval: Approval, agent: str) -> ApprovalOut:
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
        eyes=Eyes(approval.eyes),
        requested_by=approval.requested_by,
        approvals=[YesOut.model_validate(yes) for yes in approval.approvals],
        assignee=approval.assignee,
        edited_by=approval.edited_by,
        edited_from=None if approval.edited_from is None else CallOut.model_validate(approval.edited_from),
    )


def _line(done: BatchOutcome) -> BatchLine:
    if done.error is not None:
        return BatchLine(id=done.id, status=None, code=done.error.code, message=str(done.error))
    status = None if done.approval is None else ApprovalStatus(done.approval.status)
    return BatchLine(id=done.id, status=status, code=None, message=None)
