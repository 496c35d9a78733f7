"""System programs for tests: nothing happens when they are there, and their lack never ends `make test`."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "test-prerequisites"
PROGRAMS = ("psql", "pg_isready", "jq", "curl", "redis-server", "bwrap", "dockerd")
APT = """#!/bin/sh
echo "$*" >>{log}
case "$*" in
  *update*) touch {fresh};;
  *install*) [ -e {fresh} ] || exit 100;;
esac
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with the shell's basics and all programs but jq and psql."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "env", "timeout", "touch"):
        (folder / name).symlink_to(shutil.which(name) or "")
    for name in ("pg_isready", "curl", "redis-server", "bwrap", "dockerd"):
        program(folder, name, "#!/bin/sh\n")
    return folder


def program(folder: Path, name: str, code: str) -> None:
    (folder / name).write_text(code, "utf-8")
    (folder / name).chmod(0o755)


def run(path: Path, *, uid: int) -> str:
    program(path, "id", f"#!/bin/sh\necho {uid}\n")
    for made in ("build/s3-server/bin/moto_server", "build/agentdojo/complete"):
        (path.parent / made).parent.mkdir(parents=True, exist_ok=True)
        program(path.parent, made, "")
    done = subprocess.run(
        [str(SCRIPT)],
        env={"PATH": str(path)},
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def apt(path: Path) -> Path:
    """An apt-get whose package lists are too old until it updated them."""
    log = path.parent / "apt.log"
    program(path, "apt-get", APT.format(log=log, fresh=path.parent / "fresh"))
    return log


def test_nothing_is_said_or_done_when_all_are_there(path: Path) -> None:
    log = apt(path)
    for name in PROGRAMS:
        program(path, name, "#!/bin/sh\n")
    assert run(path, uid=0) == ""
    assert not log.exists()


def test_root_installs_what_is_missing_and_updates_the_lists_once(path: Path) -> None:
    log = apt(path)
    assert "installing postgresql-client jq" in run(path, uid=0)
    install = "-q install -y --no-install-recommends postgresql-client jq"
    assert log.read_text("utf-8").splitlines() == [install, "-q update", install]


def test_without_rights_it_names_what_is_missing_and_the_command(path: Path) -> None:
    log = apt(path)
    program(path, "sudo", "#!/bin/sh\nexit 1\n")
    said = run(path, uid=1000)
    assert "missing psql jq" in said
    assert "sudo apt-get install postgresql-client jq" in said
    assert not log.exists()


def test_without_apt_it_only_names_what_is_missing(path: Path) -> None:
    assert run(path, uid=0).splitlines() == ["test: missing psql jq: the tests that drive them are skipped by name"]


@pytest.mark.parametrize("uid", [0, 1000])
def test_an_engine_is_installed_only_by_root_and_where_it_would_not_stay(path: Path, uid: int) -> None:
    (path / "dockerd").unlink()
    for name in ("psql", "jq"):
        program(path, name, "#!/bin/sh\n")
    log = apt(path)
    managed = Path("/run/systemd/system").is_dir()  # of the machine that the test runs on
    said = run(path, uid=uid)
    assert ("installing docker.io" in said) == (uid == 0 and not managed)
    assert log.exists() == (uid == 0 and not managed)
