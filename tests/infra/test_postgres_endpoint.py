"""The password file and the recognition of the own URL."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.infra.embedded_postgres import is_own_url, read_endpoint
from atom.infra.postgres_endpoint import (
    Credentials,
    State,
    control_folder,
    new_credentials,
    passfile_of,
    read_credentials,
    state_file,
    write_credentials,
    write_file,
    write_state,
)
from atom.infra.postgres_errors import HomeUnusableError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    control_folder(tmp_path).mkdir()
    write_credentials(tmp_path, Credentials("own-er", "super_user"), Path("/run/atom"))
    write_state(tmp_path, State("data", 5555, "/run/atom"))
    return tmp_path


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("postgresql://atom:own-er@127.0.0.1:5555/atom", True),
        ("postgresql://atom:own-er@127.0.0.1:6666/atom", True),
        ("postgresql://atom:own-er@localhost/atom?sslmode=disable", True),
        ("postgres://atom:own%2Der@localhost:1/atom", True),
        ("postgresql+psycopg://postgres:super_user@127.0.0.1:5555/atom", True),
        ("postgresql://atom:super_user@127.0.0.1:5555/atom", False),
        ("postgresql://atom:other@127.0.0.1:5555/atom", False),
        ("postgresql://atom@127.0.0.1:5555/atom", False),
        ("postgresql://atom:own-er@db.example.com:5555/atom", False),
        ("postgresql://atom:own-er@127.0.0.1:5555/other", False),
        ("postgresql://someone:own-er@127.0.0.1:5555/atom", False),
        ("mysql://atom:own-er@127.0.0.1:5555/atom", False),
        ("postgresql://atom:own-er@[::1:5555/atom", False),
        ("", False),
    ],
)
def test_own_url_is_recognised_by_user_password_database_and_loopback(home: Path, url: str, own: bool) -> None:
    assert is_own_url(home, url) is own


@given(st.text())
def test_no_text_breaks_the_recognition(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    home = tmp_path_factory.getbasetemp() / "no-home"
    assert not is_own_url(home, text)
    assert not is_own_url(home, f"postgresql://{text}@127.0.0.1/atom")


def test_endpoint_is_read_back_by_another_process(home: Path) -> None:
    endpoint = read_endpoint(home)
    assert endpoint is not None
    assert endpoint.url.get_secret_value() == "postgresql://atom:own-er@127.0.0.1:5555/atom"
    assert endpoint.admin_url.get_secret_value() == "postgresql://postgres:super_user@127.0.0.1:5555/atom"
    assert "own-er" not in repr(endpoint)


def test_password_file_offers_the_password_to_this_machine_only(home: Path) -> None:
    lines = passfile_of(home).read_text().splitlines()
    assert {line.split(":")[0] for line in lines} == {"127.0.0.1", "localhost", "/run/atom"}
    assert stat.S_IMODE(passfile_of(home).stat().st_mode) == 0o600


def test_opened_password_file_is_closed_again(home: Path) -> None:
    credentials = read_credentials(home)
    assert credentials is not None
    passfile_of(home).chmod(0o644)
    write_credentials(home, credentials, Path("/run/atom"))
    assert stat.S_IMODE(passfile_of(home).stat().st_mode) == 0o600


def test_password_file_without_both_roles_counts_as_lost(home: Path) -> None:
    passfile_of(home).write_text("*:*:*:atom:own-er\n# comment\nnonsense\n")
    assert read_credentials(home) is None


def test_passwords_are_long_different_and_never_shown() -> None:
    one, two = new_credentials(), new_credentials()
    passwords = {one.owner, one.superuser, two.owner, two.superuser}
    assert len(passwords) == 4
    assert min(map(len, passwords)) >= 43
    assert not [password for password in passwords if password in repr((one, two))]
    assert not set("".join(passwords)) & set(":\\@/%?#")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"port": "x", "data_dir": "data", "socket_dir": "/run"}'])
def test_garbled_state_is_refused_naming_the_file(home: Path, text: str) -> None:
    state_file(home).write_text(text)
    with pytest.raises(HomeUnusableError, match=r"endpoint\.json"):
        read_endpoint(home)


def test_home_whose_first_start_was_cut_short_has_no_endpoint(home: Path) -> None:
    write_state(home, State("data", 0, "/run/atom"))
    assert read_endpoint(home) is None


def test_write_replaces_the_whole_file_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_file(target, "old")
    (tmp_path / "file.partial").write_text("left by a crash")
    write_file(target, "new")
    assert (target.read_text(), list(tmp_path.iterdir())) == ("new", [target])
