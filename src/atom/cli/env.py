"""`atom env`: shell lines that point psql, the guide's commands and atom itself at this deployment."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from atom.cli.options import Json
from atom.cli.output import Output
from atom.cli.target import locate
from atom.errors import NotFoundError
from atom.infra.database_url import parse_database_url
from atom.infra.postgres_binaries import find_binaries
from atom.infra.postgres_endpoint import Endpoint, is_own_url, read_endpoint
from atom.infra.postgres_errors import BinariesMissingError
from atom.settings import Settings, load

PROBE_SECONDS = 10
QUERY = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY"}


class NoDatabaseError(NotFoundError):
    code = "no_database_yet"


def env(as_json: Json = False) -> None:
    """Print shell lines for eval. They carry secrets: keep them out of files and logs."""
    settings = load()
    values = variables(settings)
    out = Output.open(as_json)
    if as_json:
        out.json(values)
        return
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
    folder = newer_programs() if "PGPASSFILE" in values else None
    if folder is not None:
        print(f'export PATH={shlex.quote(str(folder))}:"$PATH"')


def newer_programs() -> Path | None:
    """The embedded server's own psql and pg_dump, where this shell's are missing or too old for it.

    An older psql fails on `\\l`, an older pg_dump on everything.
    """
    try:
        binaries = find_binaries()
    except BinariesMissingError:
        return None
    found = shutil.which("psql")
    if found is None:
        return binaries.folder
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    major = re.search(r"(\d+)", said.stdout)
    return binaries.folder if major is None or int(major[1]) < binaries.major else None


def variables(settings: Settings) -> dict[str, str]:
    """Raises NoDatabaseError when there is nothing to point at."""
    url, endpoint = settings.database.url, read_endpoint(settings.home)
    if url is not None and not is_own_url(settings.home, url.get_secret_value()):
        database = _external(url)
    elif endpoint is not None:
        database = _embedded(endpoint)
    else:
        raise NoDatabaseError(
            f"{settings.home} has no database yet: start `atom up` first.", hint="Or set DATABASE_URL to a server."
        )
    target = locate(settings)
    return {**database, "ATOM_URL": target.url, **({"ATOM_TOKEN": target.token} if target.token else {})}


def _embedded(endpoint: Endpoint) -> dict[str, str]:
    return {
        "PGHOST": endpoint.host,
        "PGPORT": str(endpoint.port),
        "PGUSER": endpoint.user,
        "PGDATABASE": endpoint.database,
        "PGPASSFILE": str(endpoint.passfile),
        "DATABASE_URL": endpoint.url.get_secret_value(),
    }


def _external(secret: SecretStr) -> dict[str, str]:
    url = parse_database_url(secret)
    query: Mapping[str, object] = url.query
    found = {
        "PGHOST": url.host or _text(query.get("host")),
        "PGPORT": str(url.port or _text(query.get("port")) or 5432),
        "PGUSER": url.username,
        "PGDATABASE": url.database,
        "PGPASSWORD": url.password,
        **{variable: _text(query.get(name)) for name, variable in QUERY.items()},
        "DATABASE_URL": secret.get_secret_value(),
    }
    return {name: value for name, value in found.items() if value}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
