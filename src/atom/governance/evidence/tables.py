"""Tables: evidence, and every change of a maturity."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Float
from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base


class Evidence(Base):
    """A verified outcome. Of several rows about one `source` the one that `counts` is the latest.

    `at`: when it happened; of a rating, when the rated run began. `score`: of a run, 0 to 1.
    """

    __tablename__ = "evidence"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID]
    agent_version: Mapped[int]
    action_class: Mapped[str | None]
    kind: Mapped[str]
    source: Mapped[str]
    run_id: Mapped[UUID | None]
    approval_id: Mapped[UUID | None]
    score: Mapped[float | None] = mapped_column(Float(53))
    at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    by: Mapped[str]
    data: Mapped[dict[str, Any]]
    counts: Mapped[bool]


class MaturityChange(Base):
    """`action_class` is None when the agent's own maturity changed. `data`: of a promotion, the evidence for it."""

    __tablename__ = "maturity_change"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID]
    agent_version: Mapped[int]
    action_class: Mapped[str | None]
    before: Mapped[str]
    after: Mapped[str]
    how: Mapped[str]
    reason: Mapped[str]
    by: Mapped[str]
    at: Mapped[datetime]
    data: Mapped[dict[str, Any]]
