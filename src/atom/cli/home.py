"""One Atom on one home: the lock that `atom up` holds, and the file by which others find it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atom.cli.target import PID_FILE
from atom.infra.postgres_errors import HomeInUseError, translated
from atom.infra.postgres_place import LockedError, make_home, sign_lock, take_lock
from atom.kit.clock import SystemClock, rfc3339

LOCK_FILE = "atom.lock"
LOCK_SECONDS = 0.5  # the lock of an Atom that was killed is let go at once


@dataclass(frozen=True, slots=True)
class Occupied:
    """ATOM_HOME/atom.pid, by which `atom down` and the CLI find this process."""

    home: Path
    started_at: str

    def announce(self, url: str) -> None:
        path = self.home / PID_FILE
        partial = path.with_name(path.name + ".new")
        said = {"pid": os.getpid(), "url": url, "started_at": self.started_at}
        with translated(path):
            partial.write_text(json.dumps(said), encoding="utf-8")
            partial.replace(path)


@contextmanager
def occupied(home: Path) -> Iterator[Occupied]:
    """This home is this process's until the end, whichever database it uses. Raises HomeInUseError."""
    make_home(home)
    try:
        lock = take_lock(home / LOCK_FILE, seconds=LOCK_SECONDS)
    except LockedError as error:
        raise HomeInUseError(home, error.pid) from None
    try:
        with translated(home):
            sign_lock(lock, os.getpid())
        yield Occupied(home, rfc3339(SystemClock().now()))
    finally:
        (home / PID_FILE).unlink(missing_ok=True)
        os.close(lock)
