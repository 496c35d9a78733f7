"""Where Atom is, and with which credential: the settings, else what `atom up` left in ATOM_HOME."""

import json
import os
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from atom.client import AtomClient, BlockingAtom
from atom.settings import Settings, load

PID_FILE, TOKEN_FILE = "atom.pid", "admin-token"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Target:
    url: str
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class LocalAtom:
    """What the running `atom up` says of itself in ATOM_HOME/atom.pid."""

    pid: int
    url: str
    started_at: str | float


def connect() -> BlockingAtom:
    """A client of the Atom that this shell means."""
    target = locate(load())
    return BlockingAtom(AtomClient(target.url, target.token))


def locate(settings: Settings) -> Target:
    """The address and the token. The local admin token is never sent to another machine."""
    local = read_pid_file(settings.home)
    alive = local is not None and is_alive(local.pid)
    here = local.url if local is not None and alive else f"http://127.0.0.1:{settings.web.port or 8000}"
    url = settings.url or here
    if settings.token is not None:
        return Target(url, settings.token.get_secret_value())
    return Target(url, read_token(settings.home) if _is_loopback(url) else None)


def read_pid_file(home: Path) -> LocalAtom | None:
    """None when there is none, or when it is not what `atom up` writes."""
    try:
        value = json.loads((home / PID_FILE).read_text(encoding="utf-8"))
        pid, url, started_at = value["pid"], value["url"], value["started_at"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    well_formed = (
        isinstance(pid, int) and pid > 1 and isinstance(url, str) and isinstance(started_at, (str, int, float))
    )
    return LocalAtom(pid, url, started_at) if well_formed else None


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def read_token(home: Path) -> str | None:
    """The admin token of this ATOM_HOME, when this user may read it."""
    path = home / TOKEN_FILE
    try:
        with path.open(encoding="ascii") as file:
            others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077
            token = file.read(1000).strip()
    except (OSError, ValueError):
        return None
    if others:
        print(f"warning: others may read {path}; run: chmod 600 {path}", file=sys.stderr)
    return token or None


def _is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False
