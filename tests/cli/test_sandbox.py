"""`atom skills sandbox probe` on this machine: without a server, with the exit codes of every command."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

PROBE = [sys.executable, "-m", "atom", "skills", "sandbox", "probe"]


def probe(
    *options: str, before: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*before, *PROBE, *options],
        env={**os.environ, "ATOM_URL": "http://127.0.0.1:9", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_each_backend_keeps_is_printed_with_the_one_that_is_taken() -> None:
    shown = probe()
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "net_none" in shown.stdout
    assert "enforced" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("The sandbox for skills here: ")


def test_as_json_each_promise_has_its_evidence() -> None:
    shown = probe("--json", environment={"ATOM_SANDBOX__BACKEND": "landlock"})
    assert shown.returncode == 0, shown.stdout + shown.stderr
    found = json.loads(shown.stdout)
    assert found["backend"] == "landlock"
    assert [backend["backend"] for backend in found["backends"]] == ["landlock"]
    guarantees = found["backends"][0]["guarantees"]
    assert len(guarantees) == 20
    for name, evidence in guarantees.items():
        assert evidence["level"] in {"enforced", "best_effort", "absent"}, name
        assert set(evidence) == {"level", "canary", "value", "at"}


def test_exit_1_where_no_backend_will_do() -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "-Ur", "true"], check=False).returncode:
        pytest.skip("no user namespace can be made to take the other users away in")
    shown = probe("--json", before=("unshare", "--user", "--map-root-user"))
    assert shown.returncode == 1, shown.stdout + shown.stderr
    found = json.loads(shown.stdout)
    assert found["backend"] is None
    assert "no other user" in str(found["backends"])


def test_exit_3_where_its_folder_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / f"atom-sandbox-{os.geteuid()}").symlink_to(tmp_path)
    shown = probe("--json", environment={"TMPDIR": str(tmp_path)})
    assert shown.returncode == 3, shown.stdout + shown.stderr
    assert json.loads(shown.stdout)["error"]["code"] == "unavailable"
