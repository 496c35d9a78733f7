"""Children that end when Atom ends, and the postmaster among them: started, waited for, stopped, cleared away."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
import structlog

from atom.errors import AtomError
from atom.infra.postgres_account import CHILD_ENVIRONMENT, Account
from atom.infra.postgres_cluster import INITDB_SECONDS, NO_SPACE, log_files
from atom.infra.postgres_endpoint import LOOPBACK, own_like_folder
from atom.infra.postgres_errors import DiskFullError, PortInUseError, PostgresStartError
from atom.infra.postgres_place import Place

CHILD = Path(__file__).with_name("postgres_child.py")
SPAWN_SECONDS = 30
START_SECONDS = 180  # crash recovery replays at most about 1 GB of log (max_wal_size)
LOOK_SECONDS = 0.01
FAST_SECONDS = 20.0
IMMEDIATE_SECONDS = 5.0
LOG_TAIL_BYTES = 8192
STATUS_LINE = 7  # of postmaster.pid: "starting", "ready", "stopping"

log = structlog.get_logger(service="database")


class Launcher:
    """Starts every child from one thread, which lives until `close`.

    The kernel ends the children when the thread that started them ends (see postgres_child.py), so a passing thread,
    such as one of a pool of asyncio, must not be that thread.
    """

    def __init__(self, *, watcher: bool) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="postgres-parent")
        self._mode = "watch" if watcher else "die"

    def start(
        self, command: list[str], account: Account | None, output: IO[str] | int, *, keep: tuple[int, ...] = ()
    ) -> subprocess.Popen[str]:
        """Own session: Ctrl-C in Atom's terminal does not reach it. `keep`: descriptors it inherits."""
        ids = [str(account.uid), str(account.gid)] if account else ["-1", "-1"]
        shim = [sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), *ids, self._mode]

        def spawn() -> subprocess.Popen[str]:
            return subprocess.Popen(
                [*shim, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env=CHILD_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
                pass_fds=keep,
            )

        return self._thread.submit(spawn).result(SPAWN_SECONDS)

    def run(self, command: list[str], account: Account | None) -> "subprocess.CompletedProcess[str]":
        """A short program, to its end."""
        process = self.start(command, account, subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=INITDB_SECONDS)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(command, process.returncode, output, "")

    def close(self) -> None:
        self._thread.shutdown(wait=True)


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running `postgres` (or the watcher that stands before it)."""

    process: subprocess.Popen[str]
    place: Place
    port: int

    @classmethod
    def launch(
        cls, launcher: Launcher, place: Place, command: list[str], *, port: int, running_lock: int
    ) -> "Postmaster":
        """Start it and wait until it takes connections. `running_lock` is released when its last process has ended."""
        with open_output(place.startup_log) as output:
            started = time.time()
            process = launcher.start(command, place.account, output, keep=(running_lock,))
        postmaster = cls(process, place, port)
        try:
            postmaster._wait_until_ready(started)
        except BaseException:
            postmaster.stop()
            raise
        return postmaster

    @property
    def alive(self) -> bool:
        """Also collects the exit status of one that has ended."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Fast shutdown: connections are cut, everything is written; immediate if that takes too long."""
        steps = ((signal.SIGINT, FAST_SECONDS), (signal.SIGQUIT, IMMEDIATE_SECONDS))
        for number, seconds in (*steps, (signal.SIGKILL, IMMEDIATE_SECONDS)):
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                log.warning("database.stop_slow", signal=signal.Signals(number).name, seconds=seconds)
            else:
                return

    def _wait_until_ready(self, started: float) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if not self.alive:
                raise self._failure(started)
            if time.monotonic() > deadline:
                raise PostgresStartError(f"it is not ready after {START_SECONDS} s", newest_log(self.place))
            time.sleep(LOOK_SECONDS)

    def _is_ready(self) -> bool:
        lines = read_pidfile(self.place)
        if len(lines) <= STATUS_LINE or lines[STATUS_LINE].strip() != "ready":
            return False
        pid = int(lines[0])
        if pid == self.process.pid:
            return True
        try:  # behind the watcher
            return psutil.Process(pid).ppid() == self.process.pid
        except psutil.NoSuchProcess:  # the file is from before a crash
            return False

    def _failure(self, started: float) -> AtomError:
        logs = [path for path in log_files(self.place)[:1] if path.stat().st_mtime >= started - 1]
        text = "".join(_tail(path) for path in [self.place.startup_log, *logs])
        if NO_SPACE in text:
            return DiskFullError(self.place.storage)
        if not port_is_free(self.port) or "Address already in use" in text:
            return PortInUseError(self.port)
        said = [
            line.partition(mark)[2].strip()
            for line in text.splitlines()
            for mark in ("FATAL:", "PANIC:")
            if mark in line
        ]
        reason = said[-1] if said else f"it ended with status {self.process.returncode}"
        return PostgresStartError(reason.rstrip("."), newest_log(self.place))


def open_output(path: Path) -> IO[str]:
    """Takes what `postgres` says until its own log is open; emptied at each start."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    own_like_folder(descriptor, path.parent)
    return os.fdopen(descriptor, "w", encoding="utf-8")


def newest_log(place: Place) -> Path:
    return next(iter(log_files(place)), place.startup_log)


def read_pidfile(place: Place) -> list[str]:
    try:
        return (place.data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def port_is_free(port: int) -> bool:
    """Asked as `postgres` will ask: a port whose old connections are still fading away counts as free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def server_processes(place: Place) -> list[psutil.Process]:
    """Every process of a `postgres` that works in this data directory: each of them has it as its current folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == str(place.data.resolve()):
                found.append(process)
    return found


def end_orphans(place: Place) -> None:
    """Kill backends whose postmaster is dead: they only hold its memory, and no new one may start beside them."""
    for number in (signal.SIGQUIT, signal.SIGKILL):
        left = server_processes(place)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        psutil.wait_procs(left, timeout=IMMEDIATE_SECONDS)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
