"""The last step between Atom and a program of PostgreSQL, run as `python -I -S postgres_child.py`, never imported.

    postgres_child.py PARENT_PID UID GID die|watch PROGRAM ARGUMENT...

It drops root (UID -1 keeps the user), ties the program's life to Atom's, and becomes the program. A program of its own
rather than code between fork and exec: Atom has threads, and after fork only the simplest calls are safe there.

`die` (Linux): the kernel sends SIGINT, which `postgres` takes as "fast shutdown", when the thread of Atom that started
it ends, `kill -9` included. The request must follow setuid, which would clear it. `watch` (macOS, which has no such
request): stays as the program's parent, passes signals on and sends that SIGINT itself.
"""

import ctypes
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.25
IMMEDIATE_AFTER_SECONDS = 30.0
REFUSED = 125


def main(arguments: list[str]) -> int:
    parent, uid, gid = (int(text) for text in arguments[:3])
    mode, command = arguments[3], arguments[4:]
    try:
        prepare(uid, gid)
        if mode == "watch":
            return watch(parent, command)
        die_with_parent(parent)
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.stderr.write(f"FATAL:  {command[0]} as uid {uid}: {error.strerror}\n")
    return REFUSED


def prepare(uid: int, gid: int) -> None:
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def die_with_parent(parent: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_PDEATHSIG is refused")
    if os.getppid() != parent:  # it ended before the request was made
        sys.exit(REFUSED)


def watch(parent: int, command: list[str]) -> int:
    """Run the program as a child; end it when the parent is gone. Answers its exit status."""
    wakeup, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    child = os.fork()
    if child == 0:
        os.close(wakeup)
        os.close(wakeup_write)
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    signal.set_wakeup_fd(wakeup_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, lambda received, _: os.kill(child, received))
    return _until_it_ends(parent, child, wakeup)


def _until_it_ends(parent: int, child: int, wakeup: int) -> int:
    orphaned_at: float | None = None
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) & 0xFF
        if orphaned_at is None and os.getppid() != parent:
            orphaned_at = time.monotonic()
            os.kill(child, signal.SIGINT)
        elif orphaned_at is not None and time.monotonic() - orphaned_at > IMMEDIATE_AFTER_SECONDS:
            os.kill(child, signal.SIGQUIT)
        readable, _, _ = select.select([wakeup], [], [], LOOK_SECONDS)
        if readable:
            os.read(wakeup, 512)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
