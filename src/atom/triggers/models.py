"""Tables and enums of triggers."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKey, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from atom.governance.decide import Trigger
from atom.infra.db import Base, BigInt


class TriggerKind(StrEnum):
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    EVENT = "event"
    AGENT = "agent"

    @property
    def origin(self) -> Trigger:
        """As governance calls it."""
        return Trigger(self.value)


class Outcome(StrEnum):
    """What became of a firing. `queued`: until an operator is there; `expired`: nobody came in time."""

    RUN = "run"
    PROPOSAL = "proposal"
    BLOCKED = "blocked"
    QUEUED = "queued"
    EXPIRED = "expired"


class ProposalStatus(StrEnum):
    """`dismissed`: what it was for is gone."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DISMISSED = "dismissed"


class AgentTrigger(Base):
    """`due_at`: when a schedule fires next by its rule; `next_at`: the same with its jitter.

    `seen_seq`: up to which event an event trigger has looked. `envelope`: the sealed secret of a webhook.
    """

    __tablename__ = "trigger"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"))
    kind: Mapped[str]
    definition: Mapped[dict[str, Any]]
    task: Mapped[str]
    enabled: Mapped[bool]
    version: Mapped[int]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    next_at: Mapped[datetime | None]
    seen_seq: Mapped[BigInt]
    envelope: Mapped[dict[str, Any]]
    kek_id: Mapped[str | None] = mapped_column(ForeignKey("vault_kek.kek_id"))
    secret_version: Mapped[int]
    last_at: Mapped[datetime | None]
    last_run_id: Mapped[UUID | None] = mapped_column(ForeignKey("agent_execution.id"))


class TriggerFiring(Base):
    """One reason to fire and what it led to, in one transaction. `chain`: the triggers behind it. `proposal_id`: of a
    proposal, `training_id`: of a training session. `origin_labels`, `origin_said`: see `Provenance`."""

    __tablename__ = "trigger_firing"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    trigger_id: Mapped[UUID] = mapped_column(ForeignKey("trigger.id"))
    key: Mapped[str]
    outcome: Mapped[str]
    reason: Mapped[str | None]
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("agent_execution.id"))
    proposal_id: Mapped[UUID | None]
    training_id: Mapped[UUID | None]
    task: Mapped[str]
    origin_labels: Mapped[list[Any]]
    origin_said: Mapped[str | None]
    chain: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    fired_by: Mapped[str]
    at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]


class Proposal(Base):
    """A task that an agent may not begin by itself: it starts when a person approves."""

    __tablename__ = "proposal"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"))
    trigger_id: Mapped[UUID | None] = mapped_column(ForeignKey("trigger.id"))
    firing_id: Mapped[UUID | None] = mapped_column(ForeignKey("trigger_firing.id"))
    origin: Mapped[str]
    task: Mapped[str]
    status: Mapped[str]
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("agent_execution.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    note: Mapped[str | None]


class OperatorPresence(Base):
    """When somebody who may steer runs was last seen watching."""

    __tablename__ = "operator_presence"

    key_id: Mapped[UUID] = mapped_column(primary_key=True)
    actor: Mapped[str]
    seen_at: Mapped[datetime]
