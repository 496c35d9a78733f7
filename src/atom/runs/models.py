"""Runs, their journal and the conversations they belong to."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import ForeignKey, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from atom.durable.lease import Leased
from atom.infra.db import Base, BigInt

SmallInt = Annotated[int, mapped_column(SmallInteger)]


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}


class WaitReason(StrEnum):
    APPROVAL = "approval"
    PROVIDER = "provider"
    BUDGET = "budget"
    OPERATOR = "operator"
    REVIEW = "review"
    RESTORED = "restored"
    CHILD = "child"


class Priority(StrEnum):
    """How urgent a run is, beside the others of the deployment."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """-1, 0 or 1: what the table keeps."""
        return list(Priority).index(self) - 1

    @classmethod
    def of(cls, rank: int) -> "Priority":
        return list(cls)[rank + 1]


class StepKind(StrEnum):
    MODEL = "model"
    TOOL = "tool"


class StepStatus(StrEnum):
    """`started` without `done` is a call whose outcome nobody knows; `retry`: a person said to make it once more."""

    STARTED = "started"
    DONE = "done"
    RETRY = "retry"


class Conversation(Base):
    __tablename__ = "conversation"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"))
    created_at: Mapped[datetime]


class Run(Leased, Base):
    """A task given to an agent. The lease columns say which worker may write to it: see `durable/lease.py`.

    `retry_of` is the first run of a line of retries. `parent_id` and `parent_step`: the call of another run that
    started this one. `labels`: of what it has read up to now. `origin_labels`, `origin_said`: see `Provenance`.
    `remember_at`: when its episode is to be written, once it has ended; None: it is. `recalled`: see `Recollection`.
    `offered`: see `Offer`.
    """

    __tablename__ = "agent_execution"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"))
    agent_version: Mapped[int]
    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversation.id"))
    trigger: Mapped[str]
    requested_by: Mapped[str]
    task: Mapped[str]
    files: Mapped[list[Any]]
    requested_model: Mapped[str | None]
    status: Mapped[str]
    wait_reason: Mapped[str | None]
    answer: Mapped[str | None]
    sources: Mapped[list[Any]]
    error: Mapped[dict[str, Any] | None]
    provider: Mapped[str | None]
    model: Mapped[str | None]
    model_note: Mapped[str | None]
    input_tokens: Mapped[BigInt | None]
    output_tokens: Mapped[BigInt | None]
    model_calls: Mapped[int]
    tool_calls: Mapped[int]
    worked_ms: Mapped[BigInt]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    cancel_requested_by: Mapped[str | None]
    wake_seq: Mapped[BigInt]
    priority: Mapped[SmallInt]
    pause_requested_at: Mapped[datetime | None]
    pause_requested_by: Mapped[str | None]
    retry_of: Mapped[UUID | None] = mapped_column(ForeignKey("agent_execution.id"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agent_execution.id"))
    parent_step: Mapped[str | None]
    resume_at: Mapped[datetime | None]
    provider_wait_since: Mapped[datetime | None]
    wait_detail: Mapped[str | None]
    cost_usd: Mapped[Decimal | None]
    no_cache: Mapped[bool]
    options: Mapped[dict[str, Any] | None]
    labels: Mapped[list[Any]]
    origin_labels: Mapped[list[Any]]
    origin_said: Mapped[str | None]
    remember_at: Mapped[datetime | None] = mapped_column(deferred=True)
    recalled: Mapped[dict[str, Any] | None]
    offered: Mapped[dict[str, Any] | None]


class AgentTurn(Base):
    """When an agent last had a turn."""

    __tablename__ = "agent_turn"

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"), primary_key=True)
    served_at: Mapped[datetime]


class Step(Base):
    """A row of the journal: one effect of the run, under a key that is the same in every replay."""

    __tablename__ = "execution_step"

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("agent_execution.id"), primary_key=True)
    step_no: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    kind: Mapped[str]
    name: Mapped[str]
    status: Mapped[str]
    epoch: Mapped[BigInt]
    request: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class RunNote(Base):
    """A person's word to a run that goes on. `turn`: before which the model was shown it; None: not yet."""

    __tablename__ = "run_note"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    execution_id: Mapped[UUID] = mapped_column(ForeignKey("agent_execution.id"))
    note: Mapped[str]
    written_by: Mapped[str]
    written_at: Mapped[datetime]
    turn: Mapped[int | None]


class Artefact(Base):
    """A file that a call of the run wrote, as it was then. `path` is relative to the workspace, `sha256` in hex."""

    __tablename__ = "run_artefact"

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("agent_execution.id"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[BigInt]
    sha256: Mapped[str]
    step_key: Mapped[str]
    written_at: Mapped[datetime]


class ContentLabel(Base):
    """What is known of a file in an agent's workspace that a run wrote after it had read what nobody vouches for.
    `sha256`: as it was written then, in hex."""

    __tablename__ = "content_label"

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    labels: Mapped[list[Any]]
    execution_id: Mapped[UUID] = mapped_column(ForeignKey("agent_execution.id"))
    written_at: Mapped[datetime]


class IdempotencyKey(Base):
    """The first answer to a POST that carried this key."""

    __tablename__ = "idempotency_key"

    principal: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    run_id: Mapped[UUID]
    created_at: Mapped[datetime]
