"""The Docker way: the supervisor is the first process of a container that has one execution and no other.

It is out of the program's reach, although both are the same user: the first process of a namespace gets no signal from
inside, and one that is not dumpable opens neither its memory nor its descriptors to its own user. Its reply is read as
if an enemy wrote it all the same.
"""

import json
import os
import select
import time

from atom.skills.sandbox.supervisor import cgroup, confine, folder, linux, seccomp, wire
from atom.skills.sandbox.supervisor.job import Job
from atom.skills.sandbox.supervisor.main import report
from atom.skills.sandbox.supervisor.started import Started
from atom.skills.sandbox.supervisor.tree import kill
from atom.skills.sandbox.supervisor.watch import Watch

WORK = "/work"
LAYERS = "/layers"  # where the engine has put them, in their order
INPUT, OUTPUT = 0, 1  # to and from Atom; its end is the lifeline
PLACES = ("/usr/local/bin", "/usr/bin", "/bin")
PROGRAMS = {"python": "python3", "bash": "bash", "node": "node"}
SECONDS_TO_ASK = 1800.0  # then nobody will: Atom renews containers long before
FIRST_TO_END = "1000"  # of a container that is out of memory


def serve() -> None:
    """One request, one reply. Ends without a word where Atom goes away first."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    _send({"programs": _programs(), "pid": os.getpid()}, [])
    if not select.select([INPUT], [], [], SECONDS_TO_ASK)[0]:
        return
    try:
        request = wire.receive(INPUT)
    except EOFError:
        return
    job, token = Job(request), request["token"]
    request.clear()  # what is kept here counts with the program's memory
    reply = _execute(job)
    found = reply.pop("artefacts", [])
    files = found if isinstance(found, list) else []
    blobs = [part for name in ("output", "errors", "result") if isinstance(part := reply.pop(name, b""), bytes)]
    head = {**reply, "token": token, "names": [name for name, _ in files]}
    _send(head, blobs + [body for _, body in files])


def _execute(job: Job) -> wire.Reply:
    if not seccomp.supported():
        return {"reason": "engine", "detail": "no filter of system calls for this machine"}
    group = _group()
    pipes = confine.Pipes()
    began = time.monotonic()
    try:
        started = _start(job, pipes, group)
        pipes.close_theirs()
        watch = Watch(job, started, pipes, group)
        watch.run(INPUT)
        return report(job, watch, started, group, time.monotonic() - began)
    except OSError as error:
        kill(job.mark, ours=True)
        return {"reason": "engine", "detail": str(error)}


def _start(job: Job, pipes: confine.Pipes, group: "cgroup.Group") -> Started:
    work = os.open(WORK, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    folder.fill(work, job.files)
    job.files.clear()
    rules = seccomp.assemble(shared=False, same_user=False)

    layers = [f"{LAYERS}/{number}" for number in range(len(job.layers))]

    def last() -> None:
        linux.prctl(linux.PR_SET_DUMPABLE, 1)  # its own files under /proc are its own again
        with open("/proc/self/oom_score_adj", "w") as own:
            own.write(FIRST_TO_END)
        os.chdir(WORK)
        seccomp.install(rules)
        os.execve(job.command[0], job.command, job.placed(WORK, layers))

    pid = confine.start(job, pipes, group, join=False, keep=[], last=last)
    return Started(pid, -1, work, "", quota=True, counted=True)


def _group() -> "cgroup.Group":
    """The container's own, which bounds it; seen from inside as the root, and read only."""
    unified = os.path.exists(f"{cgroup.ROOT}/cgroup.procs")
    folders = {kind: cgroup.ROOT if unified else f"{cgroup.ROOT}/{kind}" for kind in cgroup.NEEDED}
    return cgroup.Group(folders, unified=unified)


def _programs() -> "dict[str, str]":
    found = {}
    for language, name in PROGRAMS.items():
        for place in PLACES:
            path = f"{place}/{name}"
            if os.access(path, os.X_OK) and language not in found:
                found[language] = os.path.realpath(path)
    return found


def _send(head: "dict[str, object]", blobs: "list[bytes]") -> None:
    """The length of the head, the head (JSON), and the blobs, whose sizes it names."""
    text = json.dumps({**head, "sizes": [len(blob) for blob in blobs]}).encode("ascii")
    for part in (len(text).to_bytes(wire.LENGTH, "little"), text, *blobs):
        folder.write(OUTPUT, part)
