"""A training session: a task of an agent that a person works on with it, and rates."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base
from atom.runs.provenance import OWN_WORDS, Provenance


class TrainingStatus(StrEnum):
    PROPOSED = "proposed"
    OPEN = "open"
    RATED = "rated"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a task comes from. `kind`: manual, or the trigger that an agent was too immature for.

    `by`: the actor. `ref` names the one thing that proposed it, such as a firing of a schedule: it proposes once.
    `words`: whose the task is.
    """

    kind: str
    by: str
    ref: str | None = None
    words: Provenance = OWN_WORDS


class TrainingSession(Base):
    """`run_id`: the run that the person works on now, or has rated."""

    __tablename__ = "training_session"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"))
    task: Mapped[str]
    origin_labels: Mapped[list[Any]]
    origin_said: Mapped[str | None]
    origin: Mapped[str]
    origin_ref: Mapped[str | None]
    proposed_by: Mapped[str]
    status: Mapped[str]
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("agent_execution.id"))
    opened_by: Mapped[str | None]
    closed_by: Mapped[str | None]
    note: Mapped[str | None]
    created_at: Mapped[datetime]
    opened_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
