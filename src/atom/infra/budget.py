"""The connection budget: all pools of all replicas must fit into the server's max_connections."""

from dataclasses import dataclass

import psycopg
import structlog
from sqlalchemy import URL

from atom.errors import ConflictError
from atom.infra.database_url import libpq
from atom.settings import DatabaseSettings

BESIDE_THE_POOL = 11  # of one process: queue 6, health 4, LISTEN 1
RESERVE = 5  # for migrations, psql and the doctor
LEAST_POOL = 2
log = structlog.get_logger(service="database")


class ConnectionBudgetError(ConflictError):
    code = "connection_budget"


@dataclass(frozen=True, slots=True)
class Budget:
    """`wanted` connections of all processes, of `available` ones."""

    wanted: int
    available: int
    replicas: int

    @property
    def fits(self) -> bool:
        return self.wanted <= self.available


def budget(settings: DatabaseSettings, max_connections: int) -> Budget:
    """replicas x (pool + overflow + what a process needs beside) + reserve, against max_connections. Pure."""
    each = settings.pool_size + settings.max_overflow + BESIDE_THE_POOL
    return Budget(settings.replicas * each + RESERVE, max_connections, settings.replicas)


def shrunk(settings: DatabaseSettings, max_connections: int) -> DatabaseSettings:
    """The largest pool that fits, overflow given up first; a pool of 2 is always left. Pure."""
    each = (max_connections - RESERVE) // settings.replicas - BESIDE_THE_POOL
    pool = min(settings.pool_size, max(LEAST_POOL, each))
    return settings.model_copy(
        update={"pool_size": pool, "max_overflow": max(0, min(settings.max_overflow, each - pool))}
    )


def fit(settings: DatabaseSettings, direct: URL) -> DatabaseSettings:
    """Settings whose pool fits the server. Raises ConnectionBudgetError where `database.budget` is `refuse`.

    A server that does not answer now changes nothing: this process starts, is not ready, and waits for it.
    """
    try:
        with psycopg.connect(libpq(direct), connect_timeout=settings.connect_timeout) as connection:
            row = connection.execute(
                "SELECT current_setting('max_connections')::int"
                " - current_setting('superuser_reserved_connections')::int"
                " - coalesce(current_setting('reserved_connections', true), '0')::int"
            ).fetchone()
    except psycopg.Error as error:
        log.warning("database.budget_unknown", error_type=type(error).__name__)
        return settings
    assert row is not None
    found = budget(settings, int(row[0]))
    if found.fits:
        return settings
    said = f"{found.replicas} replicas want {found.wanted} database connections, the server has {found.available}."
    if settings.budget == "refuse":
        raise ConnectionBudgetError(
            said, hint="Lower ATOM_DATABASE__POOL_SIZE, raise max_connections, or put PgBouncer in between."
        )
    smaller = shrunk(settings, found.available)
    enough = budget(smaller, found.available).fits
    log.warning(
        "database.pool_shrunk",
        reason=said,
        pool_size=smaller.pool_size,
        max_overflow=smaller.max_overflow,
        enough=enough,
    )
    return smaller
