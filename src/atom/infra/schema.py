"""The schema: which revision this code needs, which one the database has, and the one way to bring it up."""

import time
from dataclasses import dataclass
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from atom.errors import ConflictError, UnavailableError

MIGRATIONS = Path(__file__).parent.parent / "migrations"
MIGRATION_LOCK = 0x41544F4D_0002
LOCK_WAIT_SECONDS = 60.0
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


def migrate(url: URL) -> Migrated:
    """Bring the database to `head()`, one migrator in the cluster at a time. Never goes back.

    Raises SchemaError when the database is newer than this code, MigrationError when it cannot be reached or a
    statement waits longer than 5 s for a lock (then nothing of that revision is applied).
    """
    engine = create_engine(
        url, poolclass=NullPool, connect_args={"connect_timeout": 5, "application_name": "atom-migrate"}
    )
    try:
        with engine.connect() as connection:
            _take_lock(connection)
            return _upgrade(connection)
    except OperationalError as error:
        raise MigrationError(
            _reason(error), hint="Nothing was changed. Check DATABASE_URL and run it again."
        ) from error
    except DBAPIError as error:
        raise MigrationError(
            f"A migration was refused by the server ({type(error.orig).__name__}); it was rolled back.",
            hint="The server's log has the statement.",
        ) from error
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> Migrated:
    before = MigrationContext.configure(connection).get_current_revision()
    target = head()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    if before is not None and before not in known:
        raise SchemaError(
            f"The database has schema {before}, this Atom knows schemas up to {target}.",
            hint="Run the newer Atom, or restore the backup that was taken before its upgrade.",
        )
    if before != target:
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        log.info("database.migrated", before=before, after=target)
    return Migrated(before, target)


def _take_lock(connection: Connection) -> None:
    """A session lock, released when the connection closes, however that happens."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}):
        if time.monotonic() > deadline:
            raise MigrationError(
                "Another process has been migrating this database for a minute.", hint="Wait for it, then run it again."
            )
        time.sleep(0.2)
    connection.commit()


def _reason(error: OperationalError) -> str:
    """What went wrong in words of ours: the driver's text may name hosts and users."""
    said = str(error.orig).lower()
    known = {
        "password authentication failed": "The database refuses the user or its password.",
        "does not exist": "The server has no such database or role.",
        "lock timeout": "A table is in use for longer than 5 s.",
        "no pg_hba.conf entry": "The server does not let this user in from here (pg_hba.conf).",
        "could not translate": "The database host's name cannot be resolved.",
        "failed to resolve": "The database host's name cannot be resolved.",
        "no password supplied": "The database asks for a password and none is given.",
    }
    return next((text for part, text in known.items() if part in said), "The database cannot be reached.")
