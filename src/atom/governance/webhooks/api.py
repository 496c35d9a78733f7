"""REST: webhooks and their receipts. A secret is shown once, to who added it."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from atom.governance.webhooks.models import (
    DeliveryStatus,
    EndpointStatus,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookType,
)
from atom.governance.webhooks.service import APPROVALS, NewWebhook, WebhookService
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page


class WebhookIn(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    name: str = Field(max_length=64)
    url: str = Field(max_length=2000)
    types: list[WebhookType] = Field(default_factory=lambda: list(APPROVALS), max_length=10)
    secret: SecretStr | None = Field(default=None, description="`whsec_` and base64. Unset: a new one, shown once.")


class WebhookOut(BaseModel):
    id: UUID
    name: str
    url: str
    types: list[WebhookType]
    status: EndpointStatus
    reason: str | None = Field(description="Why nothing is sent to it any more.")
    created_by: str
    created_at: datetime


class NewWebhookOut(WebhookOut):
    secret: str = Field(description="What messages are signed with. It is never shown again.")


class WebhookPage(BaseModel):
    items: list[WebhookOut]
    next: str | None


class DeliveryOut(BaseModel):
    id: UUID = Field(description="The webhook-id of the message: the same in every try.")
    type: WebhookType
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    next_at: datetime | None = Field(description="When it is tried again.")
    ended_at: datetime | None
    response_code: int | None
    last_error: str | None


class DeliveryPage(BaseModel):
    items: list[DeliveryOut]
    next: str | None


class TestOut(BaseModel):
    delivery_id: UUID


def webhook_routes(webhooks: WebhookService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/webhooks", tags=["webhooks"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.WEBHOOKS_ADMIN))  # an address may be a secret itself
    Admin = Annotated[Principal, Depends(guard.requires(Permission.WEBHOOKS_ADMIN))]  # noqa: N806 - a type
    Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]  # noqa: N806 - a type

    @router.post("", status_code=201)
    async def add_webhook(body: WebhookIn, by: Admin) -> NewWebhookOut:
        secret = body.secret.get_secret_value() if body.secret else None
        new = NewWebhook(body.name, body.url, tuple(body.types), secret)
        async with unit_of_work(sessions) as session:
            made, secret = await webhooks.add(session, by, new)
            return NewWebhookOut(**_out(made).model_dump(), secret=secret)

    @router.get("", dependencies=[reader])
    async def list_webhooks(limit: Limit = 50, after: str | None = None) -> WebhookPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await webhooks.page(session, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return WebhookPage(items=[_out(one) for one in page.items], next=page.next)

    @router.get("/{webhook}", dependencies=[reader])
    async def show_webhook(webhook: str) -> WebhookOut:
        async with unit_of_work(sessions) as session:
            return _out(await webhooks.get(session, webhook))

    @router.delete("/{webhook}", status_code=204)
    async def remove_webhook(webhook: str, by: Admin) -> None:
        async with unit_of_work(sessions) as session:
            await webhooks.remove(session, by, webhook)

    @router.post("/{webhook}/test", status_code=202)
    async def test_webhook(webhook: str, by: Admin) -> TestOut:
        async with unit_of_work(sessions) as session:
            return TestOut(delivery_id=await webhooks.test(session, by, webhook))

    @router.get("/{webhook}/deliveries", dependencies=[reader])
    async def list_deliveries(
        webhook: str, limit: Limit = 50, after: str | None = None, status: DeliveryStatus | None = None
    ) -> DeliveryPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await webhooks.deliveries(session, webhook, status=status, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return DeliveryPage(items=[_receipt(one) for one in page.items], next=page.next)

    return router


def _out(one: WebhookEndpoint) -> WebhookOut:
    return WebhookOut.model_validate(one, from_attributes=True)


def _receipt(one: WebhookDelivery) -> DeliveryOut:
    found = DeliveryOut.model_validate(one, from_attributes=True)
    return found if one.status == DeliveryStatus.PENDING else found.model_copy(update={"next_at": None})
