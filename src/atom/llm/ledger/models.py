"""The ledger's table."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base, BigInt


class LlmCall(Base):
    """One attempt: who was asked, what it used, what it cost, how it ended. Null is unknown, which is not zero."""

    __tablename__ = "llm_call"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    execution_id: Mapped[UUID | None]
    step_key: Mapped[str | None]
    agent_id: Mapped[UUID | None]
    attempt: Mapped[int]
    provider: Mapped[str]
    model: Mapped[str]
    key_id: Mapped[UUID | None]
    outcome: Mapped[str]
    error_class: Mapped[str | None]
    input_tokens: Mapped[BigInt | None]
    output_tokens: Mapped[BigInt | None]
    cached_tokens: Mapped[BigInt | None]
    cost_usd: Mapped[Decimal | None]
    seconds: Mapped[float]
    first_token_seconds: Mapped[float | None]
    request_id: Mapped[str | None]
    cache_hit: Mapped[bool]
    at: Mapped[datetime]
