"""The table of the chain. An entry's link is written by the database, at the commit of the entry."""

from uuid import UUID

from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base, BigInt


class AuditLink(Base):
    """The place of an entry in the chain. Rows are only ever added, and by nobody but the entry's own trigger."""

    __tablename__ = "audit_link"

    seq: Mapped[BigInt] = mapped_column(primary_key=True)
    entry_id: Mapped[UUID]
    prev_hash: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
