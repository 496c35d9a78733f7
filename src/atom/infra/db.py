"""The database: one async engine for a process, one short transaction for a request or a step."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import psycopg
from sqlalchemy import URL, BigInteger, DateTime, Text, Uuid, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, mapped_column

from atom.errors import UnavailableError
from atom.infra.db_faults import (
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    PoolExhaustedError,
    SchemaMissingError,
    fault,
    read_only,
)
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import Outage, Repeated
from atom.settings import DatabaseSettings

__all__ = [
    "Base", "BigInt", "DatabaseBusyError", "DatabaseFullError", "DatabaseReadOnlyError", "DatabaseUnavailableError",
    "PoolExhaustedError", "SchemaMissingError", "Sessions", "after_commit", "create_engine", "create_sessions",
    "unit_of_work", "with_retry",
]  # fmt: skip

type_map = {
    str: Text(),
    datetime: DateTime(timezone=True),
    UUID: Uuid(),
    dict[str, Any]: JSONB(),
    list[Any]: JSONB(),
}
BigInt = Annotated[int, mapped_column(BigInteger)]  # of a bigint column: a plain int is sent as int4 and overflows
T = TypeVar("T")
Sessions = async_sessionmaker[AsyncSession]
UNIT_SECONDS = 60.0
CLOSE_SECONDS = 5.0  # for a rollback; a connection that does not answer in that time is thrown away
# A process that is stopped (SIGSTOP, a frozen machine) inside a transaction keeps its locks until the server ends it.
# What the whole cluster takes turns in is let go sooner than a row.
TAKE_TURN = text("SELECT set_config('idle_in_transaction_session_timeout', '3000', true), pg_advisory_xact_lock(:lock)")
TRY_TURN = text(
    "SELECT pg_try_advisory_xact_lock(:lock), set_config('idle_in_transaction_session_timeout', '3000', true)"
)
# A peer that vanished without a word (firewall, power) is found in half a minute, not in the two hours of the kernel.
KEEPALIVE: Mapping[str, Any] = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class Base(DeclarativeBase):
    """Every table of Atom. Column types follow from the annotation: times are timestamptz, documents are jsonb."""

    type_annotation_map = type_map


def create_engine(url: URL, settings: DatabaseSettings, *, name: str = "atom") -> AsyncEngine:
    """An engine whose pool checks a connection before it hands it out, so that a killed one costs no request."""
    engine = create_async_engine(
        url,
        pool_size=settings.pool_size,
        max_overflow=settings.max_overflow,
        pool_timeout=settings.pool_timeout,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args=_connect_args(url, settings, name),
        hide_parameters=True,  # they are people's texts and hashes of keys, and an error's text ends in a log
    )
    event.listen(engine.sync_engine, "handle_error", _leave_standby)
    return engine


def _connect_args(url: URL, settings: DatabaseSettings, name: str) -> dict[str, Any]:
    """What the URL says itself wins."""
    ours: dict[str, Any] = {"connect_timeout": settings.connect_timeout, "application_name": name, **KEEPALIVE}
    found = {key: value for key, value in ours.items() if key not in url.query} | {"async_creator_fn": _connect}
    if settings.prepared_statements:
        found["options"] = (
            f"-c statement_timeout={int(settings.statement_timeout * 1000)}"
            f" -c idle_in_transaction_session_timeout={int(settings.idle_in_transaction_timeout * 1000)}"
            f" -c timezone=UTC {url.query.get('options', '')}"
        )
    else:  # PgBouncer in transaction mode keeps no session: neither prepared statements nor startup options
        found["prepare_threshold"] = None
    return found


async def _connect(*args: Any, **words: Any) -> psycopg.AsyncConnection[Any]:
    """A login goes on to its end though its task is cancelled: cut off half way, it holds a slot of the server for as
    long as a minute (authentication_timeout)."""
    login = asyncio.create_task(psycopg.AsyncConnection.connect(*args, **words))
    try:
        return await asyncio.shield(login)
    except asyncio.CancelledError:
        login.add_done_callback(_hang_up)
        raise


def _hang_up(login: "asyncio.Task[psycopg.AsyncConnection[Any]]") -> None:
    if not login.cancelled() and login.exception() is None:
        login.result().pgconn.finish()


def _leave_standby(context: ExceptionContext) -> None:
    """After a failover the pool still holds connections to the old primary: drop them all, the next are to the new."""
    if read_only(context.original_exception):
        context.is_disconnect = True


async def take_turn(session: AsyncSession, lock: int) -> None:
    """Waits for the cluster's `lock`, held until the transaction ends and let go soon when its process is stopped."""
    await session.execute(TAKE_TURN, {"lock": lock})


