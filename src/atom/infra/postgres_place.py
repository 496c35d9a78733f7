"""Which folders the embedded PostgreSQL of a home uses, and the locks that keep two starts apart.

`ATOM_HOME/postgres` (control) holds the password file, `endpoint.json` and the lock: they are Atom's. Storage holds
what `postgres` works on. It is the same folder, with one exception: root, with a home that an unprivileged account
cannot reach (say under /root). Then it is a folder of its own in `/var/lib/atom-postgres`; `endpoint.json` says which.
"""

import fcntl
import hashlib
import os
import re
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from atom.infra.postgres_account import Account, blocked_at, choose_account, give, private_folder
from atom.infra.postgres_endpoint import control_folder, own_like_folder, read_state, state_file
from atom.infra.postgres_errors import DataMissingError, HomeUnusableError, translated

ROOT_STORE = Path("/var/lib/atom-postgres")
LONGEST_SOCKET_PATH = 103  # macOS has 104 bytes for it, Linux 108, each with a final zero
SOCKET_NAME = ".s.PGSQL.65535"
PLAIN_PATH = re.compile(r"/[\w./+-]*", re.ASCII)  # needs no quotes in PostgreSQL's lists and no escape in pgpass
LOCK_LOOK_SECONDS = 0.02

log = structlog.get_logger(service="database")


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one home's PostgreSQL, and the account that `postgres` runs as (None: Atom's own user)."""

    home: Path
    storage: Path
    account: Account | None

    @property
    def control(self) -> Path:
        return control_folder(self.home)

    @property
    def data(self) -> Path:
        return self.storage / "data"

    @property
    def logs(self) -> Path:
        return self.storage / "log"

    @property
    def startup_log(self) -> Path:
        return self.storage / "startup.log"

    @property
    def recorded_data(self) -> str:
        """How `endpoint.json` names the data directory."""
        return "data" if self.storage == self.control else str(self.data)


def make_home(home: Path) -> None:
    """Create the home. Root leaves a new one open to walk through, with closed files in it."""
    with translated(home):
        if not home.exists():
            home.mkdir(parents=True)
            home.chmod(0o711 if os.geteuid() == 0 else 0o700)  # whatever the umask


def prepare_home(home: Path) -> None:
    """Create the home and its control folder."""
    make_home(home)
    with translated(home):
        control_folder(home).mkdir(mode=0o700, exist_ok=True)
    if not os.access(control_folder(home), os.W_OK | os.X_OK):
        raise HomeUnusableError(control_folder(home), "permission denied")


def find_place(home: Path, store: Path) -> Place:
    """Where this home's database is, or is going to be. Never a new place while an older one is on record."""
    control, state = control_folder(home), read_state(home)
    data = control / (state.data_dir if state else "data")
    if data.is_dir():
        owner = data.stat()
        if os.geteuid() not in {0, owner.st_uid}:
            raise HomeUnusableError(data, f"it belongs to uid {owner.st_uid}", hint="Run Atom as that user.")
        return Place(home, data.parent, choose_account(owner))
    if state is not None:
        raise DataMissingError(data, state_file(home))
    account = choose_account(control.stat())
    blocked = blocked_at(home, account) if account else None
    return Place(home, _own_storage(home, store, blocked) if blocked else control, account)


def _own_storage(home: Path, store: Path, blocked: Path) -> Path:
    """A folder for a new database: one with data from an earlier home of the same name is not touched."""
    key = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:8]
    with translated(store):
        store.mkdir(parents=True, exist_ok=True)
        store.chmod(0o711)
        earlier = sorted(store.glob(f"{key}-*"))
        unused = [path for path in earlier if not (path / "data").exists()]
        storage = unused[0] if unused else store / f"{key}-{secrets.token_hex(3)}"
        storage.mkdir(mode=0o700, exist_ok=True)
        (storage / "HOME").write_text(f"{home}\n", encoding="utf-8")
    with_data = [str(path) for path in earlier if path not in unused]
    log.warning("database.stored_elsewhere", path=str(storage), closed_folder=str(blocked), earlier=with_data)
    return storage


def open_storage(place: Place) -> None:
    """Let the account, and nobody else, walk through the storage folder to what is its own in there."""
    account = place.account
    with translated(place.storage):
        if account is not None and place.storage.stat().st_uid == 0:
            os.chown(place.storage, 0, account.gid)
            place.storage.chmod(0o710)
        private_folder(place.logs, account)
        if account is not None and place.data.is_dir() and place.data.stat().st_uid == 0:
            give(place.data, account)  # a backup that root put back
    if account is not None and (blocked := blocked_at(place.storage, account)):
        raise HomeUnusableError(
            blocked,
            f"uid {account.uid}, which owns the database in {place.data}, may not enter it",
            hint=f"Run `chmod o+x {blocked}`.",
        )


def choose_socket_dir(place: Place, recorded: str | None) -> Path:
    """The storage's own folder when its path fits into a socket address, else a private short one under /tmp."""
    account = place.account
    own = place.storage / "run"
    uid = os.geteuid() if account is None else account.uid
    with translated(own):
        if _fits(own):
            return private_folder(own, account)
        if recorded and _fits(Path(recorded)) and _is_private(Path(recorded), uid):
            return Path(recorded)
        return private_folder(Path(tempfile.mkdtemp(prefix="atom-pg-", dir="/tmp")), account)  # noqa: S108 - mkdtemp: 0700, new


def _fits(folder: Path) -> bool:
    path = str(folder / SOCKET_NAME)
    return PLAIN_PATH.fullmatch(path) is not None and len(path) <= LONGEST_SOCKET_PATH


def _is_private(folder: Path, uid: int) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    status = folder.stat()
    return status.st_uid == uid and status.st_mode & 0o077 == 0


class LockedError(Exception):
    """Another process has the lock; `pid` is what it wrote into it."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(pid)
        self.pid = pid


def take_lock(path: Path, *, seconds: float) -> int:
    """An exclusive lock on the file, waiting at most so long. Answers the descriptor that holds it until closed.

    The kernel lets go when the last process that has the descriptor ends, so no `kill -9` leaves a stale lock.
    """
    with translated(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        own_like_folder(descriptor, path.parent)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                os.close(descriptor)
                raise LockedError(int(text) if text.isdecimal() else None) from None
            time.sleep(LOCK_LOOK_SECONDS)
        else:
            return descriptor


def sign_lock(descriptor: int, pid: int) -> None:
    """Write the holder's pid into the lock file, for the message of whoever finds it taken."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{pid}\n".encode(), 0)
