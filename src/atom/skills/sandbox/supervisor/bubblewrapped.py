"""The bubblewrap way: namespaces of its own, in which there is almost nothing, and that vanish with the program."""

import os
import resource
import time

from atom.skills.sandbox.supervisor import cgroup, confine, folder, landlock, seccomp
from atom.skills.sandbox.supervisor.detour import Detour
from atom.skills.sandbox.supervisor.job import Job
from atom.skills.sandbox.supervisor.started import Started

SETUP_SECONDS = 10.0
WORK = "/work"
LAYERS = "/layers"
DEVICES = ("null", "zero", "full", "random", "urandom")
NAMESPACES = ("user", "pid", "net", "ipc", "uts")
OWN_PROCESSES = 2  # bubblewrap outside, and pid 1 inside
MERGED = ("bin", "lib", "lib64", "lib32", "sbin")


def start(job: Job, pipes: confine.Pipes, group: "cgroup.Group | None") -> Started:
    """Raises OSError with bubblewrap's own words where it could not make the namespaces."""
    if os.geteuid() == 0 and job.drop <= 0:
        raise OSError("refused: bubblewrap started by root is a way out")
    ready = "ready-" + os.urandom(8).hex()
    rules, to_rules = os.pipe()
    status, to_status = os.pipe()
    gate, to_gate = os.pipe()
    os.write(to_rules, seccomp.assemble(shared=False, same_user=False, hosts=job.proxy > 0))
    os.close(to_rules)
    detour = Detour(job.proxy)
    line = command(job, ready, rules=rules, status=to_status, gate=gate)

    def last() -> None:
        if os.geteuid() == 0:
            raise PermissionError("refused: bubblewrap started by root is a way out")
        for file in (rules, to_status, gate):
            os.set_inheritable(file, True)
        if landlock.version() >= 4:
            landlock.restrict(read=None, write=None)
        detour.enter()  # bubblewrap itself connects to nothing
        os.execve(job.bwrap, line, {})  # an empty environment: that of pid 1 can be read inside

    pid = confine.start(job, pipes, group, join=False, keep=[rules, to_status, gate, *detour.kept], last=last)
    detour.hear()
    for file in (rules, to_status, gate):
        os.close(file)
    if group is not None:  # joining waits for the kernel, about as long as bubblewrap needs to make its mounts
        group.join(pid)
    inner = _inner(status)
    if group is not None:
        group.join(inner)
    work = _work(inner, ready, pid)
    _fill(job, inner, work)
    os.write(to_gate, b"g")
    os.close(to_gate)
    return Started(pid, os.pidfd_open(inner), work, "", quota=True, counted=False, detour=detour)


def command(job: Job, ready: str, *, rules: int, status: int, gate: int) -> list[str]:
    """The command line. The empty folder `ready` shows from outside that all mounts are made."""
    line = [job.bwrap]
    line += [f"--unshare-{kind}" for kind in NAMESPACES]
    line += ["--unshare-cgroup-try", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--cap-drop", "ALL"]
    line += ["--new-session", "--die-with-parent", *_system(job)]
    line += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dir", "/dev"]
    for name in DEVICES:
        line += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    line += ["--symlink", "/proc/self/fd", "/dev/fd", "--symlink", f"{WORK}/tmp", "/dev/shm"]  # noqa: S108 - inside
    line += ["--symlink", f"{WORK}/tmp", "/tmp", "--size", str(job.disk), "--perms", "0700", "--tmpfs", WORK]  # noqa: S108
    line += ["--dir", f"/{ready}", "--remount-ro", "/", "--chdir", WORK]
    layers = [f"{LAYERS}/{number}" for number in range(len(job.layers))]
    for name, value in job.placed(WORK, layers).items():
        line += ["--setenv", name, value]
    line += ["--seccomp", str(rules), "--json-status-fd", str(status), "--block-fd", str(gate)]
    return [*line, "--", *job.command]


def _system(job: Job) -> list[str]:
    line = ["--ro-bind", "/usr", "/usr"]
    for name in MERGED:
        if os.path.islink(f"/{name}"):
            line += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            line += ["--ro-bind", f"/{name}", f"/{name}"]
    for path in ("/etc/ld.so.cache", "/etc/alternatives", *job.read):
        line += ["--ro-bind-try", path, path]
    for number, path in enumerate(job.layers):
        line += ["--ro-bind", path, f"{LAYERS}/{number}"]
    return line


def _inner(status: int) -> int:
    """The pid of the first process inside, as bubblewrap tells it."""
    told = b""
    while b"}" not in told:
        part = os.read(status, 4096)
        if not part:
            raise OSError("bubblewrap could not make the namespaces")
        told += part
    os.close(status)
    at = told.index(b'"child-pid":') + len(b'"child-pid":')
    return int(told[at:].replace(b"}", b",").split(b",", 1)[0])


def _work(inner: int, ready: str, pid: int) -> int:
    """Open the working folder from outside, once the new root is there. While open it outlives the namespace."""
    until = time.monotonic() + SETUP_SECONDS
    root = f"/proc/{inner}/root"
    while not os.path.isdir(f"{root}/{ready}"):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            raise OSError("bubblewrap could not make the mounts")
        if time.monotonic() > until:
            raise OSError(f"bubblewrap was not ready in {SETUP_SECONDS:g} s")
        time.sleep(0.0005)
    return os.open(root + WORK, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _fill(job: Job, inner: int, work: int) -> None:
    """As the program's user, who owns its namespaces: their file systems take files only from users they know."""
    with confine.acting_as(job.drop):
        folder.fill(work, job.files)
        # Counted within the user namespace: other processes of the user are not in it.
        resource.prlimit(inner, resource.RLIMIT_NPROC, (job.pids + 1, job.pids + 1))
