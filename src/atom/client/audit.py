"""The client's side of the audit chain."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from atom.client.models import At, Page, Wire
from atom.client.transport import Transport


class AuditEntry(Wire):
    """Who did or decided what. `seq` is its place in the chain."""

    id: str
    seq: int | None = None
    hash: str | None = None
    at: At
    actor: str
    action: str
    decision: str
    reason: str = ""
    agent_id: str | None = None
    run_id: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class AuditRange(Wire):
    first: int | None = None
    last: int | None = None


class AnchorLines(Wire):
    items: tuple[str, ...] = ()
    next: str | None = None


class AuditKey(Wire):
    key_id: str
    public_key: str


class Reseal(Wire):
    seq: int
    hash: str
    trusted: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """Rows of the chain come as bytes: whoever verifies them must not round their numbers."""

    transport: Transport

    async def page(self, limit: int, *, after: str | None = None, **filters: str | None) -> Page[AuditEntry]:
        """Filters: actor, action, decision, agent_id, run_id, since, until."""
        query = {**filters, "limit": limit, "after": after}
        return await self.transport.ask(Page[AuditEntry], "GET", "/api/audit", query=query)

    async def chain(self, *, after: int = 0, until: int | None = None, limit: int = 1000) -> bytes:
        query = {"after": after, "until": until, "limit": limit}
        return await self.transport.exchange("GET", "/api/audit/chain", query=query)

    async def strays(self, *, after: str | None = None) -> bytes:
        return await self.transport.exchange("GET", "/api/audit/strays", query={"after": after})

    async def range(self, *, since: str | None = None, until: str | None = None) -> AuditRange:
        query = {"since": since, "until": until}
        return await self.transport.ask(AuditRange, "GET", "/api/audit/range", query=query)

    async def anchors(self, *, after: str | None = None) -> AnchorLines:
        return await self.transport.ask(AnchorLines, "GET", "/api/audit/anchors", query={"after": after})

    async def key(self) -> AuditKey:
        return await self.transport.ask(AuditKey, "GET", "/api/audit/key")

    async def reseal(self, reason: str) -> Reseal:
        return await self.transport.ask(Reseal, "POST", "/api/audit/reseal", body={"reason": reason})
