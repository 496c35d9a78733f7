"""REST: API keys."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import ApiKey, Permission, Principal, Role
from atom.identity.service import IdentityService
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page


class TokenOut(BaseModel):
    id: UUID
    name: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class TokenPage(BaseModel):
    items: list[TokenOut]
    next: str | None


class TokenIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=100)
    role: Role
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)


class IssuedOut(TokenOut):
    token: str = Field(description="Shown this once.")


def routes(identity: IdentityService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/tokens", tags=["identity"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.IDENTITY_READ))
    Admin = Annotated[Principal, Depends(guard.requires(Permission.IDENTITY_ADMIN))]  # noqa: N806 - a type

    @router.get("", dependencies=[reader])
    async def list_tokens(limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, after: str | None = None) -> TokenPage:
        async with unit_of_work(sessions) as session:
            rows = await identity.page(session, before=parse_cursor(after), limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return TokenPage(items=[_out(row) for row in page.items], next=page.next)

    @router.post("", status_code=201)
    async def create_token(body: TokenIn, by: Admin) -> IssuedOut:
        async with unit_of_work(sessions) as session:
            issued = await identity.issue(session, by, body.name, role=body.role, expires_days=body.expires_in_days)
        return IssuedOut(**_out(issued.key).model_dump(), token=issued.token)

    @router.delete("/{token_id}", status_code=204)
    async def revoke_token(token_id: UUID, by: Admin) -> None:
        async with unit_of_work(sessions) as session:
            await identity.revoke(session, by, token_id)

    return router


def _out(key: ApiKey) -> TokenOut:
    return TokenOut(
        id=key.id,
        name=key.name,
        role=Role(key.role),
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )
