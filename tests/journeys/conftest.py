"""Homes for real processes, and what a scripted model says in them."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from atom.infra.embedded_postgres import EmbeddedPostgres, read_endpoint
from atom.infra.postgres_errors import HomeInUseError
from tests.support.processes import atom, roomy_folder, script

PLAIN = {"replies": [{"tool_calls": [{"name": "current_time"}]}, "It is late."]}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, roomy, open to walk through; empty."""
    path = Path(tempfile.mkdtemp(prefix="atom-j-", dir=roomy_folder()))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def made_home() -> Iterator[Path]:
    """A home whose database has been made, by one `atom up --once`. For copies: `initdb` is most of a first start."""
    path = Path(tempfile.mkdtemp(prefix="atom-j-", dir=roomy_folder()))
    path.chmod(0o711)
    home = path / "home"
    done = atom(home, "up", "--port", "0", "--once", env=script(path, PLAIN))
    assert done.code == 0, done
    yield home
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def home(folder: Path, made_home: Path) -> Path:
    """A copy of that home: a database, an admin's token, no agent."""
    copy = folder / "home"
    shutil.copytree(made_home, copy, copy_function=shutil.copy2)
    _same_owners(made_home, copy)
    return copy


def _same_owners(original: Path, copy: Path) -> None:
    for path in [original, *original.rglob("*")]:
        status = path.lstat()
        os.chown(copy / path.relative_to(original), status.st_uid, status.st_gid, follow_symlinks=False)


def ask(home: Path, query: str) -> list[tuple[object, ...]]:
    """Straight to the embedded database of a home, started for it when no Atom runs there."""
    server = EmbeddedPostgres(home)
    with contextlib.suppress(HomeInUseError):
        server.start()
    endpoint = read_endpoint(home)
    assert endpoint is not None
    try:
        with psycopg.connect(endpoint.url.get_secret_value()) as connection:
            return connection.execute(query.encode()).fetchall()
    finally:
        server.stop()
