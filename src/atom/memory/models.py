"""Episodes, their segments, and how much of them there is."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Double, ForeignKey, Text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from atom.durable.lease import Leased
from atom.infra.db import Base, BigInt
from atom.memory.drafts import Outcome, SegmentKind, Source

__all__ = [
    "ColdBody",
    "ColdLease",
    "ColdObject",
    "Episode",
    "JobRun",
    "Link",
    "MemoryPolicy",
    "Outcome",
    "Segment",
    "SegmentKind",
    "Source",
    "Tally",
    "Tier",
    "Tombstone",
]


class Tier(StrEnum):
    """Where the body of an episode is. Each of them is searched."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"


class Episode(Base):
    """Something that an agent went through, with its verbatim turns as segments.

    `labels`: of everything that stands in it. `importance`: 0 to 1, `feedback`: -1 to 1. `stability_days`: of the
    settings when it was written; what counts is in `decay`. `source_ref` names what it was made of, `part` which part.
    `kept_apart`: it is not consolidated, because somebody has split what it was consolidated in.
    """

    __tablename__ = "episode"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"))
    conversation_id: Mapped[UUID | None]
    execution_id: Mapped[UUID | None]
    part: Mapped[int]
    source: Mapped[str]
    source_ref: Mapped[str | None]
    title: Mapped[str]
    summary: Mapped[str]
    outcome: Mapped[str]
    importance: Mapped[float] = mapped_column(Double)
    provenance: Mapped[dict[str, Any]]
    labels: Mapped[list[Any]]
    entities: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    storage_tier: Mapped[str]
    tier_changed_at: Mapped[datetime]
    access_count: Mapped[BigInt]
    last_access_at: Mapped[datetime | None]
    stability_days: Mapped[float] = mapped_column(Double)
    feedback: Mapped[float | None] = mapped_column(Double)
    feedback_note: Mapped[str | None]
    feedback_by: Mapped[str | None]
    kept_apart: Mapped[bool]
    segments: Mapped[int]
    bytes: Mapped[BigInt]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class Link(Base):
    """An episode and the one that sums it up; `position` counts from 0, in the order of their times."""

    __tablename__ = "episode_link"

    source_id: Mapped[UUID] = mapped_column(ForeignKey("episode.id"), primary_key=True)
    consolidated_id: Mapped[UUID] = mapped_column(ForeignKey("episode.id"))
    position: Mapped[int]


class Segment(Base):
    """A turn of an episode, verbatim; a very long one is several in a row with one `ref`. `position` counts from 0.

    `text` is empty here while the episode is not hot: it is in the episode's body then.
    """

    __tablename__ = "episode_segment"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    episode_id: Mapped[UUID] = mapped_column(ForeignKey("episode.id"))
    agent_id: Mapped[UUID]
    position: Mapped[int]
    kind: Mapped[str]
    speaker: Mapped[str]
    ref: Mapped[str]
    text: Mapped[str]
    at: Mapped[datetime]
    lexemes: Mapped[str] = mapped_column(TSVECTOR, deferred=True)
    terms: Mapped[int]


class Tally(Base):
    """How much of an agent's memory lies in a tier. `terms`: words that count in lexical search. `bytes`: what the
    texts take there, packed or not."""

    __tablename__ = "episode_tally"

    agent_id: Mapped[UUID] = mapped_column(primary_key=True)
    storage_tier: Mapped[str] = mapped_column(primary_key=True)
    episodes: Mapped[BigInt]
    segments: Mapped[BigInt]
    terms: Mapped[BigInt]
    bytes: Mapped[BigInt]


class Unembedded(Base):
    """A segment without a vector of the present model, and until when a worker has it in hand."""

    __tablename__ = "episode_unembedded"

    segment_id: Mapped[UUID] = mapped_column(ForeignKey("episode_segment.id"), primary_key=True)
    leased_until: Mapped[datetime]
    attempts: Mapped[int]


class MemoryPolicy(Base):
    """What is different for one agent. None: as in the settings, or without end."""

    __tablename__ = "memory_policy"

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"), primary_key=True)
    decay_days: Mapped[int | None]
    retention_days: Mapped[int | None]
    legal_hold: Mapped[bool]
    hold_reason: Mapped[str | None]
    changed_by: Mapped[str]
    changed_at: Mapped[datetime]


class Tombstone(Base):
    """That there was an episode, and who had it forgotten."""

    __tablename__ = "episode_tombstone"

    episode_id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agent.id"))
    execution_id: Mapped[UUID | None]
    source: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    segments: Mapped[int]
    bytes: Mapped[BigInt]
    reason: Mapped[str]
    forgotten_by: Mapped[str]
    forgotten_at: Mapped[datetime]
    cold_object_id: Mapped[UUID | None]


class JobRun(Base):
    """One run of a kind of work on memory. `whole`: of everybody's memory, not of an agent's or of some episodes."""

    __tablename__ = "memory_job_run"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    whole: Mapped[bool]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    report: Mapped[dict[str, Any]]


class ColdLease(Leased, Base):
    """One row: who may write to the cold store."""

    __tablename__ = "cold_lease"

    id: Mapped[UUID] = mapped_column(primary_key=True)


class ColdObject(Base):
    """An object of the cold store, on record before it is written."""

    __tablename__ = "cold_object"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    path: Mapped[str]
    state: Mapped[str]
    size: Mapped[BigInt]
    sha256: Mapped[bytes]
    forgotten: Mapped[int]
    created_at: Mapped[datetime]
    state_changed_at: Mapped[datetime]


class ColdBody(Base):
    """Where the body of a cold episode lies, and the only copy of the key that opens it."""

    __tablename__ = "episode_cold"

    episode_id: Mapped[UUID] = mapped_column(ForeignKey("episode.id"), primary_key=True)
    object_id: Mapped[UUID] = mapped_column(ForeignKey("cold_object.id"))
    start: Mapped[BigInt]
    size: Mapped[BigInt]
    key: Mapped[bytes]
    stored_sha256: Mapped[bytes]
    sha256: Mapped[bytes]
    unpacked: Mapped[BigInt]
