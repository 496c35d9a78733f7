"""What an agent is."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text
from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base


class AgentStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    RETIRED = "retired"


class Agent(Base):
    """The definition in force. Every change of it is a new `version`; runs keep the one they began with.

    `max_running`: most of its runs at work at one time; None: as many as the deployment gives every agent.
    `class_maturity`: classes of actions in which it may do less than its maturity says.
    """

    __tablename__ = "agent"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    instructions: Mapped[str]
    tools: Mapped[list[str]] = mapped_column(ARRAY(Text))
    model: Mapped[str | None]
    maturity: Mapped[str]
    class_maturity: Mapped[dict[str, Any]]
    status: Mapped[str]
    version: Mapped[int]
    max_running: Mapped[int | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class AgentVersion(Base):
    """An earlier or the present definition, never changed."""

    __tablename__ = "agent_version"

    agent_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]]
    changed_by: Mapped[str]
    created_at: Mapped[datetime]
