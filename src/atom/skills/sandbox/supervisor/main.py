"""One execution, from its request to its reply, over one connection to Atom."""

import fcntl
import os
import resource
import time

from atom.skills.sandbox.supervisor import (
    bubblewrapped,
    cgroup,
    confine,
    folder,
    landlocked,
    linux,
    seccomp,
    tree,
    verdict,
    wire,
)
from atom.skills.sandbox.supervisor.job import Job
from atom.skills.sandbox.supervisor.started import Started
from atom.skills.sandbox.supervisor.watch import Watch

LEASE = ".run"


def main(connection: int) -> None:
    """`connection` is the lifeline as well: the program is ended once Atom says no more through it."""
    try:
        wire.send(connection, {"pid": os.getpid()})
        job = Job(wire.receive(connection))
    except (EOFError, OSError):
        return
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    lease = hold(job)
    try:
        reply = execute(job, connection)
    except OSError as error:
        reply = {"reason": "engine", "detail": str(error)}
    release(job, lease)
    try:
        wire.send(connection, reply)
    except OSError:
        return  # Atom is gone, and all is cleaned up


def hold(job: Job) -> int:
    """A locked file that says what belongs to this execution: whoever can lock it may clean up after us."""
    draft = f"{job.state}/.{job.id}"
    lease = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lease, fcntl.LOCK_EX)
    os.write(lease, str(job.mark).encode())
    os.rename(draft, f"{job.state}/{job.id}{LEASE}")
    return lease


def release(job: Job, lease: int) -> None:
    os.unlink(f"{job.state}/{job.id}{LEASE}")
    os.close(lease)


def execute(job: Job, lifeline: int) -> wire.Reply:
    if not seccomp.supported():
        raise OSError("no filter of system calls for this machine")
    own = bubblewrapped.OWN_PROCESSES if job.backend == "bwrap" else 0
    group = cgroup.Group.create(job.id, memory=job.memory, pids=job.pids + own, cpus=job.cpus)
    pipes = confine.Pipes()
    began = time.monotonic()
    started: Started | None = None
    try:
        start = bubblewrapped.start if job.backend == "bwrap" else landlocked.start
        started = start(job, pipes, group)
        pipes.close_theirs()
        watch = Watch(job, started, pipes, group)
        watch.run(lifeline)
        return report(job, watch, started, group, time.monotonic() - began)
    except OSError as error:
        return {"reason": "engine", "detail": f"{error} {said(pipes) if started is None else ''}".strip()}
    finally:
        clean(job, started, group)


def report(job: Job, watch: Watch, started: Started, group: "cgroup.Group | None", seconds: float) -> wire.Reply:
    reason, detail = verdict.judge(job, watch, started, group)
    found = folder.collect(started.work, most=job.artefacts, most_bytes=job.artefact_bytes)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "reason": reason,
        "detail": detail,
        "code": watch.code,
        "output": b"".join(watch.output.parts),
        "errors": b"".join(watch.errors.parts),
        "result": b"".join(watch.result.parts),
        "artefacts": found.files,
        "refused": found.refused,
        "cpu": used.ru_utime + used.ru_stime,
        "memory": max(used.ru_maxrss * 1024, group.peak() if group is not None else 0),
        "bytes": watch.output.bytes + watch.errors.bytes + found.bytes,
        "seconds": seconds,
        "grouped": group is not None,
        "direct": [(*asked, count) for asked, count in started.detour.told.items()],
    }


def said(pipes: confine.Pipes) -> str:
    """What bubblewrap wrote before it gave up."""
    os.set_blocking(pipes.from_errors, False)
    try:
        return os.read(pipes.from_errors, 500).decode("utf-8", "replace").strip()
    except BlockingIOError:
        return ""


def clean(job: Job, started: Started | None, group: "cgroup.Group | None") -> None:
    """Nothing is left of it: no process, no group, no mount, no file."""
    tree.reap()
    if started is None:
        tree.kill(job.mark, ours=True)
        tree.reap()
    else:
        os.close(started.work)
        started.detour.close()
        if started.inner >= 0:
            os.close(started.inner)
    path = f"{job.state}/{job.id}"
    if os.path.ismount(path):
        linux.umount(path.encode())
    if os.path.isdir(path):
        folder.remove(path)
    if group is not None:
        group.remove()
