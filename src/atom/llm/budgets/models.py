"""Limits, what was used of them, and what calls in progress have reserved."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base


class Scope(StrEnum):
    DEPLOYMENT = "deployment"
    AGENT = "agent"
    KEY = "key"


class Unit(StrEnum):
    TOKENS = "tokens"
    USD = "usd"


class Window(StrEnum):
    """Of each run, of a day or a month (UTC)."""

    RUN = "run"
    DAY = "day"
    MONTH = "month"


class BudgetRow(Base):
    """`subject` is an agent's or a key's id; null for the deployment."""

    __tablename__ = "budget"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    scope: Mapped[str]
    subject: Mapped[UUID | None]
    unit: Mapped[str]
    window_kind: Mapped[str]
    amount: Mapped[Decimal]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class BudgetUse(Base):
    __tablename__ = "budget_use"

    budget_id: Mapped[UUID] = mapped_column(primary_key=True)
    window_key: Mapped[str] = mapped_column(primary_key=True)
    used: Mapped[Decimal]
    reserved: Mapped[Decimal]
