"""Tables of policies."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base, BigInt


class Policy(Base):
    """One version: never changed. `source` is the YAML as it was applied; null in the version that removes it."""

    __tablename__ = "policy"

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str | None]
    document: Mapped[dict[str, Any] | None]
    applied_by: Mapped[str]
    applied_at: Mapped[datetime]


class PolicyEpoch(Base):
    """One row that changes with every policy."""

    __tablename__ = "policy_epoch"

    single: Mapped[bool] = mapped_column(primary_key=True)
    version: Mapped[BigInt]
