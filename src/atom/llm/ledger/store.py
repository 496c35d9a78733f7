"""SQL of the ledger."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Table, Text, case, func, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.llm.ledger.models import LlmCall

TABLE = cast(Table, LlmCall.__table__)
ADD = pg_insert(TABLE).on_conflict_do_nothing(index_elements=["id"])  # built once: it is part of every step


class GroupBy(StrEnum):
    """What usage is added up by."""

    DAY = "day"
    AGENT = "agent"
    MODEL = "model"
    KEY = "key"


GROUPS: dict[GroupBy, ColumnElement[str]] = {
    GroupBy.DAY: func.to_char(func.timezone("UTC", LlmCall.at), "YYYY-MM-DD"),
    GroupBy.AGENT: func.coalesce(sql_cast(LlmCall.agent_id, Text), ""),
    GroupBy.MODEL: LlmCall.provider + "/" + LlmCall.model,
    GroupBy.KEY: func.coalesce(sql_cast(LlmCall.key_id, Text), ""),
}


async def add(session: AsyncSession, values: dict[str, Any]) -> None:
    """An attempt. One that is on record already stays as it is."""
    await session.execute(ADD, values)


async def usage(session: AsyncSession, by: GroupBy, *, since: datetime, until: datetime, limit: int) -> Sequence[Any]:
    """Sums by group, the most expensive first (days: the latest)."""
    group = GROUPS[by]
    hits = func.count().filter(LlmCall.cache_hit)
    query = (
        select(
            group.label("group"),
            func.count().label("calls"),
            func.count().filter(LlmCall.outcome != "ok").label("failed"),
            hits.label("cache_hits"),
            func.sum(LlmCall.input_tokens).label("input_tokens"),
            func.sum(LlmCall.output_tokens).label("output_tokens"),
            func.sum(LlmCall.cached_tokens).label("cached_tokens"),
            func.sum(LlmCall.cost_usd).label("cost_usd"),
            func.count().filter(LlmCall.cost_usd.is_(None)).label("unpriced"),
            func.avg(case((LlmCall.outcome == "ok", LlmCall.seconds))).label("seconds"),
        )
        .where(LlmCall.at >= since, LlmCall.at < until)
        .group_by(group)
        .limit(limit)
    )
    order = group.desc() if by is GroupBy.DAY else func.sum(LlmCall.cost_usd).desc().nulls_last()
    return (await session.execute(query.order_by(order, group))).all()


async def of_run(session: AsyncSession, run_id: UUID, *, after: UUID | None, limit: int) -> Sequence[LlmCall]:
    query = select(LlmCall).where(LlmCall.execution_id == run_id).order_by(LlmCall.id).limit(limit)
    if after is not None:
        query = query.where(LlmCall.id > after)
    return (await session.scalars(query)).all()


async def spent(
    session: AsyncSession, *, run_id: UUID | None, agent_id: UUID | None, since: datetime | None
) -> tuple[Decimal, int]:
    """Dollars of the calls of a run, of an agent or of all, and how many that were made have no known price."""
    made = LlmCall.outcome.in_(("ok", "aborted", "unknown"))
    unpriced = func.count().filter(LlmCall.cost_usd.is_(None) & made)
    query = select(func.coalesce(func.sum(LlmCall.cost_usd), 0), unpriced)
    if run_id is not None:
        query = query.where(LlmCall.execution_id == run_id)
    if agent_id is not None:
        query = query.where(LlmCall.agent_id == agent_id)
    if since is not None:
        query = query.where(LlmCall.at >= since)
    row = (await session.execute(query)).one()
    return row[0] or Decimal(0), row[1]
