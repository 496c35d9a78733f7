"""The house around the code: what a stranger finds when they clone it."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("runtime.txt", "dev.txt", "models.txt")
TARGETS = ("setup", "run", "check", "test", "bench", "campaign", "lock")


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_hashes(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text("utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert entries
    assert [line for line in entries if not re.match(r"[\w.\[\]-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []
    assert "://" not in text


def test_what_runs_is_locked_to_the_same_versions_as_what_is_tested() -> None:
    runtime, dev = (
        set(re.findall(r"^([\w.-]+==[^\s;]+)", (ROOT / "requirements" / name).read_text("utf-8"), re.MULTILINE))
        for name in ("runtime.txt", "dev.txt")
    )
    assert runtime <= dev


def plan(target: str) -> list[str]:
    """What make would run. Its own variables are left out: these tests run inside `make test`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", "-n", target]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_the_target(target: str) -> None:
    assert plan(target)


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"setup", "lock"}))
def test_the_other_targets_set_up_first(target: str) -> None:
    assert plan(target)[0] == "scripts/setup"


def test_make_test_checks_before_it_tests() -> None:
    steps = plan("test")
    assert steps.index("scripts/check") < next(number for number, step in enumerate(steps) if "pytest" in step)


def test_the_build_server_runs_what_everybody_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert "make test" in script.read_text("utf-8")
    assert script.stat().st_mode & stat.S_IXUSR


def test_scripts_can_be_executed() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix]
    assert scripts
    assert [path.name for path in scripts if not path.stat().st_mode & stat.S_IXUSR] == []


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert all(f"\n   {number}. " in text for number in range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text


def test_every_decision_record_is_in_the_index_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "adr"
    records = sorted(folder.glob("[0-9]*.md"))
    index = (folder / "README.md").read_text("utf-8")
    assert [path.name[:4] for path in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    assert [path.name for path in records if f"({path.name})" not in index] == []
    parts = ("## Context", "## Decision", "## Consequences")
    assert [path.name for path in records if any(part not in path.read_text("utf-8") for part in parts)] == []


def test_the_guide_that_ships_keeps_its_structure() -> None:
    guide = (ROOT / "docs" / "operate" / "troubleshooting.md").read_text("utf-8")
    sections = re.split(r"^### ", guide, flags=re.MULTILINE)
    issues = [section for section in sections if "#### Symptom" in section]
    assert len(issues) == 5
    for section in issues:
        titles = re.findall(r"^#### (\w+)$", section, re.MULTILINE)
        assert titles == ["Symptom", "Diagnosis", "Causes", "Resolution", "Prevention"]


def test_the_guide_never_prints_a_key() -> None:
    guide = (ROOT / "docs" / "operate" / "troubleshooting.md").read_text("utf-8")
    assert not re.search(r"echo \$\w*(KEY|TOKEN|DATABASE_URL)", guide)
