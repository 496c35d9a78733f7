"""The embedded PostgreSQL lives exactly as long as Atom, loses nothing, and lets in only who has the password."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from atom.errors import UnavailableError
from atom.infra.embedded_postgres import EmbeddedPostgres, Endpoint, is_own_url, read_endpoint
from atom.infra.postgres_account import Account
from atom.infra.postgres_binaries import find_binaries, readable_binaries
from atom.infra.postgres_errors import (
    DataDamagedError,
    DataMissingError,
    DataVersionError,
    HomeInUseError,
    PortInUseError,
    PostgresStartError,
    UnsafeSettingError,
)

PARENT = """
import sys, time
from pathlib import Path
from atom.infra.embedded_postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]), watcher=sys.argv[2] == "watcher")
postgres.start()
print(postgres.endpoint.port, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with an initialised, stopped database; open enough that root's database lies inside."""
    folder = Path(tempfile.mkdtemp(prefix="atom-test-", dir=roomy_folder()))
    folder.chmod(0o711)
    with running(folder):
        pass
    yield folder
    shutil.rmtree(folder)


def roomy_folder() -> str:
    """Memory where there is enough of it: these rules do not need to wait for a busy disk."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 2**30 else "/tmp"


@contextmanager
def running(home: Path, port: int | None = None) -> Iterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(home, port)
    postgres.start()
    try:
        yield postgres
    finally:
        postgres.stop()


@contextmanager
def parent_process(home: Path, mode: str = "plain") -> Iterator["subprocess.Popen[str]"]:
    """Another Atom, as far as the database goes, in a process of its own. It has started when this yields."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PARENT, str(home), mode]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().strip().isdigit():  # log lines come first
            assert process.poll() is None
        try:
            yield process
        finally:
            process.kill()


def ask(endpoint: Endpoint, query: str, user: str = "atom", host: str | None = None) -> list[tuple[object, ...]]:
    """As an operator would: the password comes from the password file alone."""
    with psycopg.connect(
        host=host or endpoint.host,
        port=endpoint.port,
        user=user,
        dbname=endpoint.database,
        passfile=str(endpoint.passfile),
        autocommit=True,
    ) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def servers(home: Path) -> list[psutil.Process]:
    """Every process of a `postgres` that works in this home, the watcher included."""
    data = str(home / "postgres" / "data")
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == data or data in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def postmaster(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]))


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_role_atom_owns_its_database_and_is_no_superuser(home: Path) -> None:
    query = """SELECT rolsuper, rolcreaterole, rolbypassrls, pg_get_userbyid(datdba), current_database()
               FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"""
    with running(home) as postgres:
        assert ask(postgres.endpoint, query) == [(False, False, False, "atom", "atom")]


@pytest.mark.parametrize("user", ["atom", "postgres"])
def test_both_roles_enter_by_tcp_and_by_socket_with_the_password_file(home: Path, user: str) -> None:
    with running(home) as postgres:
        for host in ("127.0.0.1", "localhost", str(postgres.endpoint.socket_dir)):
            assert ask(postgres.endpoint, "SELECT current_user::text", user, host) == [(user,)]


