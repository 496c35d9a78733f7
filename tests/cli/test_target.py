"""Where Atom is and which credential goes there; the local admin token stays on this machine."""

import json
import os
from pathlib import Path

import pytest

from atom.cli.target import is_alive, locate, read_pid_file
from atom.settings import Settings, load


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    token = made / "admin-token"
    token.write_text("atom_admin\n")
    token.chmod(0o600)
    return made


def settings(home: Path, **environ: str) -> Settings:
    return load({"ATOM_HOME": str(home), **environ})


def write_pid(home: Path, **fields: object) -> None:
    value = {"pid": os.getpid(), "url": "http://127.0.0.1:8123", "started_at": "2026-01-01T00:00:00Z", **fields}
    (home / "atom.pid").write_text(json.dumps(value))


def test_the_running_atom_of_this_home_is_found_with_its_token(home: Path) -> None:
    write_pid(home)
    target = locate(settings(home))
    assert (target.url, target.token) == ("http://127.0.0.1:8123", "atom_admin")
    assert "atom_admin" not in repr(target)


def test_what_the_settings_say_wins(home: Path) -> None:
    write_pid(home)
    target = locate(settings(home, ATOM_URL="http://localhost:9000", ATOM_TOKEN="mine"))
    assert (target.url, target.token) == ("http://localhost:9000", "mine")


@pytest.mark.parametrize("url", ["http://atom.example.com", "http://127.evil.example", "http://10.0.0.1", "http://["])
def test_the_admin_token_is_never_sent_to_another_machine(home: Path, url: str) -> None:
    assert locate(settings(home, ATOM_URL=url)).token is None


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "https://LOCALHOST"])
def test_the_admin_token_serves_this_machine(home: Path, url: str) -> None:
    assert locate(settings(home, ATOM_URL=url)).token == "atom_admin"


def test_the_pid_file_of_a_dead_process_is_not_believed(home: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    write_pid(home, pid=child)
    assert not is_alive(child)
    assert locate(settings(home)).url == "http://127.0.0.1:8000"
    assert locate(settings(home, ATOM_WEB__PORT="8200")).url == "http://127.0.0.1:8200"


BROKEN = ["", "{", "[]", "null", '{"pid": 1}', '{"pid": "5", "url": "x", "started_at": 0}', '{"pid": -1, "url": "x"}']


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_pid_file_is_as_none(home: Path, text: str) -> None:
    (home / "atom.pid").write_text(text)
    assert read_pid_file(home) is None


def test_a_token_that_others_may_read_is_used_with_a_warning(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "admin-token").chmod(0o644)
    assert locate(settings(home)).token == "atom_admin"
    assert f"chmod 600 {home / 'admin-token'}" in capsys.readouterr().err


def test_without_a_token_there_is_none(home: Path) -> None:
    (home / "admin-token").unlink()
    assert locate(settings(home)).token is None
    (home / "admin-token").write_bytes(b"\xff\xfe")
    assert locate(settings(home)).token is None
