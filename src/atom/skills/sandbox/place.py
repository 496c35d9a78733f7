"""Where executions keep what they need on this machine, and whose they are."""

import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from atom.errors import UnavailableError
from atom.skills.sandbox.supervisor.tree import MARK_BASE

UIDS = 0x60000000  # above every account of a system; each execution of a root Atom has one of its own
UID_BITS = 28
MARK_BITS = 48
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the supervisors, where that is not this process's own user (which must be root then)."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of leases and working folders of one user."""

    folder: Path
    account: Account | None = None

    @classmethod
    def open(cls, parent: Path | None = None, account: Account | None = None) -> "Place":
        """Below the folder for temporary files unless said otherwise; nobody else can put anything there.

        Raises UnavailableError when somebody else owns it.
        """
        uid = os.geteuid() if account is None else account.uid
        folder = (parent or Path(tempfile.gettempdir())) / f"atom-sandbox-{uid}"
        try:
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                if account is not None:
                    os.chown(folder, account.uid, account.gid, follow_symlinks=False)
        except OSError as error:
            raise UnavailableError(f"The folder of the sandbox cannot be made: {error.strerror}.") from error
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
            raise UnavailableError("The folder of the sandbox belongs to somebody else.", folder=str(folder))
        folder.chmod(0o711 if uid == 0 else 0o700)  # the program's uid must reach its own folder below
        return cls(folder, account)

    @property
    def is_root(self) -> bool:
        return (os.geteuid() if self.account is None else self.account.uid) == 0

    @property
    def is_foreign(self) -> bool:
        """Whether programs run as another user than this process."""
        return self.is_root or self.account is not None

    def uid_for(self, execution_id: UUID) -> int:
        """The uid a root supervisor gives to a program; -1 where it is not root. Raises UnavailableError."""
        if not self.is_root:
            return -1
        wanted = UIDS + (execution_id.int & ((1 << UID_BITS) - 1))
        for uid in (wanted, NOBODY):
            if _is_mapped(uid):
                return uid
        raise UnavailableError("Root has no other user here to run a program as.")


def mark_of(execution_id: UUID) -> int:
    """The mark by which all processes of an execution are found."""
    return MARK_BASE + (execution_id.int & ((1 << MARK_BITS) - 1))


def _is_mapped(uid: int) -> bool:
    """Whether this user namespace knows it: in a container it may know only some."""
    for line in Path("/proc/self/uid_map").read_text("ascii").splitlines():
        first, _, count = map(int, line.split())
        if first <= uid < first + count:
            return True
    return False
