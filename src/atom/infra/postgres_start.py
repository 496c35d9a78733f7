"""The way up: from a home folder to a PostgreSQL that Atom can log in to."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import psycopg
import structlog

from atom.infra.postgres_binaries import Binaries, find_binaries, readable_binaries
from atom.infra.postgres_cluster import (
    check_cluster,
    create_cluster,
    refuse_unsafe_files,
    remove_leftovers,
    write_settings,
)
from atom.infra.postgres_endpoint import (
    LOOPBACK,
    Credentials,
    State,
    new_credentials,
    read_credentials,
    read_state,
    write_credentials,
    write_file,
    write_state,
)
from atom.infra.postgres_errors import (
    DiskFullError,
    HomeInUseError,
    PortInUseError,
    PostgresStartError,
    translated,
)
from atom.infra.postgres_place import LockedError, Place, choose_socket_dir, find_place, open_storage, take_lock
from atom.infra.postgres_process import (
    Launcher,
    Postmaster,
    end_orphans,
    free_port,
    newest_log,
    port_is_free,
    read_pidfile,
    server_processes,
)
from atom.infra.postgres_provision import PasswordRefusedError, Provisioner

GRACE_SECONDS = 0.5  # the postgres of a killed Atom, or backends of a killed postmaster, mostly leave by themselves
PREVIOUS_SECONDS = 30.0
KILLED_SECONDS = 5.0
PORT_ATTEMPTS = 5
TRUST_OWN_SOCKET = "local all postgres trust\n"

log = structlog.get_logger(service="database")


@dataclass(frozen=True, slots=True)
class Ground:
    """Everything a start stands on, settled before `postgres` runs."""

    home: Path
    place: Place
    binaries: Binaries
    launcher: Launcher
    credentials: Credentials
    socket_dir: Path

    def command(self, port: int, *settings: str) -> list[str]:
        listen = ("-p", str(port), "-k", str(self.socket_dir), "-c", f"listen_addresses={LOOPBACK}")
        return [str(self.binaries.program("postgres")), "-D", str(self.place.data), *listen, *settings]

    def launch(self, port: int, *settings: str) -> Postmaster:
        """One `postgres` on this port, ready. Refuses settings that would lose committed work."""
        refuse_unsafe_files(self.place, self.binaries)
        lock = _wait_for_previous(self.place)
        try:
            with translated(self.place.storage):
                return Postmaster.launch(
                    self.launcher, self.place, self.command(port, *settings), port=port, running_lock=lock
                )
        finally:
            os.close(lock)  # its copy in `postgres` keeps it locked

    @property
    def state(self) -> State:
        return State(self.place.recorded_data, 0, str(self.socket_dir))


def prepare(home: Path, *, store: Path, binaries: Binaries | None, launcher: Launcher) -> Ground:
    """Find or make the cluster and the passwords. Changes nothing in an existing data directory."""
    found = binaries or find_binaries()
    place = find_place(home, store)
    open_storage(place)
    with translated(place.storage):
        readable = readable_binaries(found, place.account, place.storage)
    recorded = read_state(home)
    socket_dir = choose_socket_dir(place, recorded.socket_dir if recorded else None)
    credentials = read_credentials(home) or new_credentials()
    write_credentials(home, credentials, socket_dir)
    ground = Ground(home, place, readable, launcher, credentials, socket_dir)
    remove_leftovers(place)
    write_settings(place)
    if not place.data.is_dir():
        create_cluster(place, readable, credentials.superuser, launcher.run)
        write_state(home, ground.state)
    check_cluster(place, readable)
    return ground


def bring_up(ground: Ground, wanted: int | None) -> Postmaster:
    """Start on the wanted port, else on the recorded one, else on a free one, and make sure that Atom can log in."""
    recorded = read_state(ground.home)
    postmaster = _on_some_port(ground, wanted, recorded.port if recorded else 0)
    with _stopped_on_failure(ground, postmaster):
        provisioner = Provisioner(ground.socket_dir, postmaster.port, ground.credentials)
        try:
            provisioner.provision()
        except PasswordRefusedError:
            log.warning("database.passwords_reset", reason="the server does not know those of the password file")
        else:
            return postmaster
    postmaster.stop()
    return _with_new_passwords(ground, provisioner)


def _with_new_passwords(ground: Ground, provisioner: Provisioner) -> Postmaster:
    """Who may enter the data directory may set its passwords: without TCP, on a socket only this account can reach."""
    trust = ground.place.storage / "trust.conf"
    write_file(trust, TRUST_OWN_SOCKET, 0o640)
    private = ground.launch(provisioner.port, "-c", "listen_addresses=", "-c", f"hba_file={trust}")
    with _stopped_on_failure(ground, private):
        provisioner.set_passwords(None)
    private.stop()
    trust.unlink()
    postmaster = ground.launch(provisioner.port)
    with _stopped_on_failure(ground, postmaster):
        provisioner.provision()
    return postmaster


def _on_some_port(ground: Ground, wanted: int | None, recorded: int) -> Postmaster:
    if wanted is not None and not port_is_free(wanted):
        raise PortInUseError(wanted)
    port = wanted or (recorded if recorded and port_is_free(recorded) else free_port())
    for attempt in range(1, PORT_ATTEMPTS + 1):
        write_state(ground.home, replace(ground.state, port=port))
        try:
            return ground.launch(port)
        except PortInUseError:  # another program was faster
            if wanted is not None or attempt == PORT_ATTEMPTS:
                raise
            port = free_port()
    raise PortInUseError(port)


@contextmanager
def _stopped_on_failure(ground: Ground, postmaster: Postmaster) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.DiskFull as error:
        postmaster.stop()
        raise DiskFullError(ground.place.storage) from error
    except (psycopg.Error, PasswordRefusedError) as error:
        postmaster.stop()
        reason = f"it cannot be set up ({type(error).__name__})"
        raise PostgresStartError(reason, newest_log(ground.place)) from error
    except BaseException:
        postmaster.stop()
        raise


def _wait_for_previous(place: Place) -> int:
    """The lock that every process of the previous `postgres` holds until it has ended.

    The caller has the home's lock, so no Atom owns what still runs: it is shutting down, or it was left alone.
    """
    path = place.storage / "running.lock"
    with suppress(LockedError):
        return take_lock(path, seconds=GRACE_SECONDS)
    postmaster = _left_alone(place)
    if postmaster is not None:
        with suppress(psutil.NoSuchProcess):
            postmaster.send_signal(signal.SIGINT)  # fast shutdown; nothing new to one that is in it already
        with suppress(LockedError):
            return take_lock(path, seconds=PREVIOUS_SECONDS)
    end_orphans(place)
    try:
        return take_lock(path, seconds=KILLED_SECONDS)
    except LockedError:
        pid = next((int(line) for line in read_pidfile(place)[:1]), None)
        raise HomeInUseError(place.home, pid, holder="an earlier PostgreSQL that does not end") from None


def _left_alone(place: Place) -> psutil.Process | None:
    lines = read_pidfile(place)
    return next(
        (process for process in server_processes(place) if lines and str(process.pid) == lines[0].strip()), None
    )
