"""What `up`, `serve`, `worker` and `migrate` refuse before they open anything, and the lock that is theirs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atom.cli.home import occupied
from atom.cli.target import read_pid_file
from atom.infra.postgres_errors import HomeInUseError, HomeUnusableError

Cli = Callable[..., Any]
SECRET = "hunter2-is-secret"


@pytest.mark.parametrize("command", ["up", "migrate", "serve", "worker"])
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://atom:{SECRET}@localhost:port/atom",
        f"mysql://atom:{SECRET}@localhost/atom",
        f"postgresql://atom:{SECRET}@localhost",
        f"atom:{SECRET}@localhost/atom",
    ],
)
def test_malformed_database_url(cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    done = cli(command)
    assert (done.code, "code: database_url_malformed" in done.err) == (2, True), done
    assert done.err.startswith("error: DATABASE_URL ")
    assert "postgresql://user:password@host:port/database" in done.err
    assert SECRET not in done.err + done.out
    assert not Path(os.environ["ATOM_HOME"]).exists()


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_server_needs_a_database(cli: Cli, command: str) -> None:
    done = cli(command)
    assert (done.code, "DATABASE_URL is not set." in done.err, "atom up" in done.err) == (2, True, True)


def test_unknown_variable_names_the_one_that_is_meant(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOM_RUNS__MAX_TURN", "3")
    done = cli("up")
    assert done.code == 2
    assert "ATOM_RUNS__MAX_TURN is not a setting of Atom." in done.err
    assert "Did you mean ATOM_RUNS__MAX_TURNS?" in done.err


def test_provider_without_its_key(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PROVIDER", "openai")
    done = cli("up")
    assert (done.code, "OPENAI_API_KEY is not set, and openai was chosen." in done.err) == (2, True), done
    assert not Path(os.environ["ATOM_HOME"]).exists()


def test_home_has_one_atom_at_a_time_and_forgets_it_at_the_end(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with occupied(home) as place:
        assert read_pid_file(home) is None
        place.announce("http://127.0.0.1:1")
        found = read_pid_file(home)
        assert found is not None
        assert (found.pid, found.url) == (os.getpid(), "http://127.0.0.1:1")
        with pytest.raises(HomeInUseError, match=f"{home} is in use by Atom, process {os.getpid()}"), occupied(home):
            raise AssertionError("two at a time")
        assert read_pid_file(home) == found
    assert read_pid_file(home) is None
    with occupied(home):
        pass


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(HomeUnusableError, match="not a directory"), occupied(tmp_path / "home"):
        raise AssertionError("it cannot be used")
