"""What the database's refusals mean to a caller: away, busy, full, read-only, or without this Atom's schema.

All of them are passing from the caller's side: nothing was done, the same call may work later. An error of the caller
itself (a row that exists already, a value that does not fit) is none of them and stays what it is.
"""

import psycopg
from sqlalchemy.exc import DBAPIError

from atom.errors import UnavailableError

NO_CONNECTION = frozenset({"28P01", "28000", "3D000"})  # password, role, database: wrong or gone
NO_CONNECTION_CLASSES = frozenset({"08", "53", "57"})  # connection, resources, operator intervention
LOST = frozenset(
    {"OperationalError", "InterfaceError", "ConnectionTimeout", "PoolTimeout"}
)  # said by the driver itself
AGAIN = "Try again shortly."


class DatabaseUnavailableError(UnavailableError):
    """Nothing of the transaction is stored, or (cut in the commit) its outcome is not known."""

    code = "database_unavailable"


class DatabaseBusyError(DatabaseUnavailableError):
    """A statement took too long, or two transactions waited for each other."""

    code = "database_busy"


class DatabaseFullError(DatabaseUnavailableError):
    code = "database_full"


class DatabaseReadOnlyError(DatabaseUnavailableError):
    code = "database_read_only"


class SchemaMissingError(DatabaseUnavailableError):
    code = "schema_incompatible"


class PoolExhaustedError(UnavailableError):
    code = "database_pool_exhausted"


BUSY = DatabaseBusyError, "The database did not finish this in time.", AGAIN
FULL = DatabaseFullError, "The database's disk is full.", "Free space on the database's volume."
READ_ONLY = DatabaseReadOnlyError, "The database takes no writes now; it may be a standby.", AGAIN
NO_SCHEMA = SchemaMissingError, "The database lacks a table or column of this Atom.", "Run `atom migrate`."
BY_STATE = {
    "40001": BUSY, "40P01": BUSY, "55P03": BUSY, "57014": BUSY,
    "53100": FULL, "25006": READ_ONLY,
    "42P01": NO_SCHEMA, "42703": NO_SCHEMA, "42883": NO_SCHEMA,
}  # fmt: skip


def fault(error: BaseException) -> DatabaseUnavailableError | None:
    """What the driver's `error` means to a caller; None when it is the caller's own. Never the driver's words."""
    driver = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(driver, "sqlstate", None)
    kind, message, hint = BY_STATE.get(state or "", (DatabaseUnavailableError, "The database does not answer.", AGAIN))
    if kind is DatabaseUnavailableError and not _is_lost(error, driver, state):
        return None
    return kind(message, hint=hint)


def read_only(error: BaseException) -> bool:
    return getattr(error, "sqlstate", None) == "25006"


def _is_lost(error: BaseException, driver: BaseException | None, state: str | None) -> bool:
    """Connection loss, refusal and shutdown; not a statement that the server understood and refused."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(driver, TimeoutError):
        return True
    if state is None:
        return isinstance(driver, psycopg.Error) and type(driver).__name__ in LOST
    return state in NO_CONNECTION or state[:2] in NO_CONNECTION_CLASSES
