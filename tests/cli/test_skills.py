"""`atom skills validate`: no server, and an exit code that a pipeline can go by."""

import json
from pathlib import Path

import pytest

from atom.cli.app import run
from tests.skills.hostile import REFUSED
from tests.skills.packing import MANIFEST, zipped


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    made = tmp_path / "good"
    (made / "scripts").mkdir(parents=True)
    (made / "SKILL.md").write_bytes(MANIFEST)
    (made / "scripts" / "run.py").write_text("print('good')\n")
    return made


def test_a_valid_skill_exits_0(skill: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["skills", "validate", str(skill)]) == 0
    assert capsys.readouterr().out == "good is valid: 0 errors, 0 warnings.\n"


def test_an_error_exits_1_and_has_its_place(skill: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (skill / "scripts" / "run.py").write_text("x = 1\nprint('good'\n")
    assert run(["skills", "validate", str(skill)]) == 1
    out = capsys.readouterr().out
    assert "scripts/run.py:2:6: error: Python syntax: '(' was never closed. [script-python]\n" in out
    assert out.endswith("good is not valid: 1 error, 0 warnings.\n")


def test_a_warning_exits_0(skill: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (skill / "SKILL.md").write_bytes(MANIFEST + b"[a](references/a.md)\n")
    assert run(["skills", "validate", str(skill)]) == 0
    assert "warning" in capsys.readouterr().out


def test_what_is_mended_is_said(skill: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (skill / "SKILL.md").write_bytes(MANIFEST.replace(b"Does good.", b"Does: good."))
    assert run(["skills", "validate", str(skill)]) == 1
    assert "Mended when it is imported: 1 error." in capsys.readouterr().err


def test_json_has_everything(skill: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.zip").write_bytes(zipped({"good/SKILL.md": MANIFEST + "\u202e".encode()}))
    assert run(["skills", "validate", str(tmp_path / "good.zip"), "--json"]) == 1
    out = capsys.readouterr().out
    assert "\u202e" not in out
    said = json.loads(out)
    assert (said["valid"], said["approvable"], said["name"], said["form"]) == (False, False, "good", "zip")
    assert said["digest"].startswith("sha256:")
    assert said["counts"] == {"error": 1, "warning": 0, "info": 0}
    assert said["findings"] == [
        {"id": "hidden-bidi", "severity": "error", "file": "SKILL.md", "line": 9, "column": 1, "mended": False,
         "message": "U+202E RIGHT-TO-LEFT OVERRIDE: it changes the order in which text is shown.",
         "fix": "Remove it, or write it as an escape."}
    ]  # fmt: skip


def test_what_cannot_be_read_exits_3_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, problem = REFUSED["zip: parent"]
    (tmp_path / "evil.zip").write_bytes(make())
    assert run(["skills", "validate", str(tmp_path / "evil.zip"), "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["problem"], error["member"]) == ("skill_archive_refused", problem, "../evil.txt")
    assert not (tmp_path.parent / "evil.txt").exists()


def test_a_folder_without_a_manifest_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["skills", "validate", str(tmp_path)]) == 3
    assert "There is no SKILL.md." in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["skills", "validate"], ["skills", "validate", "/none/here"], ["skills", "none"]])
def test_usage_exits_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv) == 2
    assert capsys.readouterr().err


def test_a_name_in_a_bundle_cannot_act_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.zip").write_bytes(REFUSED["zip: control character"][0]())
    assert run(["skills", "validate", str(tmp_path / "evil.zip")]) == 3
    assert "\x1b" not in capsys.readouterr().err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["skills", "validate", "--help"]) == 0
    assert "Example: atom skills validate ./my-skill" in capsys.readouterr().out
