"""The embedded PostgreSQL: a `postgres` of Atom's own, which lives exactly as long as Atom.

It ends when Atom ends, cleanly even after `kill -9` of Atom, and comes back when it is killed itself. Two starts on one
home never meet: the second is refused with the pid of the first. Everything here is synchronous; `ensure_running` may
be called from any thread.
"""

import os
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from atom.errors import UnavailableError
from atom.infra.postgres_binaries import Binaries
from atom.infra.postgres_cluster import prune_logs
from atom.infra.postgres_endpoint import Endpoint, build_endpoint, control_folder, is_own_url, read_endpoint
from atom.infra.postgres_errors import HomeInUseError
from atom.infra.postgres_place import ROOT_STORE, LockedError, prepare_home, sign_lock, take_lock
from atom.infra.postgres_process import Launcher, Postmaster
from atom.infra.postgres_start import Ground, bring_up, prepare

__all__ = ["EmbeddedPostgres", "Endpoint", "is_own_url", "read_endpoint"]

LOCK_SECONDS = 0.5  # a killed Atom's lock is let go at once; this covers its last moment

log = structlog.get_logger(service="database")


@dataclass(frozen=True, slots=True)
class _Running:
    """All that exists between start and stop."""

    home_lock: int
    ground: Ground
    endpoint: Endpoint
    postmaster: Postmaster


@dataclass(slots=True)
class EmbeddedPostgres:
    """Supervises the PostgreSQL of one home. `port` None: the port of last time while it is free, else a free one.

    `store` is where root keeps databases whose home is closed to an unprivileged account. `binaries` None: found.
    """

    home: Path
    port: int | None = None
    store: Path = ROOT_STORE
    binaries: Binaries | None = None
    watcher: bool = sys.platform == "darwin"
    _mutex: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _running: _Running | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.home = self.home.absolute()  # children work in another folder

    @property
    def endpoint(self) -> Endpoint:
        """How to reach it. Only while started."""
        return self._started().endpoint

    @property
    def data_dir(self) -> Path:
        """Where the data is. Only while started."""
        return self._started().ground.place.data

    def start(self) -> None:
        """Come up, first making the database if this home has none. Raises AtomError, with nothing left running."""
        with self._mutex:
            if self._running is None:
                self._running = self._open()

    def stop(self) -> None:
        """Shut down cleanly (bounded, then by force) and let go of the home. Harmless when not started."""
        with self._mutex:
            running, self._running = self._running, None
            if running is None:
                return
            try:
                running.postmaster.stop()
            finally:
                running.ground.launcher.close()
                os.close(running.home_lock)
            log.info("database.stopped", port=running.endpoint.port)

    def ensure_running(self) -> bool:
        """Bring a dead postmaster back, on the same port. True when it had to. To be called every second or so."""
        with self._mutex:
            running = self._running
            if running is None:
                return False
            prune_logs(running.ground.place)
            if running.postmaster.alive:
                return False
            log.error("database.postmaster_ended", status=running.postmaster.process.returncode)
            self._running = replace(running, postmaster=running.ground.launch(running.endpoint.port))
            log.warning("database.restarted", port=running.endpoint.port)
            return True

    def _started(self) -> _Running:
        if self._running is None:
            raise UnavailableError("The embedded PostgreSQL is not started.", hint="Start Atom with `atom up`.")
        return self._running

    def _open(self) -> _Running:
        began = time.monotonic()
        prepare_home(self.home)
        home_lock = self._take_home()
        launcher = Launcher(watcher=self.watcher)
        try:
            ground = prepare(self.home, store=self.store, binaries=self.binaries, launcher=launcher)
            postmaster = bring_up(ground, self.port)
        except BaseException:
            launcher.close()
            os.close(home_lock)
            raise
        endpoint = build_endpoint(self.home, replace(ground.state, port=postmaster.port), ground.credentials)
        seconds = round(time.monotonic() - began, 3)
        log.info("database.started", port=endpoint.port, data=str(ground.place.data), seconds=seconds)
        return _Running(home_lock, ground, endpoint, postmaster)

    def _take_home(self) -> int:
        """The lock that keeps a second Atom out, held until `stop` or until this process ends, however it ends."""
        try:
            descriptor = take_lock(control_folder(self.home) / "lock", seconds=LOCK_SECONDS)
        except LockedError as error:
            raise HomeInUseError(self.home, error.pid) from None
        sign_lock(descriptor, os.getpid())
        return descriptor
