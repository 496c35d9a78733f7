"""The runners behind make: check, bench, campaign, and what the wheel carries."""

import argparse
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.house import bench, campaign, check

ROOT = Path(__file__).resolve().parents[2]


def test_a_failing_check_is_shown_in_full_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "CHECKS", {"good": lambda: "", "bad": lambda: "a.py:1: wrong"})
    assert check.main([]) == 1
    said = capsys.readouterr().out
    assert "ok   good" in said
    assert "FAIL bad" in said
    assert said.index("== bad\na.py:1: wrong") > said.index("FAIL bad")
    assert "1 of 2 checks failed" in said


def test_a_check_that_breaks_down_has_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "CHECKS", {"broken": lambda: str(1 // 0)})
    assert check.main([]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_single_checks_run_alone_and_unknown_ones_are_usage_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CHECKS", {"good": lambda: "", "bad": lambda: "x"})
    assert check.main(["good"]) == 0
    assert check.main(["goood"]) == 2


def test_a_tool_that_fails_in_silence_still_fails() -> None:
    assert check.tool("false") == "exit 1"
    assert check.tool("true") == ""


def test_bench_rows_are_judged_by_their_goal_and_other_numbers_are_shown_by_their_path() -> None:
    report = {
        "rows": [{"name": "cold", "value": 6, "goal": 5}, {"name": "rate", "value": 9, "goal": 5, "better": "higher"}],
        "memory": {"server": 120, "note": "text", "steady": True},
    }
    cold, rate, memory = bench.rows("start", report)
    assert (cold.met, rate.met, memory.met) == (False, True, None)
    assert "MISSED" in bench.line(cold)
    assert (memory.name, memory.value) == ("memory server", 120)


@pytest.mark.parametrize("report", [[], {}, {"rows": [{"nonsense": 1}]}, {"note": "text"}])
def test_a_bench_file_that_reports_nothing_is_an_error(report: object) -> None:
    with pytest.raises(bench.BenchError, match="start"):
        bench.rows("start", report)


@pytest.fixture
def benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "OUT", tmp_path / "build" / "bench")
    (tmp_path / "bench").mkdir()
    return tmp_path / "bench"


def test_every_bench_file_is_run_and_a_broken_one_does_not_stop_the_others(
    benches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import json, sys\nprint('noise')\njson.dump({'seconds': 1.5}, open(sys.argv[2], 'w'))\n"
    (benches / "works.py").write_text(code, "utf-8")
    (benches / "breaks.py").write_text("raise SystemExit(3)", "utf-8")
    assert bench.main([]) == 1
    said = capsys.readouterr().out
    assert "breaks: exit 3" in said
    assert "1.500" in said
    assert "noise" not in said
    assert json.loads((bench.OUT / "summary.json").read_text("utf-8"))["rows"][0]["value"] == 1.5


def test_a_bench_that_does_not_exist_is_a_usage_error(benches: Path) -> None:
    assert benches.is_dir()
    assert bench.main(["nothing"]) == 2


def options(seed: int | None = None, examples: int = 10, *, new: bool = False) -> argparse.Namespace:
    return argparse.Namespace(seed=seed, examples=examples, new=new)


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> campaign.Campaign:
    """A campaign over a.py and b.py that ended after a.py."""
    monkeypatch.setattr(campaign, "STATE", tmp_path / "state.json")
    half = campaign.Campaign(7, 10, {"a.py": campaign.Outcome(True, 1.0, "3 passed")})
    half.save()
    return half


def test_an_interrupted_campaign_goes_on_with_its_seed(interrupted: campaign.Campaign) -> None:
    assert campaign.begin(["a.py", "b.py"], options()) == interrupted


@pytest.mark.parametrize(
    ("files", "asked"),
    [
        (["a.py"], options()),
        (["a.py", "b.py"], options(new=True)),
        (["a.py", "b.py"], options(seed=8)),
        (["a.py", "b.py"], options(examples=99)),
    ],
    ids=["finished", "new", "other seed", "other volume"],
)
def test_another_campaign_starts_over(
    interrupted: campaign.Campaign, files: list[str], asked: argparse.Namespace
) -> None:
    assert interrupted.done
    assert campaign.begin(files, asked).done == {}


def test_the_profile_of_a_campaign_raises_the_volume(tmp_path: Path) -> None:
    """Run as a campaign runs it: the number of examples is the one that was asked for, the seed repeats them."""
    test = tmp_path / "test_volume.py"
    test.write_text(
        "from hypothesis import given, strategies as st\nseen = []\n"
        "@given(st.integers())\ndef test_it(n): seen.append(n)\n"
        "def test_volume():\n    print(len(seen), sum(seen))\n    assert len(seen) >= 1000\n",
        "utf-8",
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "scripts.house.campaign_profile",
        "--import-mode=importlib",
    ]
    command += ["--hypothesis-profile=volume", "--hypothesis-seed=3", "-p", "no:cacheprovider", str(test)]
    environment = {"PATH": "/usr/bin:/bin", "CAMPAIGN_EXAMPLES": "1500", "HOME": str(tmp_path)}
    first, second = (
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stdout
    numbers = [line for line in first.stdout.splitlines() if line.startswith(".15")]
    assert numbers
    assert numbers == [line for line in second.stdout.splitlines() if line.startswith(".15")]


def test_the_wheel_carries_the_migrations_and_the_guide(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    assert {
        "atom/py.typed",
        "atom/migrations/env.py",
        "atom/migrations/sql/0001_foundation.sql",
        "atom/_docs/operate/troubleshooting.md",
    } <= names
    assert {name for name in names if name.startswith("atom/migrations/versions/0001_")}
    assert not [name for name in names if name.startswith(("tests/", "scripts/", "bench/"))]
