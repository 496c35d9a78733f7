"""Tables of webhooks: where to, and what was sent."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text
from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base


class WebhookType(StrEnum):
    """What an endpoint can be told of. `test` goes to one endpoint when somebody asks for it."""

    REQUESTED = "approval.requested"
    DECIDED = "approval.decided"
    EXPIRED = "approval.expired"
    TEST = "webhook.test"


class EndpointStatus(StrEnum):
    """`disabled`: it answered that it is gone for good (410)."""

    ACTIVE = "active"
    DISABLED = "disabled"


class DeliveryStatus(StrEnum):
    """`failed`: given up after a day of tries, or because its endpoint is gone."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookEndpoint(Base):
    """`secret` is an envelope of the vault, wrapped by the key-encryption key `kek_id`."""

    __tablename__ = "webhook_endpoint"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    url: Mapped[str]
    types: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    secret: Mapped[dict[str, Any]]
    kek_id: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class WebhookDelivery(Base):
    """One message to one endpoint, and its receipt. `id` is its webhook-id: the same in every try."""

    __tablename__ = "webhook_delivery"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    endpoint_id: Mapped[UUID]
    type: Mapped[str]
    body: Mapped[str]
    status: Mapped[str]
    attempts: Mapped[int]
    created_at: Mapped[datetime]
    next_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    response_code: Mapped[int | None]
    last_error: Mapped[str | None]
