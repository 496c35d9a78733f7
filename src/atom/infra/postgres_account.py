"""Whom `postgres` runs as. It refuses to run as root; Atom must not add a user who could log in.

As root, `postgres` gets a numeric uid and gid without an entry in /etc/passwd: nobody can log in as it, nothing on the
system is edited, and a container that is created again finds the same owner on its volume. The server never looks
its name up. Only `initdb` does (getpwuid), so that one program runs under a named unprivileged uid (`nobody`) and the
private gid, in a folder that only root and the private gid can enter; then the result is given to the private uid.
Other processes of `nobody` have another gid: they can neither enter the folder nor trace `initdb`.
"""

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from atom.infra.postgres_errors import HomeUnusableError

PRIVATE_IDS = range(60706, 61184)  # no convention hands these out: between systemd's homed and dynamic-user ranges
CHILD_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}  # no key of Atom's in it


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged uid and gid that root gives to `postgres`."""

    uid: int
    gid: int


def choose_account(owner: os.stat_result | None) -> Account | None:
    """The account for a data directory (its owner, if there is one); None when Atom itself is not root."""
    if os.geteuid() != 0:
        return None
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    users = {entry.pw_uid for entry in pwd.getpwall()}
    groups = {entry.gr_gid for entry in grp.getgrall()}
    free = next(number for number in PRIVATE_IDS if number not in users and number not in groups)
    return Account(free, free)


def initdb_account(account: Account | None, home: Path) -> Account | None:
    """Like `account`, with a uid that has a name, which `initdb` insists on."""
    uid = os.geteuid() if account is None else account.uid
    names = {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()}
    if uid in names:
        return account
    others = sorted((name != "nobody", number) for number, name in names.items() if number != 0)
    if account is None or not others:
        raise HomeUnusableError(
            home,
            f"initdb needs an entry in /etc/passwd for uid {uid}",
            hint="Run Atom as a user with a name, or set DATABASE_URL.",
        )
    return Account(others[0][1], account.gid)


def blocked_at(path: Path, account: Account, *, read: bool = False) -> Path | None:
    """The first folder on the way to `path` that the account may not enter (or `path`, unless it may read it)."""
    real = path.resolve()
    for folder in [*reversed(real.parents), *([real] if real.is_dir() else [])]:
        if not _may(folder, account, stat.S_IXUSR):
            return folder
    return real if read and not _may(real, account, stat.S_IRUSR) else None


def _may(path: Path, account: Account, owner_bit: int) -> bool:
    """By the mode bits alone; access lists are not asked, which can only err towards a refusal."""
    status = path.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & owner_bit)
    if status.st_gid == account.gid:
        return bool(status.st_mode & owner_bit >> 3)
    return bool(status.st_mode & owner_bit >> 6)


def give(path: Path, account: Account | None) -> None:
    """Make `path`, and everything in it, the account's own."""
    if account is None:
        return
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            os.chown(Path(folder) / name, account.uid, account.gid, follow_symlinks=False)


def private_folder(path: Path, account: Account | None) -> Path:
    """A folder that only the account (and root) can enter, created if needed."""
    path.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    return path
