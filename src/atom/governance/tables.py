"""Tables of governance: what was asked, and what was decided."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text
from sqlalchemy.dialects.postgresql import JSONB
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
    """A question to a person, bound by `digest` to agent version, action and canonical arguments.

    `arguments` are those that are decided on: a person may have changed them, then `edited_from` has the agent's own
    with their digest. `requested_by`: the actor behind the run. `withheld`: people who may not decide it, by name.
    """

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
    eyes: Mapped[str]
    requested_by: Mapped[str | None]
    approvals: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    withheld: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    edited_from: Mapped[dict[str, Any] | None]
    edited_by: Mapped[str | None]
    assignee: Mapped[str | None]

    @property
    def said_yes(self) -> list[str]:
        """The actors who have approved it so far. Rows of the release before know only the one who decided."""
        listed = [str(yes["by"]) for yes in self.approvals]
        return listed or ([self.decided_by] if self.decided_by and self.status == ApprovalStatus.APPROVED else [])


class ApprovalDelegation(Base):
    """While it stands, `to_person` may decide what is assigned to `from_person`."""

    __tablename__ = "approval_delegation"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    from_person: Mapped[str]
    to_person: Mapped[str]
    note: Mapped[str | None]
    until: Mapped[datetime]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    revoked_by: Mapped[str | None]
    revoked_at: Mapped[datetime | None]


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
