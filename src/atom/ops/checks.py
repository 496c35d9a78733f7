"""Checks as data: what is probed, whether it decides readiness, and the probe itself."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from atom.errors import AtomError, UnavailableError
from atom.infra.outage import Outage
from atom.infra.redis import RedisAddress, parse_redis_url, ping
from atom.infra.schema import head
from atom.llm.choice import Choice
from atom.settings import DatabaseSettings, Provider, RedisSettings

log = structlog.get_logger(service="doctor")
WORKER_ALIVE_SECONDS = 60.0
ANSWER_SECONDS = 1.5
CANCEL_SECONDS = 0.5
PROBE_POOL = DatabaseSettings(pool_size=2, max_overflow=2, pool_timeout=1.0, connect_timeout=2)


UNANSWERED = (DBAPIError, PoolTimeoutError, OSError, TimeoutError)


class Health(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    DISABLED = "disabled"


Probe = Callable[[], Awaitable[Health]]


@dataclass(frozen=True, slots=True)
class Check:
    """`critical`: when it is unhealthy, this process must get no traffic. `awaited`: who starts waits for it.

    A probe that does not end is unhealthy.
    """

    id: str
    probe: Probe
    critical: bool = False
    awaited: bool = False


def database_check(engine: AsyncEngine, outage: Outage) -> Check:
    """`engine` is the probes' own small pool: a full pool of the requests must not look like a dead database."""

    async def probe() -> Health:
        try:
            await _ask(engine, text("SELECT 1"))
        except UNANSWERED as error:
            outage.began(error)
            return Health.UNHEALTHY
        outage.ended()
        return Health.HEALTHY

    return Check("database", probe, critical=True, awaited=True)


def schema_check(engine: AsyncEngine, head: str) -> Check:
    async def probe() -> Health:
        try:
            found = await _ask(engine, text("SELECT version_num FROM alembic_version"))
        except UNANSWERED:
            return Health.UNHEALTHY
        return Health.HEALTHY if found == head else Health.UNHEALTHY

    return Check("schema", probe, critical=True, awaited=True)


def workers_check(engine: AsyncEngine) -> Check:
    """Whether any process of the cluster works on runs, and nobody has halted them."""
    query = text(
        "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => :seconds)"
        " AND NOT EXISTS (SELECT 1 FROM halt)"
    )

    async def probe() -> Health:
        try:
            count = await _ask(engine, query, seconds=WORKER_ALIVE_SECONDS)
        except UNANSWERED:
            return Health.UNHEALTHY
        return Health.HEALTHY if count else Health.DEGRADED

    return Check("workers", probe)


async def _ask(engine: AsyncEngine, query: TextClause, **parameters: object) -> object:
    """One value, or one of UNANSWERED in time: the driver takes 10 s to give up a server that hangs."""

    async def ask() -> object:
        async with engine.connect() as connection:
            return await connection.scalar(query, parameters)

    asking = asyncio.create_task(ask())
    asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may be left to hear of it
    try:
        answered, _ = await asyncio.wait({asking}, timeout=ANSWER_SECONDS)
    except asyncio.CancelledError:
        asking.cancel()
        await asyncio.wait({asking}, timeout=CANCEL_SECONDS)  # a connection that is half made keeps the server waiting
        raise
    if not answered:
        asking.cancel()
        raise TimeoutError
    return asking.result()


def redis_check(address: RedisAddress | None, timeout: float) -> Check:
    async def probe() -> Health:
        if address is None:
            return Health.DISABLED
        try:
            await ping(address, timeout)
        except UnavailableError:
            return Health.DEGRADED
        return Health.HEALTHY

    return Check("redis", probe)


def llm_check(
    choose: Callable[[], Choice], missing: Callable[[], str | None], away: Callable[[], bool] = lambda: False
) -> Check:
    """Whether a model can answer: the preferred one's key or the local weights are there, and not every route is left
    alone after failures (`away`). No provider is called.
    """

    async def probe() -> Health:
        try:
            chosen = choose()
            if away():
                return Health.DEGRADED
        except AtomError:
            return Health.DEGRADED
        if chosen.provider is Provider.LOCAL and await asyncio.to_thread(missing) is not None:
            return Health.DEGRADED
        return Health.HEALTHY

    return Check("llm", probe)


def standard_checks(
    engine: AsyncEngine, outage: Outage, redis: RedisSettings, *, llm: Check, sandbox: Check, vault: Check
) -> tuple[Check, ...]:
    """The checks of `/health/ready`. `engine` is the probes' own pool; `outage` is told once, whoever finds it."""
    address = parse_redis_url(redis.url) if redis.url else None
    return (
        database_check(engine, outage),
        schema_check(engine, head()),
        redis_check(address, redis.timeout),
        llm,
        sandbox,
        workers_check(engine),
        vault,
    )
