"""`atom env` gives a shell exactly the values there are, whatever characters they hold."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atom.infra.postgres_endpoint import (
    Credentials,
    State,
    build_endpoint,
    control_folder,
    write_credentials,
    write_state,
)

Cli = Callable[..., Any]
NAMES = ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSFILE", "DATABASE_URL", "ATOM_URL", "ATOM_TOKEN")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose path no shell takes unquoted."""
    made = tmp_path / 'it\'s a $(home) "of" `mine`'
    control_folder(made).mkdir(parents=True)
    monkeypatch.setenv("ATOM_HOME", str(made))
    return made


def embed(home: Path, port: int = 5433) -> str:
    credentials, state = Credentials("owner-secret", "super-secret"), State("data", port, "/tmp/s")
    write_credentials(home, credentials, None)
    write_state(home, state)
    token = home / "admin-token"
    token.write_text("atom_admin")
    token.chmod(0o600)
    return build_endpoint(home, state, credentials).url.get_secret_value()


def in_shell(lines: str, *names: str) -> list[str]:
    script = 'eval "$1"; shift; for name; do eval "printf \'%s\\0\' \\"\\$$name\\""; done'
    done = subprocess.run(
        ["sh", "-c", script, "sh", lines, *names], capture_output=True, check=True, timeout=10, text=True
    )
    assert done.stderr == ""
    return done.stdout.split("\0")[:-1]


def test_a_shell_reads_back_what_was_meant(home: Path, cli: Cli) -> None:
    url = embed(home)
    shown = cli("env")
    assert (shown.code, shown.err) == (0, "")
    passfile = str(home / "postgres" / "pgpass")
    local = ["127.0.0.1", "5433", "atom", "atom", passfile, url, "http://127.0.0.1:8000", "atom_admin"]
    assert in_shell(shown.out, *NAMES) == local
    assert all(line.startswith("export ") for line in shown.out.splitlines())
    assert list(json.loads(cli("env", "--json").out).values()) == local


def test_its_own_database_url_in_the_shell_changes_nothing(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", embed(home, port=5433))
    embed(home, port=5500)
    assert in_shell(cli("env").out, "PGPORT", "PGPASSFILE") == ["5500", str(home / "postgres" / "pgpass")]


def test_an_external_database_is_pointed_at(home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(home)
    url = "postgresql://me:p%40%27w%20%24x@db.example/prod?sslmode=require"
    monkeypatch.setenv("DATABASE_URL", url)
    names = ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSSLMODE", "DATABASE_URL")
    assert in_shell(cli("env").out, *names) == ["db.example", "5432", "me", "prod", "p@'w $x", "require", url]
    assert "PGPASSFILE" not in cli("env").out


def test_a_malformed_database_url_exits_2_without_the_password(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db:port/x")
    shown = cli("env")
    assert (shown.code, shown.out) == (2, "")
    assert "DATABASE_URL" in shown.err
    assert "hunter2" not in shown.err


def test_with_nothing_there_it_prints_nothing_for_the_shell(cli: Cli) -> None:
    shown = cli("env")
    assert (shown.code, shown.out) == (1, "")
    assert "start `atom up` first" in shown.err


@pytest.mark.parametrize(("version", "newer"), [("15.18 (Debian 15.18-0+deb12u1)", True), ("99.1", False)])
def test_psql_too_old_for_the_embedded_server_gives_way_to_its_own(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, newer: bool
) -> None:
    embed(home)
    old = tmp_path / "bin" / "psql"
    old.parent.mkdir()
    old.write_text(f"#!/bin/sh\necho 'psql (PostgreSQL) {version}'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    [path] = in_shell(cli("env").out, "PATH")
    assert path.endswith(f"{old.parent}:/usr/bin:/bin")
    assert (not path.startswith(str(old.parent))) is newer
    if newer:
        assert (Path(path.partition(":")[0]) / "psql").exists()
