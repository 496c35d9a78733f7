"""REST: proposals. Whoever looks at them is there, and may step in."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.triggers.models import Proposal, ProposalStatus
from atom.triggers.presence import OperatorWatch
from atom.triggers.proposals import MAX_NOTE, ProposalService


class ProposalOut(BaseModel):
    id: UUID
    agent: str
    agent_id: UUID
    trigger_id: UUID | None
    origin: str
    task: str
    status: ProposalStatus
    run_id: UUID | None
    created_at: datetime
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    note: str | None


class ProposalPage(BaseModel):
    items: list[ProposalOut]
    next: str | None


class ProposalDecisionIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    note: str | None = Field(default=None, max_length=MAX_NOTE, description="Why; kept with the decision.")


def routes(proposals: ProposalService, watch: OperatorWatch, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/proposals", tags=["triggers"], route_class=GuardedRoute)
    Reader = Annotated[Principal, Depends(guard.requires(Permission.TRIGGERS_READ))]  # noqa: N806 - a type
    Decider = Annotated[Principal, Depends(guard.requires(Permission.APPROVALS_WRITE))]  # noqa: N806 - a type

    @router.get("")
    async def list_proposals(
        by: Reader,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        after: str | None = None,
        status: ProposalStatus | None = None,
    ) -> ProposalPage:
        cursor = parse_cursor(after)
        await watch.seen(by)
        async with unit_of_work(sessions) as session:
            rows = await proposals.page(session, status=status, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row[0].id)
        return ProposalPage(items=[_out(*row) for row in page.items], next=page.next)

    @router.get("/{proposal_id}")
    async def show_proposal(proposal_id: UUID, by: Reader) -> ProposalOut:
        await watch.seen(by)
        async with unit_of_work(sessions) as session:
            return _out(*await proposals.get(session, proposal_id))

    @router.post("/{proposal_id}/approve")
    async def approve_proposal(proposal_id: UUID, body: ProposalDecisionIn, by: Decider) -> ProposalOut:
        """A proposed run starts, as asked for by whoever approves it."""
        async with unit_of_work(sessions) as session:
            return _out(*await proposals.decide(session, by, proposal_id, approve=True, note=body.note))

    @router.post("/{proposal_id}/reject")
    async def reject_proposal(proposal_id: UUID, body: ProposalDecisionIn, by: Decider) -> ProposalOut:
        async with unit_of_work(sessions) as session:
            return _out(*await proposals.decide(session, by, proposal_id, approve=False, note=body.note))

    return router


def _out(proposal: Proposal, agent: str) -> ProposalOut:
    return ProposalOut(
        id=proposal.id,
        agent=agent,
        agent_id=proposal.agent_id,
        trigger_id=proposal.trigger_id,
        origin=proposal.origin,
        task=proposal.task,
        status=ProposalStatus(proposal.status),
        run_id=proposal.run_id,
        created_at=proposal.created_at,
        expires_at=proposal.expires_at,
        decided_at=proposal.decided_at,
        decided_by=proposal.decided_by,
        note=proposal.note,
    )
