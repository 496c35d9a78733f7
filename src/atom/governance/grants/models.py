"""The table of named grants."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base


class ActionGrant(Base):
    """In force until it expires or somebody takes it back. Rows stay: who could do what, and why, is history."""

    __tablename__ = "action_grant"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID]
    action: Mapped[str]
    reason: Mapped[str]
    granted_by: Mapped[str]
    granted_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None]