async def mine_now(session: AsyncSession, lock: int) -> bool:
    """Whether this transaction got the cluster's `lock`, for work that one process does at a time."""
    return bool(await session.scalar(TRY_TURN, {"lock": lock}))


@dataclass(frozen=True, slots=True)
class Watch:
    """What a unit of work is bounded by, and where its failures are told and counted."""

    outage: Outage
    repeated: Repeated
    metrics: DatabaseMetrics
    seconds: float

    def refusal(self, error: BaseException) -> DatabaseUnavailableError | None:
        found = fault(error)
        if found is None:
            return None
        if type(found) is DatabaseUnavailableError:
            self.metrics.errors.labels(kind="connection").inc()
            self.outage.began(error)
        else:
            self.metrics.errors.labels(kind=found.code).inc()
            self.repeated.warn("database.refused", found.code, error)
        return found

    def exhausted(self, error: PoolTimeoutError) -> PoolExhaustedError:
        self.metrics.errors.labels(kind=PoolExhaustedError.code).inc()
        self.repeated.warn("database.pool_exhausted", PoolExhaustedError.code, error)
        return PoolExhaustedError("All database connections are in use.", hint="Try again shortly.")


def create_sessions(
    engine: AsyncEngine, outage: Outage, metrics: DatabaseMetrics, *, seconds: float = UNIT_SECONDS
) -> Sessions:
    """`seconds` bounds one unit of work, a server that hangs included."""
    info = {"watch": Watch(outage, Repeated("database"), metrics, seconds)}
    return async_sessionmaker(engine, expire_on_commit=False, autoflush=False, info=info)


@asynccontextmanager
async def unit_of_work(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """One transaction: committed at the end, rolled back on any way out, cancellation included.

    Raises DatabaseUnavailableError and PoolExhaustedError in place of the driver's errors. Never await a model, a tool
    or any other network call inside it.
    """
    session = sessions()
    watch: Watch = session.info["watch"]
    limit = asyncio.timeout(watch.seconds)
    try:
        async with limit:
            with watch.metrics.pool_wait.time():
                await session.connection()
            yield session
            await session.commit()
        watch.outage.ended()
        for callback in session.info.pop("after_commit", []):
            callback()
    except PoolTimeoutError as error:
        raise watch.exhausted(error) from error
    except (DBAPIError, psycopg.Error, TimeoutError) as error:
        own = isinstance(error, TimeoutError) and not limit.expired()  # a bound of the caller
        refusal = None if own else watch.refusal(error)
        if refusal is None:
            raise
        raise refusal from error
    finally:
        await _to_the_end(_close(session))


def after_commit(session: AsyncSession, callback: Callable[[], None]) -> None:
    """Run `callback` (quick, must not raise) once the transaction is durable; never when it is rolled back."""
    session.info.setdefault("after_commit", []).append(callback)


async def _close(session: AsyncSession) -> None:
    """Nothing goes back into the pool with an open transaction."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await session.rollback()
            await session.close()
    except (DBAPIError, psycopg.Error, TimeoutError):  # the connection is gone, and its transaction with it
        await session.invalidate()


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await it whole, even when this task is cancelled meanwhile; the cancellation is raised then."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


async def with_retry(call: Callable[[], Awaitable[T]], *, attempts: int, first_delay: float = 0.2) -> T:
    """`call` again while the database is away, with doubling delays; the last failure is raised."""
    delay = first_delay
    for attempt in range(attempts):
        try:
            return await call()
        except UnavailableError as error:
            if not error.retryable or attempt + 1 == attempts:
                raise
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, 5.0)
    raise AssertionError("attempts is at least 1")
