"""Tables of governance: what was asked, and what was decided."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base


class ApprovalStatus(StrEnum):
    """`used`: the call it was given for has begun. `cancelled`: its run ended or changed before."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    USED = "used"


class Approval(Base):
    """A question to a person, bound by `digest` to agent version, action and canonical arguments."""

    __tablename__ = "approval"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    execution_id: Mapped[UUID]
    step_key: Mapped[str]
    agent_id: Mapped[UUID]
    agent_version: Mapped[int]
    action: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    digest: Mapped[str]
    reason: Mapped[str]
    detail: Mapped[str | None]
    status: Mapped[str]
    requested_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    note: Mapped[str | None]


class AuditEntry(Base):
    """Who did or decided what. Rows are only ever added."""

    __tablename__ = "audit_entry"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    decision: Mapped[str]
    reason: Mapped[str]
    agent_id: Mapped[UUID | None]
    run_id: Mapped[UUID | None]
    data: Mapped[dict[str, Any]]
