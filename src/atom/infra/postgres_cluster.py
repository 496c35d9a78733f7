"""The data directory: made by `initdb` as a whole or not at all, checked before every start."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from atom.infra.postgres_account import (
    CHILD_ENVIRONMENT,
    Account,
    give,
    initdb_account,
    private_folder,
)
from atom.infra.postgres_binaries import Binaries
from atom.infra.postgres_endpoint import SUPERUSER, write_file
from atom.infra.postgres_errors import (
    DataDamagedError,
    DataVersionError,
    DiskFullError,
    PostgresStartError,
    UnsafeSettingError,
    translated,
)
from atom.infra.postgres_place import Place

INITDB_SECONDS = 120
NEEDED_MEGABYTES = 80  # 46 MB at rest; asked first, because a bootstrap that fails leaves 1 MB of shared memory behind
PROBE_SECONDS = 10
LOCALE = ["--locale=C.UTF-8"] if sys.platform != "darwin" else ["--locale=en_US.UTF-8", "--lc-collate=C"]
SYNCFS_MAJOR = 17  # one call for the whole file system took 0.5 s where one for each of 1,000 files took 2 s
LOGS_KEPT = 5
NO_SPACE = "No space left on device"
MUST_BE_ON = ("fsync", "synchronous_commit")
SETTINGS = """\
# Written by Atom at every start. ALTER SYSTEM, and lines at the end of data/postgresql.conf, win over this file.
cluster_name = 'atom'
max_connections = 100
password_encryption = 'scram-sha-256'
shared_preload_libraries = 'pg_stat_statements'
idle_in_transaction_session_timeout = '60s'
log_lock_waits = on
logging_collector = on
log_directory = '../log'
log_filename = 'postgres-%Y-%m-%d_%H%M%S.log'
log_rotation_age = '1d'
log_rotation_size = '10MB'
"""

Run = Callable[[list[str], Account | None], "subprocess.CompletedProcess[str]"]


def create_cluster(place: Place, binaries: Binaries, password: str, run: Run) -> None:
    """`initdb` beside the final place, then one rename: a failure leaves no half-made data directory behind."""
    account = initdb_account(place.account, place.home)
    work = place.storage / "initdb"
    try:
        with translated(place.storage):
            if shutil.disk_usage(place.storage).free < NEEDED_MEGABYTES * 10**6:
                raise DiskFullError(place.storage, needed_megabytes=NEEDED_MEGABYTES)
            _initdb(private_folder(work, account), binaries, account, password, run)
            if account != place.account:
                give(work / "data", place.account)
            (work / "data").rename(place.data)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_leftovers(place: Place) -> None:
    """What an `initdb` left whose Atom was killed: it never became the data directory."""
    with translated(place.storage), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place.storage / "initdb")


def _initdb(work: Path, binaries: Binaries, account: Account | None, password: str, run: Run) -> None:
    data, passwords = work / "data", work / "password"
    passwords.touch(mode=0o600)
    passwords.write_text(f"{password}\n", encoding="utf-8")
    give(passwords, account)
    options = ["--username", SUPERUSER, f"--pwfile={passwords}", "--auth=scram-sha-256", "--data-checksums"]
    if sys.platform == "linux" and binaries.major >= SYNCFS_MAJOR:
        options.append("--sync-method=syncfs")
    command = [str(binaries.program("initdb")), "-D", str(data), "--encoding=UTF8", *LOCALE, *options]
    try:
        done = run([*command, "--no-instructions"], account)
    except subprocess.TimeoutExpired as error:
        raise PostgresStartError(f"initdb took longer than {INITDB_SECONDS} s", work) from error
    if done.returncode != 0:
        raise _initdb_failure(done.stdout, work)
    conf = data / "postgresql.conf"
    conf.write_text(f"include '../atom.conf'\n{conf.read_text(encoding='utf-8')}", encoding="utf-8")


def _initdb_failure(output: str, work: Path) -> Exception:
    if NO_SPACE in output:
        return DiskFullError(work.parent)
    marks = ("FATAL:", "PANIC:", "initdb: error:", "error")
    said = next((line for mark in marks for line in output.splitlines() if mark in line), "it said nothing")
    return PostgresStartError(f"initdb failed: {said.strip()}", work.parent)


def check_cluster(place: Place, binaries: Binaries) -> None:
    """Refuse a data directory of another major version, or one that is plainly not whole."""
    try:
        found = (place.data / "PG_VERSION").read_text(encoding="utf-8").strip()
    except OSError as error:
        raise DataDamagedError(place.data, "its file PG_VERSION cannot be read") from error
    if found != str(binaries.major):
        raise DataVersionError(place.data, found=found, binaries=binaries.major)
    if not (place.data / "global" / "pg_control").is_file():
        raise DataDamagedError(place.data, "its file global/pg_control is missing")


def write_settings(place: Place) -> None:
    """Atom's defaults; PostgreSQL reads them, so the account's group may."""
    write_file(place.storage / "atom.conf", SETTINGS, 0o640)


def refuse_unsafe_files(place: Place, binaries: Binaries) -> None:
    """Ask `postgres` what the files amount to, before anything runs on them."""
    for name in MUST_BE_ON:
        value = _effective(place, binaries, name)
        if value == "off":
            raise UnsafeSettingError(name, value, f"{place.data}/postgresql.conf or postgresql.auto.conf")


def _effective(place: Place, binaries: Binaries, name: str) -> str:
    account = place.account
    try:
        answer = subprocess.run(
            [binaries.program("postgres"), "-C", name, "-D", place.data],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
            cwd="/",
            env=CHILD_ENVIRONMENT,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except subprocess.SubprocessError as error:
        said = (error.stderr or "").strip().splitlines() if isinstance(error, subprocess.CalledProcessError) else []
        reason = said[-1] if said else f"postgres -C {name} failed"
        raise PostgresStartError(f"its settings cannot be read ({reason})", place.data / "postgresql.conf") from error
    return answer.stdout.strip()


def prune_logs(place: Place) -> None:
    """Keep the newest few: with rotation at 10 MB the logs of `postgres` stay near 60 MB."""
    for old in log_files(place)[LOGS_KEPT:]:
        old.unlink(missing_ok=True)


def log_files(place: Place) -> list[Path]:
    """The logs of `postgres`, newest first: their names are times."""
    return sorted(place.logs.glob("postgres-*.log"), reverse=True)
