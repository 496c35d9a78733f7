"""What is done between fork and exec, in the child: from here on nothing can be taken back."""

import os
import resource
from collections.abc import Callable

from atom.skills.sandbox.supervisor import cgroup, linux, tree
from atom.skills.sandbox.supervisor.job import Job

RESULT = 3  # the descriptor that a program writes its result to
OPEN_FILES = 1024


class Pipes:
    """The program's ends, and the supervisor's."""

    def __init__(self) -> None:
        self.input, self.to_input = os.pipe()
        self.output, self.from_output = _turned(os.pipe())
        self.errors, self.from_errors = _turned(os.pipe())
        self.result, self.from_result = _turned(os.pipe())

    def close_theirs(self) -> None:
        for file in (self.input, self.output, self.errors, self.result):
            os.close(file)

    def become_standard(self, keep: list[int]) -> None:
        """In the child: 0 to 3 are the program's ends, `keep` stays, all else is closed."""
        theirs = [self.input, self.output, self.errors, self.result]
        safe = [_above(file) for file in theirs]
        for number, file in enumerate(safe):
            os.dup2(file, number, inheritable=True)
        for name in os.listdir("/proc/self/fd"):
            file = int(name)
            if file > RESULT and file not in keep:
                _close(file)


def start(
    job: Job, pipes: Pipes, group: "cgroup.Group | None", *, join: bool, keep: list[int], last: Callable[[], None]
) -> int:
    """Fork; limit, drop and mark the child, and end it in `last`, which does not return. The child's pid.

    `join`: it goes into `group` itself; otherwise the caller sees to that before the program begins.
    Raises OSError when the child could not be confined: nothing of the program has run then.
    """
    told, tell = os.pipe()
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        os.close(tell)
        return _confined(pid, told)
    why = "the child broke"
    try:
        os.setsid()
        if group is not None and join:
            group.join(os.getpid())
        pipes.become_standard([*keep, tell])
        _limit(job, grouped=group is not None)
        if job.drop >= 0:
            drop(job.drop)
        linux.prctl(linux.PR_SET_PDEATHSIG, 9)
        if os.getppid() != supervisor:
            os._exit(1)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        last()
    except OSError as error:
        why = str(error)
    finally:  # only a child that is not confined comes here: it says so and ends, whatever went wrong
        os.write(tell, why.encode()[:1000])
        os._exit(126)


def drop(uid: int) -> None:
    """Be `uid` for good: no groups, no capabilities, no way back."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if 0 in os.getresuid() or 0 in os.getresgid():
        raise PermissionError("still root")


class acting_as:  # noqa: N801 - read as a statement; contextlib is an import that every execution would pay
    """Do something with the rights of `uid`, and be root again; nothing changes where `uid` is -1."""

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def __enter__(self) -> None:
        if self.uid >= 0:
            os.setegid(self.uid)
            os.seteuid(self.uid)

    def __exit__(self, *error: object) -> None:
        if self.uid >= 0:
            os.seteuid(0)
            os.setegid(0)


def lower(kind: int, value: int) -> None:
    """Set a limit, or keep one that is lower."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _limit(job: Job, *, grouped: bool) -> None:
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    lower(resource.RLIMIT_FSIZE, job.disk)
    lower(resource.RLIMIT_MEMLOCK, 65536)
    lower(resource.RLIMIT_MSGQUEUE, 0)
    lower(resource.RLIMIT_CPU, int(job.seconds * max(job.cpus, 1)) + 1)
    if not grouped:
        lower(resource.RLIMIT_DATA, job.memory)
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, _some(allowed, max(1, int(job.cpus + 0.999)), job.mark))
    tree.mark_self(job.mark)


def _some(processors: list[int], count: int, turn: int) -> list[int]:
    """`count` of them, others for other executions."""
    first = turn % len(processors)
    return (processors[first:] + processors[:first])[:count]


def _confined(pid: int, told: int) -> int:
    why = b""
    try:
        while part := os.read(told, 1000):
            why += part
    finally:
        os.close(told)
    if why:
        os.waitpid(pid, 0)
        raise OSError(why.decode("utf-8", "replace"))
    return pid


def _turned(pair: tuple[int, int]) -> tuple[int, int]:
    return pair[1], pair[0]


def _above(file: int) -> int:
    """The same file under a number that no standard one overwrites."""
    copies = [file]
    while copies[-1] <= RESULT:
        copies.append(os.dup(copies[-1]))
    return copies[-1]


def _close(file: int) -> None:
    try:
        os.close(file)
    except OSError:
        return  # the one that listed them
