"""The history of the schema stays one numbered line."""

from pathlib import Path

import pytest

from scripts.house import migrations


def history(root: Path, **files: tuple[str, str | None]) -> Path:
    """A tree with these migrations: file name -> (revision, down_revision)."""
    versions = root / "src" / "atom" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text("", "utf-8")
    for name, (revision, down) in files.items():
        code = f"revision = {revision!r}\ndown_revision = {down!r}\nbranch_labels = None\ndepends_on = None\n"
        (versions / f"{name.removeprefix('m')}.py").write_text(code, "utf-8")
    return root


def test_one_numbered_line_passes(tmp_path: Path) -> None:
    root = history(tmp_path, m0001_foundation=("0001", None), m0002_skills=("0002", "0001"))
    assert migrations.check(root) == []


@pytest.mark.filterwarnings("ignore:Revision .* is not present")  # alembic says it twice
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"m0001_a": ("0001", None), "m0002_b": ("0002", "0001"), "m0003_c": ("0003", "0001")}, "one line of history"),
        ({"m0001_a": ("0001", None), "m0003_b": ("0003", "0001")}, "is a file 0002_"),
        ({"m0001_a": ("a1b2c3", None)}, "its revision is '0001'"),
        ({"mfirst": ("0001", None)}, "is a file 0001_"),
        ({"m0001_a": ("0001", None), "m0002_b": ("0002", "0009")}, "cannot read the history"),
        ({}, "there is no migration"),
    ],
    ids=["two heads", "a gap", "unnumbered revision", "unnumbered file", "unknown parent", "empty"],
)
def test_a_broken_history_is_found(tmp_path: Path, files: dict[str, tuple[str, str | None]], message: str) -> None:
    assert any(message in problem.message for problem in migrations.check(history(tmp_path, **files)))


def test_no_folder_is_a_finding_not_a_crash(tmp_path: Path) -> None:
    assert migrations.check(tmp_path)
