"""`atom down`: end the Atom that `atom up` started on this ATOM_HOME."""

import time
from datetime import datetime
from typing import Annotated

import psutil
import typer

from atom.cli.options import Json
from atom.cli.output import Output
from atom.cli.target import PID_FILE, LocalAtom, read_pid_file
from atom.errors import ConflictError, ForbiddenError, NotFoundError
from atom.settings import load

TITLE = "atom: "  # of every Atom's process, by `setproctitle`; a path may hold the word in any program's command line
LOOK_SECONDS = 0.1
CLOCK_SLACK = 5.0  # seconds that a clock step may move a start time by


class NotRunningError(NotFoundError):
    code = "not_running"


class NotOursError(ConflictError):
    code = "pid_not_atom"


class StillRunningError(ConflictError):
    code = "still_running"


def down(
    *,
    timeout: Annotated[float, typer.Option("--timeout", min=1, max=3600, help="Seconds to wait for its end.")] = 40.0,
    as_json: Json = False,
) -> None:
    """End the Atom that runs on this ATOM_HOME. It drains first: nothing is lost."""
    out = Output.open(as_json)
    home = load().home
    local = read_pid_file(home)
    if local is None:
        raise NotRunningError(f"No Atom runs on {home}.", hint=f"There is no {PID_FILE} in it. `atom up` starts one.")
    process = find(local)
    stop(process, timeout)
    if as_json:
        out.json({"pid": local.pid, "url": local.url, "stopped": True})
        return
    out.line(f"Atom at {local.url} (pid {local.pid}) has ended.")


def find(local: LocalAtom) -> psutil.Process:
    """The process that wrote the pid file. Another that got its number later is never touched."""
    try:
        process = psutil.Process(local.pid)
        if _gone(process):
            raise psutil.NoSuchProcess(local.pid)
        born, command = process.create_time(), " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        raise NotRunningError(
            f"Atom is not running: process {local.pid} has ended.", hint="`atom up` starts it again."
        ) from None
    except psutil.AccessDenied:
        raise _foreign(local.pid) from None
    if born > _seconds(local.started_at) + CLOCK_SLACK or not command.startswith(TITLE):
        raise NotOursError(
            f"Process {local.pid} is not the Atom that wrote {PID_FILE}; it was left alone.",
            hint=f"Atom has ended. Remove {PID_FILE}, or run `atom up`.",
        )
    return process


def stop(process: psutil.Process, timeout: float) -> None:
    """SIGTERM, and the end awaited. Never SIGKILL: a person decides that."""
    try:
        process.terminate()
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        raise _foreign(process.pid) from None
    deadline = time.monotonic() + timeout
    while not _gone(process):
        if time.monotonic() > deadline:
            raise StillRunningError(
                f"Atom (pid {process.pid}) still drains after {timeout:g} s.",
                hint="Runs are finishing; wait, and run `atom down` again with a larger --timeout.",
            )
        time.sleep(LOOK_SECONDS)


def _gone(process: psutil.Process) -> bool:
    """A zombie has ended: who started it has not looked yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _foreign(pid: int) -> ForbiddenError:
    return ForbiddenError(f"Process {pid} belongs to another user.", hint="Run `atom down` as the user of `atom up`.")


def _seconds(started_at: str | float) -> float:
    if not isinstance(started_at, str):
        return started_at
    try:
        return datetime.fromisoformat(started_at).timestamp()
    except ValueError:
        return 0.0
