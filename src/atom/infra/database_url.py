"""DATABASE_URL as the guide writes it, checked, and never shown with its password."""

from typing import NoReturn

from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from atom.errors import InvalidError

SCHEMES = {"postgresql", "postgres", "postgresql+psycopg"}
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FORM = "It has the form postgresql://user:password@host:port/database."


class DatabaseUrlError(InvalidError):
    code = "database_url_malformed"


def parse_database_url(secret: SecretStr, *, variable: str = "DATABASE_URL") -> URL:
    """The URL for SQLAlchemy on psycopg 3, its query kept. Raises DatabaseUrlError, which shows no part of it."""
    text = secret.get_secret_value().strip()
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        _refuse(variable, "cannot be read: check the port, and that special characters of the password are %-escaped")
    if url.drivername not in SCHEMES:
        _refuse(variable, "does not begin with postgresql://; Atom runs on PostgreSQL only")
    problem = _place_problem(url) or _query_problem(url)
    if problem:
        _refuse(variable, problem)
    return url.set(drivername="postgresql+psycopg")


def libpq(url: URL) -> str:
    """The same address for psycopg as `key=value` words: libpq refuses some passwords in a URL, and then shows them."""
    _, words = url.get_dialect()().create_connect_args(url)
    return make_conninfo(**words)


def _place_problem(url: URL) -> str | None:
    if not url.database:
        return "names no database"
    if not url.host and not url.query.get("host"):
        return "names no host"
    if "@" in (url.host or ""):
        return "has more than one @: write the one in the password as %40"
    if "\x00" in "".join((url.username or "", str(url.password or ""), url.database)):
        return "holds a NUL character"
    if url.port is not None and not 0 < url.port < 65536:
        return f"has the port {url.port}, which is not between 1 and 65535"
    return None


def _query_problem(url: URL) -> str | None:
    """Found at start, by name: at connect time a misspelt parameter looks like a server that is away."""
    for key, value in url.query.items():
        if key == "sslmode" and value not in SSL_MODES:
            return f"has an sslmode that PostgreSQL does not know; it knows {', '.join(SSL_MODES)}"
        try:
            make_conninfo(**{key: ""})
        except ProgrammingError:
            return "has a parameter after the ? that PostgreSQL does not know"
    return None


def _refuse(variable: str, problem: str) -> NoReturn:
    raise DatabaseUrlError(f"{variable} {problem}.", hint=FORM, field=variable) from None  # the parser shows the text
