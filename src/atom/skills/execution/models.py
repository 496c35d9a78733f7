"""Tables of executions."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base, BigInt


class ExecutionStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}


class Purpose(StrEnum):
    """`test`: somebody who may approve a version tries it before or after; no agent, no network."""

    RUN = "run"
    TEST = "test"


class FileKind(StrEnum):
    INPUT = "input"
    ARTEFACT = "artefact"


class SkillExecution(Base):
    """One script, run for an agent's call or for a person. `attempt` counts; a later one takes over from an earlier.

    `stdout` and `stderr` are bounded, the end of each. `usage`: seconds and bytes. `guarantees`: what it ran with.
    `connections`: which hosts it asked for, and what came of it.
    `ends_by`: whoever ran it is gone if it has not ended by then.
    """

    __tablename__ = "skill_execution"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    skill_name: Mapped[str]
    version_id: Mapped[UUID] = mapped_column(ForeignKey("skill_version.id"))
    digest: Mapped[str]
    purpose: Mapped[str]
    actor: Mapped[str]
    agent_id: Mapped[UUID | None]
    run_id: Mapped[UUID | None]
    call_key: Mapped[str | None]
    job_id: Mapped[UUID | None]
    script: Mapped[str]
    arguments: Mapped[list[str]] = mapped_column(ARRAY(Text))
    input: Mapped[str]
    inputs: Mapped[list[Any]]
    status: Mapped[str]
    attempt: Mapped[int]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    advice: Mapped[str | None]
    exit_reason: Mapped[str | None]
    exit_code: Mapped[int | None]
    value: Mapped[Any | None] = mapped_column(JSONB)
    stdout: Mapped[str]
    stderr: Mapped[str]
    artefacts: Mapped[list[Any]]
    refused: Mapped[list[Any]]
    connections: Mapped[list[Any]]
    usage: Mapped[dict[str, Any]]
    backend: Mapped[str]
    guarantees: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ends_by: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class SkillExecutionFile(Base):
    """A file that a person gave to an execution, or that it made for one. Those of agents are in their workspaces."""

    __tablename__ = "skill_execution_file"

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("skill_execution.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[BigInt]
    sha256: Mapped[str]
    body: Mapped[bytes] = mapped_column(deferred=True, deferred_raiseload=True)
