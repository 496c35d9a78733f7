"""The Landlock way: the program sees the machine's names and opens almost none of them. Needs no namespace."""

import os
import resource

from atom.skills.sandbox.supervisor import cgroup, confine, folder, landlock, linux, seccomp, tree
from atom.skills.sandbox.supervisor.detour import Detour
from atom.skills.sandbox.supervisor.job import Job
from atom.skills.sandbox.supervisor.started import Started

# What a program needs of a system to run at all. Devices are files that hold nothing.
SYSTEM = ["/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/alternatives"]
DEVICES = ["/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]


def start(job: Job, pipes: confine.Pipes, group: "cgroup.Group | None") -> Started:
    if landlock.version() < 1:
        raise OSError("this kernel has no Landlock")
    if os.geteuid() == 0 and job.drop <= 0:
        raise OSError("refused: the program would be root")
    path = f"{job.state}/{job.id}"
    quota = _make(path, job)
    work = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with confine.acting_as(job.drop):
        folder.fill(work, job.files)
    same_user = job.drop < 0
    processes = job.pids + (tree.user_tasks(os.geteuid()) if same_user and group is None else 0)
    filter_bytes = seccomp.assemble(shared=True, same_user=same_user, hosts=job.proxy > 0)
    detour = Detour(job.proxy)

    def last() -> None:
        os.chdir(path)
        if not same_user or group is None:
            confine.lower(resource.RLIMIT_NPROC, processes)
        landlock.restrict(read=[*SYSTEM, *DEVICES, *job.read, *job.layers], write=[path, "/dev/null"])
        detour.enter()
        seccomp.install(filter_bytes)
        os.execve(job.command[0], job.command, job.placed(path, job.layers))

    pid = confine.start(job, pipes, group, join=True, keep=detour.kept, last=last)
    detour.hear()
    return Started(pid, -1, work, path, quota=quota, counted=quota, detour=detour)


def _make(path: str, job: Job) -> bool:
    """The working folder. True where a file system of its own bounds it, which only root can make."""
    os.mkdir(path, 0o700)
    if job.drop < 0:
        return False
    options = f"size={job.disk},nr_inodes={folder.FILES_SEEN},mode=0700,uid={job.drop},gid={job.drop}"
    try:
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount(None, b"/", None, linux.MS_REC | linux.MS_PRIVATE, None)
        linux.mount(b"tmpfs", path.encode(), b"tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options.encode())
    except OSError:
        os.chown(path, job.drop, job.drop)  # root without the capability: the folder is watched instead
        return False
    return True
