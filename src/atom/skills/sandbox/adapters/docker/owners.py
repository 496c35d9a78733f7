"""Whose a container is, and which containers are nobody's: those whose owner's lease nobody holds any more.

Several Atoms may share one engine. Only those that share the folder of leases can tell whether the other lives; what
belongs to another folder or machine is left alone while it runs (it ends by itself, because its input does).
"""

import asyncio
import fcntl
import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from atom.skills.sandbox.adapters.docker.engine import Engine, EngineError

log = structlog.get_logger(__name__)

LABEL = "atom.sandbox"  # the owner
FOLDER_LABEL = "atom.sandbox.folder"  # where its lease is
LEASE = ".docker"
BOOT = Path("/proc/sys/kernel/random/boot_id")
STOPPED = frozenset({"created", "exited", "dead"})
STALE_SECONDS = 3600.0  # a container that does not run this long after it was made was given up by whoever made it
MOST = 1000
GONE, GOING, BROKEN = 404, 409, 500
ATTEMPTS = 60
PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.05, 0.5


@dataclass(slots=True)
class Owner:
    """This process, as the engine's labels name it. The lease is held from the first container until `close`."""

    folder: Path
    name: str = ""
    lease: int = -1

    def labels(self) -> dict[str, str]:
        """Raises OSError when no lease can be held."""
        if self.lease < 0:
            self.name = secrets.token_hex(8)
            draft = self.folder / f".{self.name}"
            self.lease = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.lease, fcntl.LOCK_EX)
            draft.rename(self.folder / f"{self.name}{LEASE}")
        return {LABEL: self.name, FOLDER_LABEL: identity(self.folder)}

    def close(self) -> None:
        if self.lease >= 0:
            (self.folder / f"{self.name}{LEASE}").unlink(missing_ok=True)
            os.close(self.lease)
            self.lease = -1


async def reap(engine: Engine, folder: Path) -> int:
    """Remove what is nobody's. How many there were; 0 where no engine answers."""
    query = {"all": "1", "limit": str(MOST), "filters": f'{{"label": ["{LABEL}"]}}'}
    count, here = 0, identity(folder)
    try:
        found = await engine.call("GET", "/containers/json", query=query)
        for one in found:
            labels = one.get("Labels") or {}
            if not _is_orphan(one, labels, folder, here):
                continue
            await remove(engine, one["Id"])
            log.warning("sandbox.orphan_reaped", container=one["Id"][:12], owner=labels.get(LABEL), backend="docker")
            count += 1
    except EngineError as error:
        log.warning("sandbox.engine_failed", backend="docker", detail=str(error))
    await asyncio.to_thread(_forget, folder)
    return count


async def remove(engine: Engine, container: str) -> None:
    """With everything that belongs to it; back when it is gone. Raises EngineError.

    The engine removes a container that ends, too. Whoever comes second is told that it is going, or of a file system
    that is still busy, and asks again: waiting for it instead is for good where it went in just that moment.
    """
    for attempt in range(ATTEMPTS):
        try:
            await engine.call("DELETE", f"/containers/{container}", query={"force": "1", "v": "1"})
        except EngineError as error:
            if error.status == GONE:
                return
            last = attempt + 1 == ATTEMPTS
            if last or not (error.status == GOING or error.status >= BROKEN):
                raise
        else:
            return
        await asyncio.sleep(min(PAUSE_SECONDS * (attempt + 1), MOST_PAUSE_SECONDS))


def identity(folder: Path) -> str:
    """The same for two processes only if a lease of one is the other's too."""
    found = folder.stat()
    here = f"{BOOT.read_text('ascii')} {os.uname().nodename} {found.st_dev} {found.st_ino}"
    return hashlib.sha256(here.encode()).hexdigest()[:16]


def _is_orphan(one: dict[str, Any], labels: dict[str, str], folder: Path, here: str) -> bool:
    owner = str(labels.get(LABEL, ""))
    if labels.get(FOLDER_LABEL) == here and owner.isalnum():
        return not _is_held(folder / f"{owner}{LEASE}")
    return one.get("State") in STOPPED and float(one.get("Created", time.time())) < time.time() - STALE_SECONDS


def _forget(folder: Path) -> None:
    for lease in folder.glob(f"*{LEASE}"):
        if not _is_held(lease):
            lease.unlink(missing_ok=True)


def _is_held(lease: Path) -> bool:
    try:
        file = os.open(lease, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
