"""All processes of an execution, wherever they went: found by a mark that they cannot shed.

The mark is the hard limit on real-time CPU time (RLIMIT_RTTIME), which limits nothing here: it passes to all
descendants, a process without privileges cannot raise it, and the filter of system calls denies lowering it.
"""

import os
import resource
import time

MARK_BASE = 1 << 50  # microseconds: beyond any real setting
NAME = b"Max realtime timeout"
WAIT_SECONDS = 0.002  # until others collect what was ended


def mark_self(mark: int) -> None:
    resource.setrlimit(resource.RLIMIT_RTTIME, (mark, mark))


def marked(mark: int) -> list[int]:
    """Pids of living processes (zombies left out)."""
    return [pid for pid in _pids() if _mark(pid) == mark and not _is_zombie(pid)]


def is_marked(pid: int) -> bool:
    """Whether it belongs to any execution."""
    return _mark(pid) >= MARK_BASE


def kill(mark: int, *, ours: bool, seconds: float = 10.0) -> bool:
    """End them all; False when some were still there after `seconds`. None can fork while it waits to be ended.

    `ours`: they are children of this process, which has no others, and are collected too.
    """
    until = time.monotonic() + seconds
    while found := marked(mark):
        for pid in found:
            _kill(pid)
        if time.monotonic() > until:
            return False
        if ours:
            reap()
        else:
            time.sleep(WAIT_SECONDS)
    return True


def reap() -> None:
    """Collect children that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def memory(pids: list[int]) -> int:
    """Bytes that they hold and that no file could give back."""
    return sum(_status(pid, b"RssAnon:") + _status(pid, b"RssShmem:") for pid in pids)


def user_tasks(uid: int) -> int:
    """Threads of a user, which is what RLIMIT_NPROC counts."""
    total = 0
    for pid in _pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid == uid:
                total += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            continue  # it ended meanwhile
    return total


def holds(pid: int) -> bool:
    """Whether a process is there and may hold files and locks: one that only waits to be asked for holds none."""
    return not _is_zombie(pid)


def _kill(pid: int) -> None:
    for end in (_stop_forking, _end):
        try:
            end(pid)
        except (ProcessLookupError, PermissionError):
            continue  # it ended, or root may not limit it here: the signal decides


def _stop_forking(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NPROC, (0, 0))


def _end(pid: int) -> None:
    os.kill(pid, 9)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _mark(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/limits", "rb", buffering=0) as file:
            text = file.read(4096)
    except OSError:
        return 0
    at = text.find(NAME)
    words = text[at + len(NAME) :].split(None, 2) if at >= 0 else []
    if len(words) < 2 or not words[1].isdigit():
        return 0
    return int(words[1])


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read(1024).rpartition(b")")[2].split(None, 1)[0] in {b"Z", b"X"}
    except OSError:
        return True  # it is gone


def _status(pid: int, name: bytes) -> int:
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            text = file.read(8192)
    except OSError:
        return 0
    at = text.find(name)
    return int(text[at + len(name) :].split(None, 1)[0]) * 1024 if at >= 0 else 0
