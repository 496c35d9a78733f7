"""The log file: whole lines, bounded size, and never a reason to stop.

It is opened anew when somebody moved or removed it (logrotate, a second process that rotated), so nothing has to be
told to reopen it. Several processes may write to one file: a line is one write at its end.
"""

import errno
import fcntl
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

FLAGS = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
)  # a pipe nobody reads is an error, not a wait
MODE = 0o640  # an operator's group may read it
FOLDER_MODE = 0o700  # of a folder that has to be made; one that is there keeps its own
CLOSED = -1


@dataclass(slots=True)
class LogFile:
    """What `logging` takes for a stream. Past `max_bytes` it becomes FILE.1, FILE.1 becomes FILE.2, up to `kept`."""

    path: Path
    max_bytes: int
    kept: int
    _descriptor: int = field(default=CLOSED, init=False)
    _torn: bool = field(default=False, init=False)

    def open(self) -> None:
        """Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        self._descriptor = os.open(self.path, FLAGS, MODE)

    def close(self) -> None:
        if self._descriptor != CLOSED:
            os.close(self._descriptor)
        self._descriptor = CLOSED

    def flush(self) -> None:
        """Nothing is held back."""

    def write(self, text: str) -> None:
        """Raises OSError when the line is not in the file, or only in part."""
        data = text.encode("utf-8", "backslashreplace")
        if not self._is_current():
            self.close()
            self.open()
        self._make_room(len(data))
        if self._torn:  # the line before was cut off by a full disk
            data = b"\n" + data
        written = os.write(self._descriptor, data)
        self._torn = written < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_current(self) -> bool:
        """Whether the open file is still the one of that name."""
        named = self._named()
        if self._descriptor == CLOSED or named is None:
            return False
        ours = os.fstat(self._descriptor)
        return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)

    def _named(self) -> os.stat_result | None:
        """None while another process rotates, and when somebody removed it."""
        try:
            return self.path.stat()
        except FileNotFoundError:
            return None

    def _make_room(self, size: int) -> None:
        found = self._named()
        if found is None or found.st_size == 0 or found.st_size + size <= self.max_bytes:
            return
        if self.path.is_symlink() or not stat.S_ISREG(found.st_mode):
            return  # a device, a pipe or a link is not ours to rename
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of by the close
        except BlockingIOError:  # another process is at it; this line goes into the file it had
            return
        if self._is_current():
            self._rotate()
        self.close()
        self.open()

    def _rotate(self) -> None:
        for number in range(self.kept - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
