"""Provider keys and routes as rows, and as routing sees them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text
from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base, BigInt


class KeyStatus(StrEnum):
    """`refused`: the provider did not accept it; it is used again when a test of it succeeds."""

    ACTIVE = "active"
    DISABLED = "disabled"
    REFUSED = "refused"


class ProviderKey(Base):
    """A key that somebody brought. The secret is in `envelope` only; `version` counts its replacements."""

    __tablename__ = "provider_key"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str]
    name: Mapped[str]
    owner: Mapped[str | None]
    priority: Mapped[int]
    models: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    base_url: Mapped[str | None]
    options: Mapped[dict[str, Any]]
    status: Mapped[str]
    reason: Mapped[str | None]
    version: Mapped[int]
    envelope: Mapped[dict[str, Any]]
    kek_id: Mapped[str]
    fingerprint: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class LlmRoute(Base):
    """One line of the ordered list of routes. Without a model: the provider's default; without a key: any of its."""

    __tablename__ = "llm_route"

    position: Mapped[int] = mapped_column(primary_key=True)
    provider: Mapped[str]
    model: Mapped[str | None]
    key_id: Mapped[UUID | None]


class LlmConfig(Base):
    """One row. Triggers count `version` up with every change of keys, routes and budgets."""

    __tablename__ = "llm_config"

    single: Mapped[bool] = mapped_column(primary_key=True)
    version: Mapped[BigInt]
