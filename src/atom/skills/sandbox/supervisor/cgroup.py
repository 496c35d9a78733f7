"""Limits on a whole execution by control groups of either version, where this process may make them."""

import os

PREFIX = "atom-sandbox-"
NEEDED = ("memory", "pids")
PERIOD = 100_000  # microseconds: what the processor quota is counted over
ROOT = "/sys/fs/cgroup"


class Group:
    """The groups of one execution (one folder with version 2, one for each controller with version 1)."""

    def __init__(self, folders: dict[str, str], *, unified: bool) -> None:
        self.folders = folders
        self.unified = unified

    @classmethod
    def create(cls, name: str, *, memory: int, pids: int, cpus: float) -> "Group | None":
        """None where memory or processes cannot be limited this way: then other limits must do."""
        places = parents()
        if places is None:
            return None
        unified, found = places
        group = cls({kind: f"{parent}/{PREFIX}{name}" for kind, parent in found.items()}, unified=unified)
        try:
            for folder in sorted(set(group.folders.values())):
                os.mkdir(folder)
            group._limit(memory, pids, cpus)
        except OSError:
            group.remove()
            return None
        return group

    def join(self, pid: int) -> None:
        for folder in set(self.folders.values()):
            _write(f"{folder}/cgroup.procs", str(pid))

    def ran_out_of_memory(self) -> bool:
        name = "memory.events" if self.unified else "memory.oom_control"
        return _counter(f"{self.folders['memory']}/{name}", b"oom_kill") > 0

    def ran_out_of_pids(self) -> bool:
        return _counter(f"{self.folders['pids']}/pids.events", b"max") > 0

    def peak(self) -> int:
        """Most bytes held at a time."""
        name = "memory.peak" if self.unified else "memory.max_usage_in_bytes"
        return int(_read(f"{self.folders['memory']}/{name}") or 0)

    def remove(self) -> None:
        for folder in set(self.folders.values()):
            remove(folder)

    def _limit(self, memory: int, pids: int, cpus: float) -> None:
        _write(f"{self.folders['pids']}/pids.max", str(pids))
        quota = str(int(cpus * PERIOD))
        if self.unified:
            _write(f"{self.folders['memory']}/memory.max", str(memory))
            _optional(f"{self.folders['memory']}/memory.swap.max", "0")
            _optional(f"{self.folders['memory']}/memory.oom.group", "1")
            _optional(f"{self.folders['memory']}/cpu.max", f"{quota} {PERIOD}")
            return
        _write(f"{self.folders['memory']}/memory.limit_in_bytes", str(memory))
        _optional(f"{self.folders['memory']}/memory.memsw.limit_in_bytes", str(memory))
        if "cpu" in self.folders:
            _optional(f"{self.folders['cpu']}/cpu.cfs_period_us", str(PERIOD))
            _optional(f"{self.folders['cpu']}/cpu.cfs_quota_us", quota)


def parents() -> "tuple[bool, dict[str, str]] | None":
    """Whether they are of version 2, and the folder of each controller in which groups can be made."""
    own = _own()
    first = {kind: _existing(f"{ROOT}/{kind}", own.get(kind, "/")) for kind in (*NEEDED, "cpu")}
    usable = {kind: folder for kind, folder in first.items() if os.access(f"{folder}/cgroup.procs", os.W_OK)}
    if all(kind in usable for kind in NEEDED):
        return False, usable
    here = _existing(ROOT, own.get("", "/"))
    for folder in (os.path.dirname(here), here):
        enabled = _read(f"{folder}/cgroup.subtree_control").split()
        if all(kind.encode() in enabled for kind in NEEDED) and os.access(f"{folder}/cgroup.procs", os.W_OK):
            return True, dict.fromkeys((*NEEDED, "cpu"), folder)
    return None


def leftovers(name: str) -> list[str]:
    """Groups of an execution whose supervisor is gone."""
    places = parents()
    found = {f"{parent}/{PREFIX}{name}" for parent in (places[1].values() if places else ())}
    return sorted(folder for folder in found if os.path.isdir(folder))


def remove(folder: str) -> None:
    """It must be empty of processes; one that is being ended holds it for a moment."""
    try:
        os.rmdir(folder)
    except OSError:
        return


def _own() -> dict[str, str]:
    """The path of this process by controller; that of version 2 is under ''."""
    found = {}
    for line in _read("/proc/self/cgroup").decode().splitlines():
        _, kinds, path = line.split(":", 2)
        for kind in kinds.split(","):
            found[kind] = path
    return found


def _existing(mounted: str, path: str) -> str:
    folder = mounted + path.rstrip("/")
    return folder if os.path.isdir(folder) else mounted  # a container sees its own group as the root


def _optional(path: str, text: str) -> None:
    if os.path.exists(path):
        _write(path, text)


def _counter(path: str, name: bytes) -> int:
    words = _read(path).split()
    return int(words[words.index(name) + 1]) if name in words else 0


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(65536)
    except OSError:
        return b""
