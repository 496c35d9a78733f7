"""While a program runs: its output is taken, its limits are watched, and it is ended when one is passed."""

import os
import select
import signal
import time

from atom.skills.sandbox.supervisor import cgroup, confine, folder, tree
from atom.skills.sandbox.supervisor.job import Job
from atom.skills.sandbox.supervisor.started import Started

LOOK_SECONDS = 0.25  # first look at memory, processes and disk where nothing else bounds them; then less and less often
MOST_LOOK_SECONDS = 1.0
READ = 65536


class Stream:
    """A pipe from the program, and the first bytes that came through it."""

    def __init__(self, file: int, most: int) -> None:
        self.file = file
        self.most = most
        self.body = b""
        self.parts: list[bytes] = []
        self.bytes = 0
        self.open = True

    @property
    def full(self) -> bool:
        return self.bytes > self.most

    def take(self) -> bool:
        """False once it ended."""
        part = os.read(self.file, READ)
        if not part:
            self.open = False
            return False
        if self.bytes < self.most:
            self.parts.append(part[: self.most - self.bytes])
        self.bytes += len(part)
        return True


class Watch:
    """`stopped` is why the program was ended from outside; empty when it ended by itself."""

    def __init__(self, job: Job, started: Started, pipes: confine.Pipes, group: "cgroup.Group | None") -> None:
        self.job = job
        self.started = started
        self.group = group
        self.output = Stream(pipes.from_output, job.output)
        self.errors = Stream(pipes.from_errors, job.output)
        self.result = Stream(pipes.from_result, job.result)
        self.input = pipes.to_input
        self.left = memoryview(job.input)
        self.stopped = ""
        self.code = -1
        self.deadline = time.monotonic() + job.seconds
        self.look_after = LOOK_SECONDS
        self.look_at = time.monotonic() + LOOK_SECONDS
        self.poll = select.poll()

    def run(self, lifeline: int) -> None:
        """Until it and all its processes ended. `lifeline` is readable once Atom wants it ended, or is gone."""
        ended = os.pidfd_open(self.started.pid)
        os.set_blocking(self.input, False)
        for file in (ended, lifeline, *(stream.file for stream in self._streams())):
            self.poll.register(file, select.POLLIN)
        self.poll.register(self.input, select.POLLOUT)
        if self.started.detour.proxy:
            self.poll.register(self.started.detour.listener, select.POLLIN)
        alive = True
        while alive:
            ready = dict(self.poll.poll(self._wait()))
            self._serve(ready)
            alive = ended not in ready and not self._why_stop(ready, lifeline)
        self._end()
        self._drain()
        os.close(ended)

    def _streams(self) -> tuple[Stream, Stream, Stream]:
        return self.output, self.errors, self.result

    def _wait(self) -> float:
        until = self.deadline if self._bounded() else min(self.deadline, self.look_at)
        return max(0.0, until - time.monotonic()) * 1000 + 1

    def _bounded(self) -> bool:
        return self.group is not None and self.started.quota and self.started.counted

    def _serve(self, ready: dict[int, int]) -> None:
        for stream in self._streams():
            if stream.file in ready and not stream.take():
                self.poll.unregister(stream.file)
        if self.input in ready:
            self._feed()
        self._connect(ready.get(self.started.detour.listener, 0))

    def _connect(self, asked: int) -> None:
        if asked & select.POLLIN:
            self.started.detour.serve()
        elif asked:  # nobody is left who could ask
            self.poll.unregister(self.started.detour.listener)

    def _feed(self) -> None:
        try:
            self.left = self.left[os.write(self.input, self.left) :] if self.left else self.left
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.left = self.left[:0]
        if not self.left:
            self.poll.unregister(self.input)
            os.close(self.input)
            self.input = -1

    def _why_stop(self, ready: dict[int, int], lifeline: int) -> str:
        if lifeline in ready:
            self.stopped = "killed"
        elif time.monotonic() >= self.deadline:
            self.stopped = "timeout"
        elif self.output.bytes + self.errors.bytes > self.job.output or self.result.full:
            self.stopped = "output"
        elif not self._bounded() and time.monotonic() >= self.look_at:
            self.stopped = self._look()
        return self.stopped

    def _look(self) -> str:
        self.look_after = min(self.look_after * 1.5, MOST_LOOK_SECONDS)
        self.look_at = time.monotonic() + self.look_after
        if self.group is None:
            found = tree.marked(self.job.mark)
            if tree.memory(found) > self.job.memory:
                return "oom"
            if len(found) > self.job.pids + 2:
                return "pids"
        return "disk" if self._disk_is_full() else ""

    def _disk_is_full(self) -> bool:
        if self.started.quota:
            space = os.fstatvfs(self.started.work)
            return space.f_files - space.f_ffree > folder.FILES_SEEN
        used, entries = folder.size(self.started.path)
        return used > self.job.disk or entries >= folder.FILES_SEEN

    def _end(self) -> None:
        """The program first, then whatever it left: it has no say in this."""
        if self.stopped:
            _signal(self.started.pid)
        status = os.waitpid(self.started.pid, 0)[1]
        if self.started.inner >= 0:
            _end_namespace(self.started.inner)
        self.code = os.waitstatus_to_exitcode(status)
        if self.code < 0:
            self.code = 128 - self.code
        tree.reap()
        if _has_children() and not tree.kill(self.job.mark, ours=True):
            raise OSError("processes could not be ended")
        while _has_children():
            os.waitpid(-1, 0)

    def _drain(self) -> None:
        """What is still in the pipes; nobody holds their other ends."""
        for stream in self._streams():
            while stream.open and not stream.full and stream.take():
                pass
        if not self.stopped and self.output.bytes + self.errors.bytes > self.job.output:
            self.stopped = "output"


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _end_namespace(first: int) -> None:
    """Its first process takes all others with it. Bubblewrap itself may end a moment before."""
    try:
        signal.pidfd_send_signal(first, signal.SIGKILL)
        os.waitid(os.P_PIDFD, first, os.WEXITED)
    except (ProcessLookupError, ChildProcessError):
        return


def _signal(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
