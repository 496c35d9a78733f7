"""The client's side of approvals: the inbox, decisions, delegations, and webhooks that tell of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atom.client.listing import Listing
from atom.client.models import Approval, At, Page, Wire
from atom.client.transport import Transport, segment


class ApprovalSummary(Wire):
    counts: Mapping[str, int]
    mine: int = 0


class BatchLine(Wire):
    """What became of one approval of a batch: its status now, or why it was not decided."""

    id: str
    status: str | None = None
    code: str | None = None
    message: str | None = None


class BatchResult(Wire):
    items: tuple[BatchLine, ...] = ()


class Delegation(Wire):
    id: str
    from_person: str
    to_person: str
    note: str | None = None
    until: At
    created_by: str = ""
    revoked_by: str | None = None
    revoked_at: At | None = None


class Webhook(Wire):
    """`secret` is there once: in the answer to who added it."""

    id: str
    name: str
    url: str
    types: tuple[str, ...] = ()
    status: str
    reason: str | None = None
    created_by: str = ""
    created_at: At | None = None
    secret: str | None = None


class WebhookTest(Wire):
    delivery_id: str


class Delivery(Wire):
    id: str
    type: str
    status: str
    attempts: int = 0
    created_at: At | None = None
    next_at: At | None = None
    ended_at: At | None = None
    response_code: int | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Approvals:
    transport: Transport

    def list(self, *, status: str | None = None, run_id: str | None = None, **filters: Any) -> Listing[Approval]:
        """Filters: agent, action, requested_by, assignee, digest, expires_before, mine."""
        query = {"status": status, "run_id": run_id, **filters}
        return Listing(self.transport, Page[Approval], "/api/approvals", query)

    async def summary(self) -> ApprovalSummary:
        return await self.transport.ask(ApprovalSummary, "GET", "/api/approvals/summary")

    async def get(self, approval_id: str) -> Approval:
        return await self.transport.ask(Approval, "GET", _approval(approval_id))

    async def approve(
        self,
        approval_id: str,
        *,
        note: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        digest: str | None = None,
    ) -> Approval:
        """`arguments`: approve the call with these instead. `digest`: only if it still is about this call."""
        said = {"note": note, "arguments": arguments, "digest": digest}
        return await self._decide(approval_id, "approve", said)

    async def reject(self, approval_id: str, *, note: str | None = None, digest: str | None = None) -> Approval:
        return await self._decide(approval_id, "reject", {"note": note, "digest": digest})

    async def approve_batch(self, digest: str, ids: Sequence[str], *, note: str | None = None) -> BatchResult:
        """Each of `ids` that is about exactly this call; the others are left, and the answer says why."""
        body = {"digest": digest, "ids": list(ids), "note": note}
        return await self.transport.ask(BatchResult, "POST", "/api/approvals/approve-batch", body=body)

    async def delegate(self, approval_id: str, to: str, *, note: str | None = None) -> Approval:
        body = {"to": to, "note": note}
        return await self.transport.ask(Approval, "POST", f"{_approval(approval_id)}/delegate", body=body)

    async def delegate_all(self, to: str, until: str, *, note: str | None = None) -> Delegation:
        """Until then, `to` may decide what is assigned to the caller. `until`: RFC 3339."""
        body = {"to": to, "until": until, "note": note}
        return await self.transport.ask(Delegation, "POST", "/api/approvals/delegations", body=body)

    def delegations(self) -> Listing[Delegation]:
        return Listing(self.transport, Page[Delegation], "/api/approvals/delegations")

    async def revoke_delegation(self, delegation_id: str) -> Delegation:
        path = f"/api/approvals/delegations/{segment(delegation_id)}/revoke"
        return await self.transport.ask(Delegation, "POST", path)

    async def _decide(self, approval_id: str, verdict: str, said: Mapping[str, Any]) -> Approval:
        body = {name: value for name, value in said.items() if value is not None}
        return await self.transport.ask(Approval, "POST", f"{_approval(approval_id)}/{verdict}", body=body)


@dataclass(frozen=True, slots=True)
class Webhooks:
    transport: Transport

    async def add(self, name: str, url: str, **fields: Any) -> Webhook:
        """Fields: types, secret. The reply is the only time the secret is shown."""
        return await self.transport.ask(Webhook, "POST", "/api/webhooks", body={"name": name, "url": url, **fields})

    def list(self) -> Listing[Webhook]:
        return Listing(self.transport, Page[Webhook], "/api/webhooks")

    async def get(self, webhook: str) -> Webhook:
        return await self.transport.ask(Webhook, "GET", _webhook(webhook))

    async def remove(self, webhook: str) -> None:
        await self.transport.exchange("DELETE", _webhook(webhook))

    async def test(self, webhook: str) -> WebhookTest:
        return await self.transport.ask(WebhookTest, "POST", f"{_webhook(webhook)}/test")

    def deliveries(self, webhook: str, *, status: str | None = None) -> Listing[Delivery]:
        return Listing(self.transport, Page[Delivery], f"{_webhook(webhook)}/deliveries", {"status": status})


def _approval(approval_id: str) -> str:
    return f"/api/approvals/{segment(approval_id)}"


def _webhook(webhook: str) -> str:
    return f"/api/webhooks/{segment(webhook)}"
