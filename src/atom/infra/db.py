"""The database: one async engine for a process, one short transaction for a request or a step."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import URL, DateTime, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from atom.errors import UnavailableError
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import Outage
from atom.settings import DatabaseSettings

type_map = {datetime: DateTime(timezone=True), UUID: Uuid(), dict[str, Any]: JSONB(), list[Any]: JSONB()}
T = TypeVar("T")
Sessions = async_sessionmaker[AsyncSession]
IDLE_IN_TRANSACTION_SECONDS = 30  # longer than any of our transactions; a leaked one must not hold its locks for ever


class Base(DeclarativeBase):
    """Every table of Atom. Column types follow from the annotation: times are timestamptz, documents are jsonb."""

    type_annotation_map = type_map


class DatabaseUnavailableError(UnavailableError):
    code = "database_unavailable"


class PoolExhaustedError(UnavailableError):
    code = "database_pool_exhausted"


def create_engine(url: URL, settings: DatabaseSettings, *, name: str = "atom") -> AsyncEngine:
    """An engine whose pool checks a connection before it hands it out, so that a killed one costs no request."""
    arguments: dict[str, Any] = {"connect_timeout": settings.connect_timeout, "application_name": name}
    if settings.prepared_statements:
        arguments["options"] = (
            f"-c statement_timeout={int(settings.statement_timeout * 1000)}"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS * 1000} -c timezone=UTC"
        )
    else:  # PgBouncer in transaction mode keeps no session: neither prepared statements nor startup options
        arguments["prepare_threshold"] = None
    return create_async_engine(
        url,
        pool_size=settings.pool_size,
        max_overflow=settings.max_overflow,
        pool_timeout=settings.pool_timeout,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args=arguments,
    )


def create_sessions(engine: AsyncEngine, outage: Outage, metrics: DatabaseMetrics) -> Sessions:
    info = {"outage": outage, "metrics": metrics}
    return async_sessionmaker(engine, expire_on_commit=False, autoflush=False, info=info)


@asynccontextmanager
async def unit_of_work(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """One transaction: committed at the end, rolled back on any way out, cancellation included.

    Raises DatabaseUnavailableError and PoolExhaustedError in place of the driver's errors. Never await a model, a tool
    or any other network call inside it.
    """
    session = sessions()
    outage: Outage = session.info["outage"]
    metrics: DatabaseMetrics = session.info["metrics"]
    try:
        with metrics.pool_wait.time():
            await session.connection()
        yield session
        await session.commit()
        outage.ended()
    except PoolTimeoutError as error:
        metrics.errors.labels(kind="pool_exhausted").inc()
        await _rollback(session)
        raise PoolExhaustedError("All database connections are in use.", hint="Try again shortly.") from error
    except DBAPIError as error:
        await _rollback(session)
        if not _is_outage(error):
            raise
        metrics.errors.labels(kind="connection").inc()
        outage.began(error)
        raise DatabaseUnavailableError("The database does not answer.", hint="Try again shortly.") from error
    except BaseException:
        await _rollback(session)
        raise
    finally:
        await asyncio.shield(session.close())
    for callback in session.info.pop("after_commit", []):
        callback()


def after_commit(session: AsyncSession, callback: Callable[[], None]) -> None:
    """Run `callback` (quick, must not raise) once the transaction is durable; never when it is rolled back."""
    session.info.setdefault("after_commit", []).append(callback)


async def _rollback(session: AsyncSession) -> None:
    """A cancelled task must not hand back a connection with an open transaction."""
    try:
        await asyncio.shield(session.rollback())
    except DBAPIError:  # the connection is gone, and its transaction with it
        await asyncio.shield(session.invalidate())


def _is_outage(error: DBAPIError) -> bool:
    """Connection loss, refusal and shutdown; not a statement that the server understood and refused."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return type(error.orig).__name__ in {"OperationalError", "InterfaceError", "ConnectionTimeout"}
    return state[:2] in {"08", "53", "57"} or state in {"25006", "28P01", "3D000"}


async def with_retry(call: Callable[[], Awaitable[T]], *, attempts: int, first_delay: float = 0.2) -> T:
    """`call` again while the database is away, with doubling delays; the last failure is raised."""
    delay = first_delay
    for attempt in range(attempts):
        try:
            return await call()
        except UnavailableError:
            if attempt + 1 == attempts:
                raise
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5.0)
    raise AssertionError("attempts is at least 1")
