"""What a supervisor leaves that was ended by force: found by its lease, which nobody holds any more."""

import fcntl
import os
from pathlib import Path

import structlog

from atom.skills.sandbox.supervisor import cgroup, folder, tree
from atom.skills.sandbox.supervisor.main import LEASE

log = structlog.get_logger(__name__)


def reap(state: Path) -> int:
    """How many executions were cleaned up after. Those whose supervisor lives are left alone."""
    count = 0
    for path in sorted(state.glob(f"*{LEASE}")):
        try:
            lease = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            count += _reap(path, lease)
        finally:
            os.close(lease)
    return count


def _reap(path: Path, lease: int) -> int:
    try:
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    name = path.name.removesuffix(LEASE)
    mark = os.read(lease, 32)
    ended = tree.kill(int(mark), ours=False) if mark.isdigit() else True
    work = path.with_name(name)
    if work.is_dir():
        folder.remove(str(work))
    for group in cgroup.leftovers(name):
        cgroup.remove(group)
    path.unlink(missing_ok=True)
    log.warning("sandbox.orphan_reaped", execution_id=name, ended=ended)
    return 1
