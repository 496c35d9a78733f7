"""`atom skills scan` on what lies here: nothing is sent, nothing is executed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from atom.cli.app import run
from tests.skills.scan.hostile import HOSTILE
from tests.skills.scan.scanning import scanned

Scan = Callable[..., tuple[int, str]]


def folder(place: Path, name: str) -> Path:
    for path, data in HOSTILE[name][0].items():
        file = place / "good" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return place / "good"


@pytest.fixture
def scan(capsys: pytest.CaptureFixture[str]) -> Scan:
    def scanning(*words: str) -> tuple[int, str]:
        return run(["skills", "scan", *words]), capsys.readouterr().out

    return scanning


def test_errors_exit_1_and_are_told_with_their_places(scan: Scan, tmp_path: Path) -> None:
    code, said = scan(str(folder(tmp_path, "py: exec of a download")))
    assert code == 1
    assert "scripts/run.py:2:1: error: It runs what it got from the network. [scan-download-run]" in said


def test_warnings_exit_0(scan: Scan, tmp_path: Path) -> None:
    code, said = scan(str(folder(tmp_path, "py: .zshrc")))
    assert (code, "[scan-persistence]" in said) == (0, True)


def test_json_has_what_was_seen(scan: Scan, tmp_path: Path) -> None:
    place = folder(tmp_path, "py: the environment goes out")
    code, said = scan(str(place), "--json")
    found = json.loads(said)
    assert code == 1
    assert found["seen"]["code"]["hosts"] == ["evil.example"]
    assert found["counts"]["error"] == 1
    wanted = scanned(HOSTILE["py: the environment goes out"][0])
    assert found["findings"] == [one.plain() for one in wanted.findings]


def test_a_script_of_a_skill_is_not_executed(scan: Scan, tmp_path: Path) -> None:
    place = folder(tmp_path, "py: .zshrc")
    mark = tmp_path / "ran"
    (place / "scripts" / "run.py").write_text(
        f"open({str(mark)!r}, 'w')\n@exec('open({str(mark)!r}, \"w\")')\nclass A:\n    x = open({str(mark)!r}, 'w')\n"
    )
    scan(str(place))
    assert not mark.exists()


def test_what_cannot_be_read_exits_3(scan: Scan, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04")
    assert scan(str(tmp_path / "x.zip"))[0] == 3


@pytest.mark.parametrize("name", ["md: an archive with a password"])
def test_validate_says_nothing_of_it(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is about the specification alone."""
    assert run(["skills", "validate", str(folder(tmp_path, name))]) == 0
    assert "scan-" not in capsys.readouterr().out
