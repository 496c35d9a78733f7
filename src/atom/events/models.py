"""The event table: a transactional outbox that is also the history every live view reads."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base, BigInt
from atom.kit.clock import rfc3339


class EventType(StrEnum):
    """Every event there is. A client that meets an unknown one ignores it."""

    RUN_QUEUED = "run.queued"
    RUN_STARTED = "run.started"
    RUN_WAITING = "run.waiting"
    RUN_PAUSED = "run.paused"
    RUN_HALTED = "run.halted"
    RUN_RESUMED = "run.resumed"
    RUN_COMPLETED = "run.completed"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    MODEL_REPLIED = "model.replied"
    MODEL_FAILED_OVER = "model.failed_over"
    MODEL_RESTARTED = "model.restarted"
    TOOL_REQUESTED = "tool.requested"
    TOOL_FINISHED = "tool.finished"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_FIRST_YES = "approval.first_yes"
    APPROVAL_DELEGATED = "approval.delegated"
    APPROVAL_DECIDED = "approval.decided"
    REVIEW_DECIDED = "review.decided"
    AGENT_CREATED = "agent.created"
    AGENT_CHANGED = "agent.changed"
    AGENT_PROMOTED = "agent.promoted"
    AGENT_DEMOTED = "agent.demoted"
    AGENT_VIOLATED = "agent.violated"
    RUN_RATED = "run.rated"
    TRAINING_CHANGED = "training.changed"
    JOB_CHANGED = "job.changed"
    KEY_ADDED = "key.added"
    KEY_CHANGED = "key.changed"
    KEY_REMOVED = "key.removed"
    KEY_REFUSED = "key.refused"
    ROUTES_CHANGED = "routes.changed"
    BUDGET_CHANGED = "budget.changed"
    POLICY_APPLIED = "policy.applied"
    POLICY_REMOVED = "policy.removed"
    GRANT_ADDED = "grant.added"
    GRANT_REMOVED = "grant.removed"
    SKILL_IMPORTED = "skill.imported"
    SKILL_CHANGED = "skill.changed"
    SKILL_STARTED = "skill.started"
    SKILL_ENDED = "skill.ended"
    TRIGGER_CHANGED = "trigger.changed"
    TRIGGER_FIRED = "trigger.fired"
    PROPOSAL_OPENED = "proposal.opened"
    PROPOSAL_DECIDED = "proposal.decided"
    RUN_CORRECTED = "run.corrected"
    HALTED = "halt.set"
    HALT_LIFTED = "halt.lifted"
    TOKEN_CREATED = "token.created"  # noqa: S105 - the name of an event
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - the name of an event


class EventRow(Base):
    """`seq` is null until the sequencer stamps it, after commit: readers only ever see stamped rows."""

    __tablename__ = "event"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[BigInt | None]
    type: Mapped[str]
    at: Mapped[datetime]
    actor: Mapped[str]
    agent_id: Mapped[UUID | None]
    run_id: Mapped[UUID | None]
    data: Mapped[dict[str, Any]]
    v: Mapped[int]


@dataclass(frozen=True, slots=True)
class Event:
    """A stamped event as subscribers see it."""

    seq: int
    id: UUID
    type: str
    at: datetime
    actor: str
    agent_id: UUID | None
    run_id: UUID | None
    data: dict[str, Any]
    v: int

    def envelope(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "id": str(self.id),
            "type": self.type,
            "at": rfc3339(self.at),
            "actor": self.actor,
            "agent_id": str(self.agent_id) if self.agent_id else None,
            "run_id": str(self.run_id) if self.run_id else None,
            "data": self.data,
            "v": self.v,
        }
