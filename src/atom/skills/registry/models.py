"""Tables of skills."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base, BigInt


class Status(StrEnum):
    """Where a version stands. Only what is `active` is used; `retired` is the end."""

    QUARANTINED = "quarantined"
    APPROVED = "approved"
    ACTIVE = "active"
    DISABLED = "disabled"
    RETIRED = "retired"


class Skill(Base):
    """A name, the version in use, and who may use it. `agents` None: all of them. `highest_risk`: 1 to 4."""

    __tablename__ = "skill"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    current_id: Mapped[UUID | None]
    agents: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    lowest_maturity: Mapped[str]
    highest_risk: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class SkillVersion(Base):
    """One content. Everything up to `imported_at` is never changed: the database refuses it.

    `body` is read only where it is asked for by name. `blocking`: findings that stand in the way of an approval.
    """

    __tablename__ = "skill_version"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    skill_id: Mapped[UUID] = mapped_column(ForeignKey("skill.id"))
    number: Mapped[int]
    digest: Mapped[str]
    body: Mapped[bytes] = mapped_column(deferred=True, deferred_raiseload=True)
    body_sha256: Mapped[bytes]
    unpacked: Mapped[BigInt]
    form: Mapped[str]
    manifest: Mapped[str]
    files: Mapped[list[Any]]
    description: Mapped[str]
    frontmatter: Mapped[dict[str, Any]]
    findings: Mapped[list[Any]]
    counts: Mapped[dict[str, Any]]
    blocking: Mapped[int]
    capabilities: Mapped[dict[str, Any]]
    capabilities_digest: Mapped[str]
    risk: Mapped[int]
    status: Mapped[str]
    imported_by: Mapped[str]
    imported_at: Mapped[datetime]
    consented: Mapped[bool]
    approved_by: Mapped[str | None]
    approved_at: Mapped[datetime | None]
    disabled_by: Mapped[str | None]
    disabled_at: Mapped[datetime | None]
    reason: Mapped[str]
