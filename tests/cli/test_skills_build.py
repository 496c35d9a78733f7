"""`atom skills build`: what is installed is told, and why something is not."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from atom.cli.app import run
from tests.skills.layers.making import put, wheel
from tests.skills.packing import MANIFEST, zipped
from tests.skills.sandbox.conftest import passable

SCRIPT = b'# /// script\n# dependencies = ["one>=1"]\n# ///\nimport one\n'


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    made = tmp_path / "good.zip"
    made.write_bytes(zipped({"SKILL.md": MANIFEST, "scripts/run.py": SCRIPT, "requirements.txt": b"two\n"}))
    return made


@pytest.fixture(autouse=True)
def place(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with passable() as folder:
        put(folder / "wheels", wheel("one", "1.5"), wheel("two", files={"two.py": b"", "two.pth": b"import two\n"}))
        monkeypatch.setenv("ATOM_HOME", str(folder / "home"))
        monkeypatch.setenv("ATOM_SANDBOX__WHEELS", str(folder / "wheels"))
        yield folder


def test_what_is_installed_is_told(skill: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["skills", "build", str(skill)]) == 0
    said = capsys.readouterr()
    assert "every program: two\n" in said.out
    assert "scripts/run.py: one>=1, two\n" in said.out
    assert "Built: sha256:" in said.out
    assert "Left out: two.pth" in said.err
    assert run(["skills", "build", str(skill), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert [(one["scripts"], one["requirements"], one["fresh"]) for one in layers] == [
        ([], ["two"], False), (["scripts/run.py"], ["one>=1", "two"], False)
    ]  # fmt: skip
    assert [(one["name"], one["version"]) for one in layers[1]["packages"]] == [("one", "1.5"), ("two", "1.0")]
    assert run(["skills", "build", str(skill), "--json", "--again"]) == 0
    assert all(one["fresh"] for one in json.loads(capsys.readouterr().out)["layers"])


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("three", "skill_layer_unresolved", "no wheel of three"),
        ("one @ https://x.example/one.whl", "skill_dependency_refused", "requirements.txt:1"),
    ],
)
def test_what_is_not_installed_exits_1_and_says_why(
    tmp_path: Path, line: str, code: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.zip").write_bytes(zipped({"SKILL.md": MANIFEST, "requirements.txt": line.encode()}))
    assert run(["skills", "build", str(tmp_path / "bad.zip"), "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == code
    assert said in error["message"]
    assert error["hint"]


def test_without_a_source_nothing_is_installed(
    skill: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ATOM_SANDBOX__WHEELS")
    assert run(["skills", "build", str(skill)]) == 1
    assert "ATOM_SANDBOX__WHEELS" in capsys.readouterr().err


def test_a_skill_without_packages_has_nothing_to_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plain.zip").write_bytes(zipped())
    assert run(["skills", "build", str(tmp_path / "plain.zip")]) == 0
    assert "nothing to build" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as other users")
def test_a_home_that_programs_cannot_reach_is_told(
    skill: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    monkeypatch.setenv("ATOM_HOME", str(tmp_path / "closed" / "home"))
    assert run(["skills", "build", str(skill)]) == 3
    assert "chmod o+x" in capsys.readouterr().err
