"""One migrator brings a database to this code's schema, whole or not at all, and says plainly why it could not."""

import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import URL

from atom.infra.database_url import libpq
from atom.infra.schema import MIGRATION_LOCK, MigrationError, SchemaError, head, migrate
from tests.conftest import Cluster

MIGRATOR = """
import sys
from pydantic import SecretStr
from atom.infra.database_url import parse_database_url
from atom.infra.schema import migrate
url = parse_database_url(SecretStr(sys.stdin.readline()))
print("ready", flush=True)
sys.stdin.readline()
done = migrate(url)
print(done.before, done.after)
"""


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[URL]:
    """A database without any schema."""
    name = f"empty_{uuid4().hex[:12]}"
    yield cluster.create(name)
    cluster.drop(name)


def query(url: URL, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def tables(url: URL) -> list[str]:
    return [name for (name,) in query(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


def test_empty_database_is_brought_up_and_doing_it_again_changes_nothing(empty: URL) -> None:
    first = migrate(empty)
    assert (first.before, first.after) == (None, head())
    assert query(empty, "SELECT version_num FROM alembic_version") == [(head(),)]
    query(empty, "INSERT INTO app_user (id, name, role) VALUES (gen_random_uuid(), 'kept', 'admin')")
    again = migrate(empty)
    assert (again.before, again.after) == (head(), head())
    assert query(empty, "SELECT name FROM app_user") == [("kept",)]


def test_of_two_migrators_at_once_one_does_it(empty: URL) -> None:
    text = empty.set(drivername="postgresql").render_as_string(hide_password=False)
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen([sys.executable, "-c", MIGRATOR], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{text}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
    said = sorted(process.communicate("go\n")[0].splitlines()[-1] for process in both)
    assert said == sorted([f"None {head()}", f"{head()} {head()}"])


def test_newer_schema_is_refused_and_left_alone(empty: URL) -> None:
    migrate(empty)
    query(empty, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError) as caught:
        migrate(empty)
    assert caught.value.code == "schema_incompatible"
    assert "9999" in caught.value.message
    assert head() in caught.value.message
    assert query(empty, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_table_that_is_in_use_is_not_waited_for(empty: URL, cluster: Cluster) -> None:
    """A migration behind a lock makes every other statement wait behind it. At the first look, and in a revision."""
    other = cluster.create(f"empty_{uuid4().hex[:12]}")
    query(empty, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    with psycopg.connect(libpq(empty)) as one, psycopg.connect(libpq(other)) as two:
        one.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        two.execute("CREATE TABLE app_user (id int)")
        began = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            refused = [task.exception() for task in [pool.submit(migrate, url) for url in (empty, other)]]
        assert 4 < time.monotonic() - began < 20
        one.rollback()
        two.rollback()
    assert all(isinstance(error, MigrationError) and "for longer than 5 s" in str(error) for error in refused)
    assert tables(empty) == ["alembic_version"]
    assert set(tables(other)) <= {"alembic_version"}
    assert (migrate(empty).after, migrate(other).after) == (head(), head())
    cluster.drop(str(other.database))


def test_revision_that_fails_half_way_leaves_nothing_behind(empty: URL) -> None:
    query(empty, "CREATE TABLE job (id int)")  # in the way of the last part of the first revision
    with pytest.raises(MigrationError, match="DuplicateTable"):
        migrate(empty)
    assert sorted(tables(empty)) in (["job"], ["alembic_version", "job"])
    assert query(empty, "SELECT count(*) FROM pg_type WHERE typname LIKE 'procrastinate%'") == [(0,)]
    query(empty, "DROP TABLE job")
    assert migrate(empty).after == head()


def test_migrator_that_waits_for_another_gives_up_in_its_time(empty: URL) -> None:
    with psycopg.connect(libpq(empty)) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        began = time.monotonic()
        with pytest.raises(MigrationError, match="Another process has been migrating"):
            migrate(empty, lock_wait=0.3)
        assert time.monotonic() - began < 10
        assert tables(empty) == []
        timer = threading.Timer(0.5, other.rollback)
        timer.start()
        other.execute("SELECT pg_advisory_unlock(%s)", (MIGRATION_LOCK,))
        assert migrate(empty, lock_wait=10).after == head()
        timer.join()


def test_killed_migrator_leaves_the_lock_to_the_next(empty: URL, cluster: Cluster) -> None:
    holder = psycopg.connect(libpq(empty), application_name="dying")
    holder.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
    with cluster.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dying'")
    assert migrate(empty, lock_wait=10).after == head()
    holder.close()


CANARY = "hunter2Canary9XyZ"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": CANARY}, "refuses the user or its password"),
        ({"username": CANARY}, "refuses the user or its password"),
        ({"database": CANARY}, "no such database or role"),
        ({"port": 1}, "Nothing listens"),
        ({"host": f"{CANARY}.invalid"}, "cannot be resolved"),
        ({"query": {"sslmode": "require"}}, "encryption"),
    ],
)
def test_database_that_cannot_be_reached_is_told_by_its_reason_alone(
    empty: URL, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MigrationError) as caught:
        migrate(empty.set(**change))
    assert reason in caught.value.message
    assert CANARY not in str(caught.value)
    assert str(empty.password) not in "".join(traceback.format_exception(caught.value))
    assert not caught.value.retryable


def test_reasons_are_distinct(empty: URL) -> None:
    said = set()
    for change in ({"password": "x"}, {"database": "x"}, {"port": 1}, {"host": "x.invalid"}):
        with pytest.raises(MigrationError) as caught:
            migrate(empty.set(**change))
        said.add(caught.value.message)
    assert len(said) == 4


def test_role_without_rights_is_told_and_changes_nothing(empty: URL, cluster: Cluster) -> None:
    with cluster.admin() as admin:
        admin.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
    try:
        with pytest.raises(MigrationError, match="InsufficientPrivilege"):
            migrate(empty.set(username="weak", password="weak"))
        assert tables(empty) == []
    finally:
        with cluster.admin() as admin:
            admin.execute("DROP ROLE weak")
