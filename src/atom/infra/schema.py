"""The schema: which revision this code needs, which one the database has, and the one way to bring it up."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import LockNotAvailable
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from atom.errors import ConflictError, UnavailableError
from atom.infra.db import KEEPALIVE

MIGRATIONS = Path(__file__).parent.parent / "migrations"
MIGRATION_LOCK = 0x41544F4D_0002
LOCK_WAIT_SECONDS = 60.0
TABLE_LOCK_SECONDS = 5  # a migration that waits for a table makes everybody else wait behind it
REASONS = {  # what PostgreSQL and libpq say, and what it means; the first that fits
    "password authentication failed": "The database refuses the user or its password.",
    "no password supplied": "The database asks for a password and none is given.",
    "no pg_hba.conf entry": "The server does not let this user in from here (pg_hba.conf).",
    "does not exist": "The server has no such database or role.",
    "could not translate": "The database host's name cannot be resolved.",
    "failed to resolve": "The database host's name cannot be resolved.",
    "connection refused": "Nothing listens at the database's host and port.",
    "statement timeout": "A statement took longer than the server allows (statement_timeout).",
    "timeout expired": "The database's host does not answer in time.",
    "timed out": "The database's host does not answer in time.",
    "starting up": "The database is starting up.",
    "shutting down": "The database is shutting down.",
    "connection slots": "The database has no free connection.",
    "too many clients": "The database has no free connection.",
    "certificate": "The server's certificate is not accepted (see sslmode and sslrootcert).",
    "support ssl": "The server and this client do not agree on encryption (see sslmode).",
}
log = structlog.get_logger(service="database")


class SchemaError(ConflictError):
    code = "schema_incompatible"


class MigrationError(UnavailableError):
    code = "migration_failed"
    retryable = False


@dataclass(frozen=True, slots=True)
class Migrated:
    """`before` is None for an empty database."""

    before: str | None
    after: str


def head() -> str:
    """The revision that this code was written for."""
    revision = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert revision is not None
    return revision


def migrate(url: URL, *, lock_wait: float = LOCK_WAIT_SECONDS) -> Migrated:
    """Bring the database to `head()`, one migrator in the cluster at a time. Never goes back.

    Raises SchemaError when the database is newer than this code, MigrationError when it cannot be reached, when a
    statement waits longer than 5 s for a lock (then nothing of that revision is applied), or when another process has
    been migrating for `lock_wait` seconds.
    """
    engine = create_engine(url, poolclass=NullPool, connect_args=_connect_args(url))
    try:
        with engine.connect() as connection:
            _take_lock(connection, lock_wait)
            return _upgrade(connection)
    except (DBAPIError, psycopg.Error) as error:  # revisions also speak to the driver itself
        raise _translated(error.orig if isinstance(error, DBAPIError) else error) from error
    finally:
        engine.dispose()


def _connect_args(url: URL) -> dict[str, Any]:
    """What the URL says itself wins; the bound on locks is there from the first statement."""
    ours = {"connect_timeout": 5, "application_name": "atom-migrate", **KEEPALIVE}
    options = f"-c lock_timeout={TABLE_LOCK_SECONDS}s {url.query.get('options', '')}"
    return {key: value for key, value in ours.items() if key not in url.query} | {"options": options}


def _upgrade(connection: Connection) -> Migrated:
    before = MigrationContext.configure(connection).get_current_revision()
    target = head()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    if before is not None and before not in known:
        raise SchemaError(
            f"The database has schema {before}, this Atom knows schemas up to {target}.",
            hint="Run the newer Atom, or restore the backup that was taken before its upgrade.",
        )
    if before != target:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        log.info("database.migrated", before=before, after=target)
    return Migrated(before, target)


def _take_lock(connection: Connection, wait: float) -> None:
    """A session lock, released when the connection closes, however that happens."""
    deadline = time.monotonic() + wait
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}):
        if time.monotonic() > deadline:
            raise MigrationError(
                f"Another process has been migrating this database for {wait:g} s.",
                hint="Wait for it, then run it again.",
            )
        time.sleep(0.2)
    connection.commit()


def _translated(driver: BaseException | None) -> MigrationError:
    """What went wrong in words of ours: the driver's text may name hosts and users."""
    if not isinstance(driver, psycopg.OperationalError):
        return MigrationError(
            f"A migration was refused by the server ({type(driver).__name__}); it was rolled back.",
            hint="The server's log has the statement.",
        )
    said = str(driver).lower()
    reason = next((text for part, text in REASONS.items() if part in said), "The database cannot be reached.")
    if isinstance(driver, LockNotAvailable):
        reason = f"A table is in use for longer than {TABLE_LOCK_SECONDS} s."
    return MigrationError(reason, hint="Nothing was left half done. Check DATABASE_URL and run it again.")
