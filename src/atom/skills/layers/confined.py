"""The process that becomes pip: it can write to one folder, and where it needs no network it has none."""

import os
import resource
import sys

from atom.skills.sandbox.supervisor import confine, landlock, linux, seccomp

SYSTEM = ["/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc", "/dev/zero", "/dev/random", "/dev/urandom"]
OPEN_FILES = 1024


def main() -> None:
    """Arguments: parent's pid, `online` or `offline`, bytes of one file, seconds, the folder it may write to, what it
    may read (a line each), then the command."""
    parent, network, size, seconds, write, read, *command = sys.argv[1:]
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    if os.getppid() != int(parent):
        os._exit(1)
    confine.lower(resource.RLIMIT_CORE, 0)
    confine.lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    confine.lower(resource.RLIMIT_FSIZE, int(size))
    confine.lower(resource.RLIMIT_CPU, int(seconds) + 1)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    if network == "offline":
        if landlock.version() >= 1:
            landlock.restrict(read=[*SYSTEM, *filter(None, read.splitlines())], write=[write, "/dev/null"])
        if seccomp.supported():
            seccomp.install(seccomp.assemble(shared=True, same_user=False))
    os.execv(command[0], command)  # noqa: S606 - exec is its work
