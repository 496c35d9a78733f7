"""Rules of webhooks: where what is told, and the outbox in the transaction of what it tells of."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import AtomError
from atom.events.service import Signal
from atom.governance import store as governance_store
from atom.governance.decide import EXPLAIN, Reason
from atom.governance.ports import Outcome
from atom.governance.tables import Approval
from atom.governance.webhooks import signing, store
from atom.governance.webhooks.errors import WebhookExistsError, WebhookInvalidError, WebhookNotFoundError
from atom.governance.webhooks.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint, WebhookType
from atom.governance.webhooks.ports import Post, Sealer
from atom.identity.models import Principal
from atom.infra.db import after_commit
from atom.kit.clock import Clock, rfc3339
from atom.kit.ids import new_id, parse_id
from atom.kit.text import clean, clean_json

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_ENDPOINTS = 100
KEPT_SECONDS = 30 * 86_400.0
TIDIED_AT_ONCE = 500
APPROVALS = (WebhookType.REQUESTED, WebhookType.DECIDED, WebhookType.EXPIRED)


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """`secret`: one that the receiver has already; None: a new one."""

    name: str
    url: str
    types: tuple[WebhookType, ...] = APPROVALS
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookService:
    """An AskListener and an ApprovalListener. `written` wakes the sender of this process."""

    sealer: Sealer
    post: Post
    clock: Clock
    written: Signal

    async def add(self, session: AsyncSession, by: Principal, new: NewWebhook) -> tuple[WebhookEndpoint, str]:
        """The webhook, and its secret: this is the only time that it is shown."""
        secret = self._checked(new)
        if await store.named(session, new.name) is not None:
            raise WebhookExistsError(new.name)
        if len(await store.page(session, before=None, limit=MAX_ENDPOINTS)) >= MAX_ENDPOINTS:
            raise WebhookInvalidError(f"There are {MAX_ENDPOINTS} webhooks already.", hint="Remove one.", field="name")
        id_ = new_id()
        envelope = await self.sealer.seal(session, id_, secret)
        values = {"id": id_, "name": new.name, "url": new.url, "types": sorted({one.value for one in new.types})}
        sealed = {"secret": envelope, "kek_id": envelope["kek_id"], "created_by": by.actor}
        if not await store.add(session, values | sealed):  # somebody was faster
            raise WebhookExistsError(new.name)
        made = await self.get(session, str(id_))
        await self._audit(session, by, made, "added")
        return made, secret

    async def get(self, session: AsyncSession, ref: str) -> WebhookEndpoint:
        found = await store.named(session, clean(ref))
        if found is None:
            raise WebhookNotFoundError(ref)
        return found

    async def page(self, session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[WebhookEndpoint]:
        return await store.page(session, before=before, limit=limit)

    async def remove(self, session: AsyncSession, by: Principal, ref: str) -> None:
        found = await self.get(session, ref)
        await store.remove(session, found.id)
        await self._audit(session, by, found, "removed")

    async def test(self, session: AsyncSession, by: Principal, ref: str) -> UUID:
        """A message that says nothing, through the same outbox. Its receipt tells how it went."""
        found = await self.get(session, ref)
        return await self._enqueue(session, found.id, WebhookType.TEST, {"webhook": found.name, "asked_by": by.actor})

    async def deliveries(
        self, session: AsyncSession, ref: str, *, status: DeliveryStatus | None, before: UUID | None, limit: int
    ) -> Sequence[WebhookDelivery]:
        found = await self.get(session, ref)
        return await store.deliveries(session, found.id, status=status, before=before, limit=limit)

    async def requested(self, session: AsyncSession, approval: Approval, agent: str) -> None:
        await self._tell(session, WebhookType.REQUESTED, approval, agent)

    async def decided(self, session: AsyncSession, approval: Approval, outcome: Outcome) -> None:
        found = await governance_store.approval(session, approval.id)
        type_ = WebhookType.EXPIRED if outcome is Outcome.EXPIRED else WebhookType.DECIDED
        await self._tell(session, type_, approval, found[1] if found else "", outcome=outcome.value)

    async def tidy(self, session: AsyncSession) -> None:
        """Receipts are kept for a month. For the sweep."""
        await store.tidy(session, seconds=KEPT_SECONDS, limit=TIDIED_AT_ONCE)

    async def to_rewrap(self, session: AsyncSession, kek_id: str, *, after: UUID, limit: int) -> Sequence[UUID]:
        """With `rewrap`, the part that these secrets have in a rotation of the vault's key."""
        return await store.sealed_otherwise(session, kek_id, after=after, limit=limit)

    async def rewrap(self, session: AsyncSession, id_: UUID, kek_id: str) -> None:
        found = await store.locked(session, id_)
        if found is None or found.kek_id == kek_id:
            return
        envelope = await self.sealer.rewrap(session, found.id, found.secret)
        await store.change(session, found.id, {"secret": envelope, "kek_id": envelope["kek_id"]})

    def _checked(self, new: NewWebhook) -> str:
        if not NAME.fullmatch(new.name) or parse_id(new.name):  # an id would never be looked up as a name
            raise WebhookInvalidError(
                "name: up to 64 letters, digits, dots, dashes and underscores, a letter or digit first; not a UUID.",
                field="name",
            )
        if not new.types or WebhookType.TEST in new.types:
            known = ", ".join(one.value for one in APPROVALS)
            raise WebhookInvalidError(f"types: at least one of {known}.", field="types")
        try:
            self.post.check(new.url)
        except AtomError as error:
            raise WebhookInvalidError(f"url: {error.message}", hint=error.hint, field="url") from error
        secret = new.secret or signing.new_secret()
        try:
            signing.key_of(secret)
        except ValueError:
            raise WebhookInvalidError(
                f"secret: {signing.PREFIX} and {signing.LEAST} to {signing.MOST} bytes in base64.", field="secret"
            ) from None
        return secret

    async def _tell(
        self, session: AsyncSession, type_: WebhookType, approval: Approval, agent: str, **more: str
    ) -> None:
        for endpoint_id in await store.listening(session, type_.value, limit=MAX_ENDPOINTS):
            await self._enqueue(session, endpoint_id, type_, _about(approval, agent) | more)

    async def _enqueue(
        self, session: AsyncSession, endpoint_id: UUID, type_: WebhookType, data: dict[str, Any]
    ) -> UUID:
        said = {"type": type_.value, "timestamp": rfc3339(self.clock.now()), "data": clean_json(data)}
        body = json.dumps(said, separators=(",", ":"), ensure_ascii=False)
        id_ = await store.enqueue(session, endpoint_id, type_.value, body)
        after_commit(session, self.written.set)
        return id_

    async def _audit(self, session: AsyncSession, by: Principal, one: WebhookEndpoint, decision: str) -> None:
        said = {"webhook": one.name, "host": urlsplit(one.url).hostname, "types": one.types}
        row = {"actor": by.actor, "action": "webhooks", "decision": decision, "reason": "administration", "data": said}
        await governance_store.audit(session, row)


def _about(approval: Approval, agent: str) -> dict[str, Any]:
    """What leaves this deployment. The arguments stay here: they may hold anything; who may see them can ask."""
    return {
        "approval_id": str(approval.id),
        "run_id": str(approval.execution_id),
        "agent": agent,
        "action": approval.action,
        "reason": approval.reason,
        "explanation": EXPLAIN[Reason(approval.reason)],
        "status": approval.status,
        "digest": approval.digest,
        "eyes": approval.eyes,
        "requested_by": approval.requested_by,
        "requested_at": rfc3339(approval.requested_at),
        "expires_at": rfc3339(approval.expires_at),
        "decided_by": approval.decided_by,
    }
