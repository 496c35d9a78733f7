"""REST: the audit chain."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from atom.errors import InvalidError
from atom.governance.audit.anchors import Anchor, public_keys
from atom.governance.audit.canonical import spelled
from atom.governance.audit.layer import AuditLayer
from atom.governance.audit.lines import stray_line
from atom.governance.audit.store import Filters
from atom.governance.tables import AuditEntry
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page

MOST_ROWS = 1000
WINDOW = 10_000  # entries that one request looks at for those without a link
LAST = (1 << 63) - 1
Number = Annotated[int, Query(ge=0, le=LAST)]
Rows = Annotated[int, Query(ge=1, le=MOST_ROWS)]


class AuditOut(BaseModel):
    id: UUID
    seq: int | None = Field(description="Its place in the chain; null: it is not in it, and should be.")
    hash: str | None
    at: datetime
    actor: str
    action: str
    decision: str
    reason: str
    agent_id: UUID | None
    run_id: UUID | None
    data: dict[str, Any]


class AuditPage(BaseModel):
    items: list[AuditOut]
    next: str | None


class ChainRow(BaseModel):
    """A canonical row with its hashes: SHA256(prev_hash | the row without both), keys sorted, no spaces."""

    model_config = ConfigDict(extra="allow")
    seq: int | None
    id: str
    v: int


class ChainPage(BaseModel):
    items: list[ChainRow]
    next: str | None
    head: int = Field(description="The number of the last row of the chain now.")


class StrayPage(BaseModel):
    items: list[ChainRow]
    next: str | None


class RangeOut(BaseModel):
    first: int | None = Field(description="Null: the time has no row.")
    last: int | None


class AnchorPage(BaseModel):
    items: list[str] = Field(description="Lines of the anchors' file, as they are.")
    next: str | None


class AuditKeyOut(BaseModel):
    key_id: str
    public_key: str = Field(description="PEM. Keep a copy outside of this deployment.")


class ResealIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(max_length=500, description="Why the chain is not what was anchored.")


class ResealOut(BaseModel):
    seq: int
    hash: str
    trusted: int | None = Field(description="Anchors of before count up to this row.")
    reason: str | None


def audit_routes(audit: AuditLayer, sessions: Sessions, guard: Guard) -> tuple[APIRouter, ...]:
    return (_entries(audit, sessions, guard), _chain(audit, sessions, guard), _anchors(audit, guard))


def _entries(audit: AuditLayer, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/audit", tags=["audit"], route_class=GuardedRoute)

    @router.get("", dependencies=[Depends(guard.requires(Permission.AUDIT_READ))])
    async def list_audit(  # noqa: PLR0913 - the filters of a list
        *,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        after: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        decision: str | None = None,
        agent_id: UUID | None = None,
        run_id: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AuditPage:
        """The newest first."""
        filters = Filters(actor, action, decision, agent_id, run_id, _zoned("since", since), _zoned("until", until))
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await audit.service.page(session, filters, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row[0].id)
        return AuditPage(items=[_out(*row) for row in page.items], next=page.next)

    return router


def _chain(audit: AuditLayer, sessions: Sessions, guard: Guard) -> APIRouter:
    reader = Depends(guard.requires(Permission.AUDIT_READ))
    router = APIRouter(prefix="/api/audit", tags=["audit"], route_class=GuardedRoute)

    @router.get("/chain", dependencies=[reader], response_model=ChainPage)
    async def read_chain(limit: Rows = MOST_ROWS, after: Number = 0, until: Number = LAST) -> Response:
        """Whole rows with their hashes in the order of the chain, for a verifier. Numbers are written in full."""
        async with unit_of_work(sessions) as session:
            head = await audit.service.head(session)
            rows = await audit.service.chain(session, after, until, limit)
        go_on = str(rows[-1].seq) if len(rows) == limit else None
        return _json([row.line() for row in rows], next=go_on, head=head.seq if head else 0)

    @router.get("/strays", dependencies=[reader], response_model=StrayPage)
    async def list_strays(after: str | None = None) -> Response:
        """Entries that the chain does not name: there are none, unless somebody wrote around it. `next` goes on
        through all entries; a page may be empty."""
        async with unit_of_work(sessions) as session:
            rows, go_on = await audit.service.strays(session, parse_cursor(after) or UUID(int=0), WINDOW)
        return _json([stray_line(row) for row in rows], next=str(go_on) if go_on else None)

    @router.get("/range", dependencies=[reader])
    async def show_range(since: datetime | None = None, until: datetime | None = None) -> RangeOut:
        """The first and the last row of a time."""
        async with unit_of_work(sessions) as session:
            found = await audit.service.numbers(session, _zoned("since", since), _zoned("until", until))
        return RangeOut(first=found[0] if found else None, last=found[1] if found else None)

    return router


def _anchors(audit: AuditLayer, guard: Guard) -> APIRouter:
    reader = Depends(guard.requires(Permission.AUDIT_READ))
    Admin = Annotated[Principal, Depends(guard.requires(Permission.AUDIT_ADMIN))]  # noqa: N806 - a type
    router = APIRouter(prefix="/api/audit", tags=["audit"], route_class=GuardedRoute)

    @router.get("/anchors", dependencies=[reader])
    async def list_anchors(limit: Rows = MOST_ROWS, after: Number = 0) -> AnchorPage:
        """The signed anchors that the process which answers has written, the oldest first."""
        lines = await audit.service.anchor_lines(after, limit)
        return AnchorPage(items=list(lines), next=str(after + limit) if len(lines) == limit else None)

    @router.get("/key", dependencies=[reader])
    async def show_audit_key() -> AuditKeyOut:
        """The public half of the key that signs anchors."""
        pem = await audit.service.public_key()
        return AuditKeyOut(key_id=next(iter(public_keys(pem))), public_key=pem)

    @router.post("/reseal")
    async def reseal_audit(body: ResealIn, by: Admin) -> ResealOut:
        """Accept the chain as it is after a restore. It is written into the chain, and signed."""
        anchor: Anchor = await audit.anchoring.reseal(by.actor, body.reason)
        return ResealOut(seq=anchor.seq, hash=anchor.hash, trusted=anchor.trusted, reason=anchor.reason)

    return router


def _json(lines: list[str], **beside: Any) -> Response:
    """Rows go out as they are spelled: a JSON library would round their numbers."""
    rest = "".join(f',"{name}":{spelled(value)}' for name, value in beside.items())
    return Response(f'{{"items":[{",".join(lines)}]{rest}}}', media_type="application/json")


def _zoned(field: str, at: datetime | None) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise InvalidError(f"{field}: it has no time zone.", hint="Write it as 2026-01-31T00:00:00Z.", field=field)
    return at


def _out(entry: AuditEntry, seq: int | None, hash_: str | None) -> AuditOut:
    return AuditOut(
        id=entry.id,
        seq=seq,
        hash=hash_,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        decision=entry.decision,
        reason=entry.reason,
        agent_id=entry.agent_id,
        run_id=entry.run_id,
        data=entry.data,
    )
