"""REST: what models were used for and what it cost, and the response cache."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from atom.errors import InvalidError
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import Clock
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.llm.cache import ResponseCache
from atom.llm.ledger.models import LlmCall
from atom.llm.ledger.service import GroupBy, LedgerService

DAYS = 30
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class UsageGroupOut(BaseModel):
    group: str = Field(description="A day, provider/model, or the id of the agent or key (empty: none).")
    name: str | None = Field(description="What that agent or key is called.")
    calls: int
    failed: int
    cache_hits: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost_usd: Decimal | None = Field(description="Of the calls whose price is known.")
    unpriced: int = Field(description="Calls whose cost nobody knows.")
    seconds: float | None = Field(description="Of an answered call, on average.")


class UsageReport(BaseModel):
    by: GroupBy
    since: datetime
    until: datetime
    items: list[UsageGroupOut]
    more: bool = Field(description="There are more groups than `limit`; they are not in the list.")


class CallOut(BaseModel):
    id: UUID
    step: str | None
    attempt: int
    provider: str
    model: str
    key_id: UUID | None
    outcome: str
    error_class: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost_usd: Decimal | None
    seconds: float
    first_token_seconds: float | None
    cache_hit: bool
    at: datetime


class CallPage(BaseModel):
    items: list[CallOut]
    next: str | None


class CacheOut(BaseModel):
    place: str = Field(description="redis, process or off.")
    entries: int
    bytes: int
    max_bytes: int
    away: bool = Field(description="Redis is configured and does not answer: this process keeps its own meanwhile.")


class ClearedOut(BaseModel):
    cleared: int


def usage_routes(ledger: LedgerService, clock: Clock, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["models"], route_class=GuardedRoute)

    @router.get("/usage", dependencies=[Depends(guard.requires(Permission.MODELS_READ))])
    async def show_usage(
        by: GroupBy = GroupBy.MODEL,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    ) -> UsageReport:
        """Sums over every attempt, failed ones too, the dearest group first (days: the latest).

        Days are those of UTC, and so is a time without a zone. Without `since`: the 30 days before `until`.
        """
        begin, end = period(since, until, clock.now())
        async with unit_of_work(sessions) as session:
            found = await ledger.usage(session, by, since=begin, until=end, limit=limit + 1)
        items = [UsageGroupOut(**asdict(one)) for one in found[:limit]]
        return UsageReport(by=by, since=begin, until=end, items=items, more=len(found) > limit)

    @router.get("/runs/{run_id}/calls", dependencies=[Depends(guard.requires(Permission.RUNS_READ))])
    async def list_calls(
        run_id: UUID, limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100, after: str | None = None
    ) -> CallPage:
        """Every attempt at a model that a run made, the oldest first. Of an unknown run: none."""
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await ledger.of_run(session, run_id, after=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return CallPage(items=[_call(row) for row in page.items], next=page.next)

    return router


def cache_routes(cache: ResponseCache, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/cache", tags=["models"], route_class=GuardedRoute)

    @router.get("", dependencies=[Depends(guard.requires(Permission.MODELS_READ))])
    async def show_cache() -> CacheOut:
        return CacheOut(**asdict(await cache.stats()))

    @router.delete("", dependencies=[Depends(guard.requires(Permission.MODELS_ADMIN))])
    async def clear_cache() -> ClearedOut:
        """Every kept answer is dropped: those in Redis, or those of the process that is asked."""
        return ClearedOut(cleared=await cache.clear())

    return router


def period(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """In UTC. Raises InvalidError."""
    end = now if until is None else _utc("until", until)
    begin = end - timedelta(days=DAYS) if since is None else _utc("since", since)
    if begin >= end:
        raise InvalidError(
            "since: it is not before the end of the period.", hint="`until` is now unless it is given.", field="since"
        )
    return begin, end


def _utc(name: str, at: datetime) -> datetime:
    """Bounded: the ends of what a `datetime` holds are no dates at all in some zones."""
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not EARLIEST <= aware <= LATEST:
        raise InvalidError(f"{name}: it is too far away.", hint="Such as 2026-01-31T00:00:00Z.", field=name)
    return aware.astimezone(UTC)


def _call(row: LlmCall) -> CallOut:
    return CallOut(
        id=row.id,
        step=row.step_key,
        attempt=row.attempt,
        provider=row.provider,
        model=row.model,
        key_id=row.key_id,
        outcome=row.outcome,
        error_class=row.error_class,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cached_tokens=row.cached_tokens,
        cost_usd=row.cost_usd,
        seconds=row.seconds,
        first_token_seconds=row.first_token_seconds,
        cache_hit=row.cache_hit,
        at=row.at,
    )
