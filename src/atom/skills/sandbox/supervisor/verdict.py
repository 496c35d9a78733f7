"""Why an execution ended, in one word and one sentence."""

import os

from atom.skills.sandbox.supervisor import cgroup
from atom.skills.sandbox.supervisor.job import Job
from atom.skills.sandbox.supervisor.started import Started
from atom.skills.sandbox.supervisor.watch import Watch

TAIL = 2000
BAD_CALL, PROCESSOR, FILE_SIZE = 128 + 31, 128 + 24, 128 + 25  # SIGSYS, SIGXCPU, SIGXFSZ
# A limit of the kernel that is no group's leaves its word only in what the program says of its own failure.
WORDS = (
    ("oom", (b"MemoryError", b"Cannot allocate memory", b"heap out of memory", b"cannot allocate memory")),
    ("pids", (b"Resource temporarily unavailable", b"can't start new thread")),
    ("disk", (b"No space left on device", b"File too large")),
)


def judge(job: Job, watch: Watch, started: Started, group: "cgroup.Group | None") -> tuple[str, str]:
    reason = watch.stopped or _by_itself(watch, started, group)
    return reason, _sentence(reason, job, watch.code)


def _by_itself(watch: Watch, started: Started, group: "cgroup.Group | None") -> str:
    code = watch.code
    if group is not None and group.ran_out_of_memory():  # also where only a child was ended, and its parent went on
        return "oom"
    if code == 0:
        return "ok"
    if group is not None and group.ran_out_of_pids():
        return "pids"
    known = {BAD_CALL: "policy", PROCESSOR: "timeout", FILE_SIZE: "disk"}
    if code in known:
        return known[code]
    if started.quota and os.fstatvfs(started.work).f_bavail == 0:
        return "disk"
    said = b"".join(watch.errors.parts)[-TAIL:]
    return next((reason for reason, words in WORDS if any(word in said for word in words)), "error")


def _sentence(reason: str, job: Job, code: int) -> str:
    said = {
        "ok": "It ended with 0.",
        "timeout": f"It was ended: {job.seconds:g} s are its limit.",
        "killed": "It was ended on request.",
        "output": f"It was ended: it wrote more than {job.output} bytes.",
        "oom": f"It needed more than {job.memory} bytes of memory.",
        "pids": f"It started more than {job.pids} processes.",
        "disk": f"It wrote more than {job.disk} bytes or too many files.",
        "policy": "It made a system call that ends a program here.",
    }
    return said.get(reason) or (f"Signal {code - 128} ended it." if code > 128 else f"It ended with {code}.")
