"""How to reach the embedded PostgreSQL of a home: the password file, the port, and recognising its URL.

Two small files in `ATOM_HOME/postgres`, readable by the owner only: `pgpass` (the one place of the passwords, in the
format of libpq, so it serves as PGPASSFILE) and `endpoint.json` (port, socket and data directory; no secret).
"""

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr

from atom.infra.postgres_errors import HomeUnusableError, translated

LOOPBACK = "127.0.0.1"
OWN_HOSTS = frozenset({LOOPBACK, "localhost"})
DATABASE = "atom"
OWNER = "atom"
SUPERUSER = "postgres"
PASSWORD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Credentials:
    """The passwords of the two roles. They hold only characters that need no escape in a URL or in pgpass."""

    owner: str = field(repr=False)
    superuser: str = field(repr=False)

    def of(self, user: str) -> str | None:
        return {OWNER: self.owner, SUPERUSER: self.superuser}.get(user)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the embedded PostgreSQL listens and who may enter. `url` is the role atom, `admin_url` the superuser."""

    host: str
    port: int
    socket_dir: Path
    user: str
    database: str
    passfile: Path
    url: SecretStr
    admin_url: SecretStr


@dataclass(frozen=True, slots=True)
class State:
    """What `endpoint.json` keeps. `data_dir` is relative to its folder when it lies inside, so that a home may move;
    `port` is 0 until the first start."""

    data_dir: str
    port: int
    socket_dir: str


def control_folder(home: Path) -> Path:
    return home / "postgres"


def passfile_of(home: Path) -> Path:
    return control_folder(home) / "pgpass"


def state_file(home: Path) -> Path:
    return control_folder(home) / "endpoint.json"


def read_endpoint(home: Path) -> Endpoint | None:
    """The embedded PostgreSQL that runs, or last ran, in this home; None when there never was one."""
    state, credentials = read_state(home), read_credentials(home)
    return build_endpoint(home, state, credentials) if state and state.port and credentials else None


def build_endpoint(home: Path, state: State, credentials: Credentials) -> Endpoint:
    def url(user: str, password: str) -> SecretStr:
        return SecretStr(f"postgresql://{user}:{password}@{LOOPBACK}:{state.port}/{DATABASE}")

    return Endpoint(
        host=LOOPBACK,
        port=state.port,
        socket_dir=Path(state.socket_dir),
        user=OWNER,
        database=DATABASE,
        passfile=passfile_of(home),
        url=url(OWNER, credentials.owner),
        admin_url=url(SUPERUSER, credentials.superuser),
    )


def is_own_url(home: Path, url: str) -> bool:
    """Whether `url` leads to this home's embedded PostgreSQL, by password and user; its port may have changed since."""
    try:
        parts = urlsplit(url)
        password = unquote(parts.password or "")
    except ValueError:  # not a URL at all
        return False
    credentials = read_credentials(home) if _names_own_database(parts) else None
    expected = credentials.of(unquote(parts.username or "")) if credentials else None
    return expected is not None and hmac.compare_digest(password.encode(), expected.encode())


def _names_own_database(parts: SplitResult) -> bool:
    scheme = parts.scheme.partition("+")[0]
    return scheme in {"postgresql", "postgres"} and parts.hostname in OWN_HOSTS and parts.path == f"/{DATABASE}"


def new_credentials() -> Credentials:
    return Credentials(secrets.token_urlsafe(PASSWORD_BYTES), secrets.token_urlsafe(PASSWORD_BYTES))


def read_credentials(home: Path) -> Credentials | None:
    """The passwords in the password file; None when it is not there or lacks one of them."""
    lines = (_read(passfile_of(home)) or "").splitlines()
    fields = [line.split(":") for line in lines if not line.startswith("#")]
    found: Mapping[str, str] = {parts[3]: parts[4] for parts in fields if len(parts) == 5 and parts[4]}
    if OWNER not in found or SUPERUSER not in found:
        return None
    return Credentials(found[OWNER], found[SUPERUSER])


def write_credentials(home: Path, credentials: Credentials, socket_dir: Path | None) -> None:
    """Any port, but only the hosts that are this machine: psql must not offer the password to a server elsewhere."""
    hosts = [*sorted(OWN_HOSTS), *([str(socket_dir)] if socket_dir else [])]
    rows = [(host, user) for user in (OWNER, SUPERUSER) for host in hosts]
    text = "".join(f"{host}:*:*:{user}:{credentials.of(user)}\n" for host, user in rows)
    write_file(passfile_of(home), text)


def read_state(home: Path) -> State | None:
    path = state_file(home)
    text = _read(path)
    if text is None:
        return None
    try:
        values = json.loads(text)
        return State(str(values["data_dir"]), int(values["port"]), str(values["socket_dir"]))
    except (ValueError, KeyError, TypeError) as error:
        raise HomeUnusableError(
            path, "it is not what Atom wrote", hint="Restore it: it names data_dir, port and socket_dir as JSON."
        ) from error


def write_state(home: Path, state: State) -> None:
    write_file(state_file(home), json.dumps(asdict(state)) + "\n")


def write_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file in one step: a crash or a full disk leaves the old one as it was. Owner: the folder's."""
    if _read(path) == text and path.stat().st_mode & 0o777 == mode:
        return
    partial = path.with_name(f"{path.name}.partial")
    with translated(path):
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            own_like_folder(descriptor, path.parent)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)


def own_like_folder(descriptor: int, folder: Path) -> None:
    """A file that root writes into a user's home must stay that user's."""
    if os.geteuid() == 0:
        status = folder.stat()
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HomeUnusableError(path, (error.strerror or "unreadable").lower()) from error
