"""What a fresh cluster needs before Atom can use it: role, database, extensions. Each step looks before it acts, so a
start that was cut short is completed by the next one. Passwords travel as SCRAM verifiers: no log can hold them."""

from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from atom.infra.postgres_binaries import EXTENSIONS
from atom.infra.postgres_endpoint import DATABASE, OWNER, SUPERUSER, Credentials
from atom.infra.postgres_errors import UnsafeSettingError

CONNECT_SECONDS = 10
STATEMENT_OPTIONS = "-c statement_timeout=60s -c lock_timeout=20s"
MAINTENANCE_DATABASE = "postgres"


class PasswordRefusedError(Exception):
    """The server has other passwords than the password file."""


@dataclass(frozen=True, slots=True)
class Provisioner:
    """Connects through the socket, which only this account and root can reach."""

    socket_dir: Path
    port: int
    credentials: Credentials

    def provision(self) -> None:
        """Raises PasswordRefusedError when not even the superuser can enter, UnsafeSettingError for what is unsafe."""
        with self._enter(SUPERUSER, MAINTENANCE_DATABASE) as connection:
            self._ensure_role_and_database(connection)
        with self._enter(SUPERUSER, DATABASE) as connection:
            _ensure_extensions(connection)
        try:
            self._refuse_unsafe()
        except PasswordRefusedError:
            self.set_passwords(self.credentials.superuser)
            self._refuse_unsafe()

    def set_passwords(self, password: str | None) -> None:
        """Give both roles the passwords of the password file. `password` None: the server trusts this socket."""
        with self._connect(SUPERUSER, MAINTENANCE_DATABASE, password) as connection:
            for role in (SUPERUSER, OWNER):
                if _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
                    self._set_password(connection, role)

    def _ensure_role_and_database(self, connection: Connection[TupleRow]) -> None:
        if not _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", OWNER):
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(OWNER)))
            self._set_password(connection, OWNER)
        if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = %s", DATABASE):
            names = sql.Identifier(DATABASE), sql.Identifier(OWNER)
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))

    def _set_password(self, connection: Connection[TupleRow], role: str) -> None:
        password = self.credentials.of(role) or ""
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))

    def _refuse_unsafe(self) -> None:
        """A role or a database can carry settings too; the files were asked before the start."""
        with self._enter(OWNER, DATABASE) as connection:
            row = connection.execute(
                "SELECT setting, source FROM pg_settings WHERE name = 'synchronous_commit'"
            ).fetchone()
        if row is not None and row[0] == "off":
            raise UnsafeSettingError("synchronous_commit", "off", f"the settings of the {row[1]} {OWNER}")

    def _enter(self, user: str, database: str) -> Connection[TupleRow]:
        return self._connect(user, database, self.credentials.of(user))

    def _connect(self, user: str, database: str, password: str | None) -> Connection[TupleRow]:
        """Names all that the environment (PGHOSTADDR, PGOPTIONS, ...) could otherwise turn elsewhere."""
        try:
            return psycopg.connect(
                host=str(self.socket_dir),
                hostaddr="",
                port=self.port,
                user=user,
                dbname=database,
                password=password,
                connect_timeout=CONNECT_SECONDS,
                options=STATEMENT_OPTIONS,
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise PasswordRefusedError from None
            raise


def _ensure_extensions(connection: Connection[TupleRow]) -> None:
    for name in EXTENSIONS:
        row = connection.execute(
            "SELECT installed_version, default_version FROM pg_available_extensions WHERE name = %s", [name]
        ).fetchone()
        installed, offered = row if row is not None else (None, None)
        if installed is None:
            connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)))
        elif installed != offered:
            connection.execute(sql.SQL("ALTER EXTENSION {} UPDATE").format(sql.Identifier(name)))


def _exists(connection: Connection[TupleRow], query: str, name: str) -> bool:
    return connection.execute(sql.SQL(query), [name]).fetchone() is not None
