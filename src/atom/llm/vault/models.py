"""Which key-encryption keys were ever in use."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base


class VaultKek(Base):
    """`canary` is an envelope under this key: what it holds is the same in every row, and makes the fingerprints."""

    __tablename__ = "vault_kek"

    kek_id: Mapped[str] = mapped_column(primary_key=True)
    canary: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