def test_guides_psql_lines_work(home: Path) -> None:
    psql = str(find_binaries().program("psql"))
    with running(home) as postgres:
        end = postgres.endpoint
        names = {"PGHOST": end.host, "PGPORT": str(end.port), "PGUSER": end.user, "PGDATABASE": end.database}
        environment = {"PGPASSFILE": str(end.passfile), **names}
        for options in (["-U", "atom", "-d", "atom", "-c", "SELECT 1;"], ["-U", "postgres", "-c", r"\l"]):
            done = subprocess.run([psql, *options], env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_nobody_enters_without_the_password(home: Path) -> None:
    with running(home) as postgres:
        end = postgres.endpoint
        for host in (end.host, str(end.socket_dir)):
            for user in ("atom", "postgres"):
                with pytest.raises(psycopg.OperationalError, match="password"):
                    psycopg.connect(host=host, port=end.port, user=user, dbname="atom", password="guess")
        rules = ask(end, "SELECT DISTINCT auth_method FROM pg_hba_file_rules", "postgres")
        stored = ask(
            end, "SELECT bool_and(rolpassword LIKE 'SCRAM-SHA-256$%') FROM pg_authid WHERE rolcanlogin", "postgres"
        )
    assert (rules, stored) == ([("scram-sha-256",)], [(True,)])


def test_extensions_are_there_and_work_for_the_role_atom(home: Path) -> None:
    with running(home) as postgres:
        end = postgres.endpoint
        assert ask(end, "SELECT '[3,4]'::vector <-> '[0,0]'::vector, similarity('atom', 'atom')") == [(5.0, 1.0)]
        assert ask(end, "SELECT count(*) > 0 FROM pg_stat_statements") == [(True,)]


def test_settings_that_atom_relies_on_are_in_effect(home: Path) -> None:
    expected = {
        "data_checksums": "on",
        "fsync": "on",
        "idle_in_transaction_session_timeout": "1min",
        "listen_addresses": "127.0.0.1",
        "logging_collector": "on",
        "max_connections": "100",
        "password_encryption": "scram-sha-256",
        "server_encoding": "UTF8",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
    }
    with running(home) as postgres:
        assert {name: ask(postgres.endpoint, f"SHOW {name}")[0][0] for name in expected} == expected
        locale = ask(postgres.endpoint, "SELECT datcollate, datctype FROM pg_database WHERE datname = 'atom'")
        assert locale == [("C.UTF-8", "C.UTF-8")]


def test_superuser_can_change_a_setting_and_it_stays(home: Path) -> None:
    with running(home) as postgres:
        ask(postgres.endpoint, "ALTER SYSTEM SET idle_in_transaction_session_timeout = '5min'", "postgres")
    with running(home) as postgres:
        assert ask(postgres.endpoint, "SHOW idle_in_transaction_session_timeout") == [("5min",)]
        ask(postgres.endpoint, "ALTER SYSTEM RESET idle_in_transaction_session_timeout", "postgres")


def test_warm_start_keeps_port_passwords_and_data(home: Path) -> None:
    with running(home) as postgres:
        before = postgres.endpoint
        ask(before, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert servers(home) == []
    assert read_endpoint(home) == before
    with running(home) as postgres:
        assert postgres.endpoint == before
        assert ask(before, "SELECT answer FROM kept") == [(42,)]


def test_taken_port_of_last_time_is_replaced_and_the_old_url_still_recognised(home: Path) -> None:
    old = read_endpoint(home)
    assert old is not None
    with taken(old.port), running(home) as postgres:
        assert postgres.endpoint.port != old.port
        assert read_endpoint(home) == postgres.endpoint
        assert is_own_url(home, old.url.get_secret_value())


def test_given_port_is_used_and_refused_clearly_when_taken(home: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = int(server.getsockname()[1])
        with pytest.raises(PortInUseError, match=str(port)), running(home, port):
            pass
    with running(home, port) as postgres:
        assert postgres.endpoint.port == port


@contextmanager
def taken(port: int) -> Iterator[None]:
    with closing(socket.create_server(("127.0.0.1", port))):
        yield


def test_second_start_on_one_home_is_refused_naming_the_holder(home: Path) -> None:
    with running(home) as postgres:
        with pytest.raises(HomeInUseError, match=f"process {os.getpid()}") as refusal, running(home):
            pass
        assert refusal.value.code == "home_in_use"
        assert ask(postgres.endpoint, "SELECT 1") == [(1,)]
    with parent_process(home) as parent, pytest.raises(HomeInUseError, match=f"process {parent.pid}"), running(home):
        pass


@pytest.mark.parametrize("mode", ["plain", "watcher"])
def test_kill_9_of_atom_ends_postgres_and_keeps_what_was_committed(home: Path, mode: str) -> None:
    with parent_process(home, mode) as parent:
        endpoint = read_endpoint(home)
        assert endpoint is not None
        ask(endpoint, "DROP TABLE IF EXISTS survivor; CREATE TABLE survivor AS SELECT 7 AS answer")
        with psycopg.connect(endpoint.url.get_secret_value()) as busy:
            busy.execute("INSERT INTO survivor VALUES (8)")  # never committed
            parent.kill()
            assert within(3, lambda: servers(home) == [])
            busy.close()
    with running(home) as postgres:
        assert ask(postgres.endpoint, "SELECT answer FROM survivor") == [(7,)]


def test_start_right_after_kill_9_waits_for_the_dying_postgres(home: Path) -> None:
    with parent_process(home) as parent:
        parent.kill()
        with running(home) as postgres:
            assert ask(postgres.endpoint, "SELECT 1") == [(1,)]


def test_postgres_that_was_left_alone_is_shut_down_by_the_next_start(home: Path) -> None:
    """A killed watcher, which only macOS needs, leaves one behind."""
    with parent_process(home, "watcher") as parent:
        watcher = next(process for process in servers(home) if process.ppid() == parent.pid)
        watcher.kill()
        parent.kill()
        time.sleep(0.5)
        assert servers(home)
    with running(home) as postgres:
        assert ask(postgres.endpoint, "SELECT 1") == [(1,)]
    newest = max((home / "postgres" / "log").iterdir())
    assert "was not properly shut down" not in newest.read_text()


def test_killed_postmaster_comes_back_on_its_port_with_its_data(home: Path) -> None:
    with running(home) as postgres:
        end = postgres.endpoint
        ask(end, "DROP TABLE IF EXISTS comeback; CREATE TABLE comeback AS SELECT 1 AS answer")
        assert not postgres.ensure_running()
        with psycopg.connect(end.url.get_secret_value()) as busy, closing(busy):
            busy_loop = threading.Thread(target=spin, args=(busy,))
            busy_loop.start()
            postmaster(home).kill()
            assert within(2, postgres.ensure_running)
            busy_loop.join()
        assert postgres.endpoint == end
        assert ask(end, "SELECT answer FROM comeback") == [(1,)]
        assert not postgres.ensure_running()
    assert not postgres.ensure_running()  # stopped on purpose


def spin(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """A backend that is busy computing does not notice by itself that its postmaster died."""
    with pytest.raises(psycopg.OperationalError):
        connection.execute("DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$")


def test_end_of_the_thread_that_called_start_does_not_end_postgres(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    starter = threading.Thread(target=postgres.start)
    starter.start()
    starter.join()
    try:
        time.sleep(0.3)
        assert ask(postgres.endpoint, "SELECT 1") == [(1,)]
        assert not postgres.ensure_running()
    finally:
        postgres.stop()


def test_ctrl_c_in_the_terminal_does_not_reach_postgres(home: Path) -> None:
    with running(home):
        pid = postmaster(home).pid
        assert os.getsid(pid) == os.getpgid(pid) == pid != os.getsid(0)


def test_keys_of_atom_are_not_in_the_environment_of_postgres(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-not-for-postgres")
    with running(home):
        assert "ANTHROPIC_API_KEY" not in postmaster(home).environ()


@pytest.mark.parametrize("name", ["fsync", "synchronous_commit"])
def test_unsafe_setting_in_a_file_is_refused(home: Path, name: str) -> None:
    conf = home / "postgres" / "data" / "postgresql.conf"
    before = conf.read_text()
    conf.write_text(f"{before}\n{name} = off\n")
    with pytest.raises(UnsafeSettingError, match=name), running(home):
        pass
    conf.write_text(before)
    assert servers(home) == []


def test_unsafe_setting_of_the_role_is_refused_and_nothing_keeps_running(home: Path) -> None:
    with running(home) as postgres:
        ask(postgres.endpoint, "ALTER ROLE atom SET synchronous_commit = off", "postgres")
        with pytest.raises(UnsafeSettingError, match="synchronous_commit"):
            try_again(postgres)
        assert servers(home) == []
        ask_offline(home, "ALTER ROLE atom RESET synchronous_commit;")


def try_again(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    postgres.start()


def ask_offline(home: Path, statement: str) -> None:
    """What an operator does while Atom refuses to start: the server by hand, as its own user."""
    data = home / "postgres" / "data"
    owner = data.stat()
    account = Account(owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None
    program = readable_binaries(find_binaries(), account, home / "postgres").program("postgres")
    endpoint = read_endpoint(home)
    assert endpoint is not None
    server = subprocess.Popen(
        [program, "-D", data, "-p", str(endpoint.port), "-k", endpoint.socket_dir],
        user=owner.st_uid if os.geteuid() == 0 else None,
        group=owner.st_gid if os.geteuid() == 0 else None,
    )
    try:
        assert within(
            5, lambda: "ready" in (data / "postmaster.pid").read_text() if (data / "postmaster.pid").exists() else False
        )
        ask(endpoint, statement, "postgres")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(10)


def test_lost_password_file_is_replaced_and_the_data_kept(home: Path) -> None:
    with running(home) as postgres:
        ask(postgres.endpoint, "DROP TABLE IF EXISTS locked_in; CREATE TABLE locked_in AS SELECT 3 AS answer")
        old = postgres.endpoint.url.get_secret_value()
    (home / "postgres" / "pgpass").unlink()
    with running(home) as postgres:
        assert ask(postgres.endpoint, "SELECT answer FROM locked_in") == [(3,)]
        assert ask(postgres.endpoint, "SELECT DISTINCT auth_method FROM pg_hba_file_rules", "postgres") == [
            ("scram-sha-256",)
        ]
        assert not is_own_url(home, old)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(old)


def test_changed_password_of_the_role_atom_is_set_back(home: Path) -> None:
    with running(home) as postgres:
        ask(postgres.endpoint, "ALTER ROLE atom PASSWORD 'elsewhere'", "postgres")
    with running(home) as postgres:
        assert ask(postgres.endpoint, "SELECT 1") == [(1,)]


def test_broken_configuration_file_is_named(home: Path) -> None:
    conf = home / "postgres" / "data" / "postgresql.conf"
    before = conf.read_text()
    conf.write_text(f"{before}\nnot a setting\n")
    with pytest.raises(PostgresStartError, match=r"postgresql\.conf"), running(home):
        pass
    conf.write_text(before)


def test_data_of_another_major_version_is_refused(home: Path) -> None:
    older = replace(find_binaries(), version="17.2")
    with pytest.raises(DataVersionError, match=r"PostgreSQL 18, the binaries are PostgreSQL 17"):
        EmbeddedPostgres(home, binaries=older).start()


@pytest.mark.parametrize("name", ["PG_VERSION", "global/pg_control"])
def test_damaged_data_directory_is_refused_and_left_as_it_is(home: Path, name: str) -> None:
    part = home / "postgres" / "data" / name
    aside = part.rename(part.with_name("aside"))
    with pytest.raises(DataDamagedError, match=name), running(home):
        pass
    assert not part.exists()
    aside.rename(part)


def test_unreadable_write_ahead_log_says_why(home: Path) -> None:
    wal = home / "postgres" / "data" / "pg_wal"
    aside = wal.rename(wal.with_name("aside"))
    with pytest.raises(PostgresStartError, match="pg_wal") as refusal, running(home):
        pass
    assert "log" in refusal.value.hint
    if wal.exists():
        shutil.rmtree(wal)
    aside.rename(wal)


def test_missing_data_is_never_replaced_by_an_empty_database(home: Path) -> None:
    data = home / "postgres" / "data"
    aside = data.rename(data.with_name("aside"))
    with pytest.raises(DataMissingError, match=str(data)), running(home):
        pass
    assert not data.exists()
    aside.rename(data)


def test_home_that_moved_keeps_its_database(home: Path) -> None:
    with running(home) as postgres:
        ask(postgres.endpoint, "DROP TABLE IF EXISTS moved; CREATE TABLE moved AS SELECT 5 AS answer")
    elsewhere = home.rename(home.with_name(f"{home.name}, it's moved: äöü"))  # no path for a socket or for pgpass
    with running(elsewhere) as postgres:
        end = postgres.endpoint
        assert ask(end, "SELECT answer FROM moved", host=str(end.socket_dir)) == [(5,)]
        assert end.socket_dir.parent == Path("/tmp")
        shutil.rmtree(end.socket_dir)
    elsewhere.rename(home)


def test_no_password_is_in_logs_or_command_lines(home: Path) -> None:
    with running(home) as postgres:
        lines = [" ".join(process.cmdline()) for process in servers(home)]
        texts = [path.read_text() for path in (home / "postgres" / "log").iterdir()]
        secrets = [
            url.get_secret_value().split(":")[2].split("@")[0]
            for url in (postgres.endpoint.url, postgres.endpoint.admin_url)
        ]
        assert not [secret for secret in secrets for text in [*lines, *texts, repr(postgres)] if secret in text]


def test_old_logs_are_pruned(home: Path) -> None:
    logs = home / "postgres" / "log"
    for number in range(20):
        (logs / f"postgres-2020-01-01_0000{number:02}.log").touch()
    with running(home) as postgres:
        postgres.ensure_running()
        assert len(list(logs.iterdir())) == 5


def test_files_of_the_home_are_closed_to_others(home: Path) -> None:
    with running(home) as postgres:
        control = home / "postgres"
        modes = {
            name: (control / name).stat().st_mode & 0o777 for name in ("pgpass", "endpoint.json", "data", "run", "log")
        }
        assert modes == {"pgpass": 0o600, "endpoint.json": 0o600, "data": 0o700, "run": 0o700, "log": 0o700}
        assert postgres.data_dir == control / "data"


def test_what_is_not_started_has_no_endpoint(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    with pytest.raises(UnavailableError, match="not started"):
        _ = postgres.endpoint
    postgres.stop()
    assert read_endpoint(tmp_path) is None
