"""REST: named grants."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.governance.grants.models import ActionGrant
from atom.governance.grants.service import MAX_DAYS, GrantService
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page


class GrantIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agent: str = Field(min_length=1, max_length=100, description="Name or id.")
    action: str = Field(min_length=1, max_length=200, description="The exact name of an action.")
    reason: str = Field(max_length=500, description="Why; kept with the grant and in the audit.")
    expires_in_days: int | None = Field(default=None, ge=1, le=MAX_DAYS, description="None: until it is taken back.")


class GrantOut(BaseModel):
    id: UUID
    agent: str
    agent_id: UUID
    action: str
    reason: str
    granted_by: str
    granted_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class GrantPage(BaseModel):
    items: list[GrantOut]
    next: str | None


def grant_routes(grants: GrantService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/governance/grants", tags=["governance"], route_class=GuardedRoute)
    Admin = Annotated[Principal, Depends(guard.requires(Permission.GOVERNANCE_ADMIN))]  # noqa: N806 - a type

    @router.get("", dependencies=[Depends(guard.requires(Permission.GOVERNANCE_READ))])
    async def list_grants(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        after: str | None = None,
        agent: str | None = None,
        ended: Annotated[bool, Query(description="Also those that expired or were taken back.")] = False,
    ) -> GrantPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await grants.page(session, agent_ref=agent, ended=ended, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row[0].id)
        return GrantPage(items=[_out(*row) for row in page.items], next=page.next)

    @router.post("", status_code=201)
    async def add_grant(body: GrantIn, by: Admin) -> GrantOut:
        """Lets an agent do this action without asking while it is autonomous. An earlier grant of it is replaced."""
        async with unit_of_work(sessions) as session:
            return _out(
                *await grants.grant(
                    session, by.actor, body.agent, body.action, reason=body.reason, days=body.expires_in_days
                )
            )

    @router.delete("/{agent}/{action:path}", status_code=204)
    async def remove_grant(agent: str, action: str, by: Admin) -> None:
        """In force everywhere with the next decision."""
        async with unit_of_work(sessions) as session:
            await grants.ungrant(session, by.actor, agent, action)

    return router


def _out(grant: ActionGrant, agent: str) -> GrantOut:
    return GrantOut(
        id=grant.id,
        agent=agent,
        agent_id=grant.agent_id,
        action=grant.action,
        reason=grant.reason,
        granted_by=grant.granted_by,
        granted_at=grant.granted_at,
        expires_at=grant.expires_at,
        revoked_at=grant.revoked_at,
        revoked_by=grant.revoked_by,
    )
