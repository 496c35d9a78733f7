"""Skills that fail, as the guide has it: each cause is found by the guide's own command, and by no other's."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guide.conftest import Operator, need
from tests.skills.packing import zipped
from tests.support.processes import User, atom_up, environment, ordinary_user, roomy_folder, script
from tests.support.terminal import guide_commands, terminal

SCRIPTS = {
    "missing-module": "import pandas_of_nobody\n",
    "broken-syntax": "if then\n",  # of a shell script: a Python one like that cannot even be approved
    "too-slow": "while True: pass\n",
    "plain-failure": "raise SystemExit(4)\n",
    "works": "print('fine')\n",
}
GREPS = {
    "Check for import errors in logs": {"missing-module"},
    "Check for Python syntax errors": {"broken-syntax"},
    "Check for timeout errors": {"too-slow"},
    "Check for skill execution errors in logs": {"missing-module", "broken-syntax", "too-slow", "plain-failure"},
}


@pytest.fixture(scope="module", params=["as root", "as an ordinary user"])
def operator(request: pytest.FixtureRequest) -> Iterator[Operator]:
    """With skills that were run once each; one second is what a script has here."""
    need("bash", "jq", "psql")
    if request.param == "as root" and os.geteuid() != 0:
        pytest.skip("needs root")
    user = User() if request.param == "as root" else ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="atom-guide-", dir=roomy_folder()))
    folder.chmod(0o711)
    home = folder / "home"
    home.mkdir(mode=0o711)
    if user.uid is not None:
        os.chown(home, user.uid, user.uid)
    for name, source in SCRIPTS.items():
        manifest = f"---\nname: {name}\ndescription: A skill that is run once.\n---\n\nRun it.\n"
        path = "scripts/run.sh" if name == "broken-syntax" else "scripts/run.py"
        (folder / f"{name}.zip").write_bytes(zipped({"SKILL.md": manifest.encode(), path: source.encode()}))
        (folder / f"{name}.zip").chmod(0o644)
    env = script(folder, {"replies": ["unused"]}) | {"ATOM_SANDBOX__TIMEOUT": "1"}
    with atom_up(home, env=env, user=user) as daemon, terminal(environment(home), user) as shell:
        made = Operator(daemon, user, shell, guide_commands())
        assert made.run('eval "$(atom env)"').code == 0
        for name in SCRIPTS:
            digest = made.run(f"atom skills import {folder}/{name}.zip --json | jq -r .version.digest").text.strip()
            assert made.run(f"atom skills approve {name} --yes --version {digest}").code == 0
            shown = made.run(f"atom skills run {name}")
            assert shown.code == (0 if name == "works" else 1), shown.text
        yield made
    shutil.rmtree(folder)


@pytest.mark.parametrize("comment", GREPS)
def test_skill_4_each_cause_is_found_by_its_own_line(operator: Operator, comment: str) -> None:
    shown = operator.paste(comment).text
    assert {name for name in SCRIPTS if name in shown} == GREPS[comment]


def test_skill_1_failures_are_counted_by_skill_and_message(operator: Operator) -> None:
    shown = operator.paste("Check recent skill execution failures")
    assert shown.code == 0
    rows = [[cell.strip() for cell in line.split("|")] for line in shown.text.splitlines() if "|" in line][1:]
    assert {row[0]: row[2] for row in rows} == dict.fromkeys(SCRIPTS.keys() - {"works"}, "1")
    messages = {row[0]: row[1] for row in rows}
    assert "pandas_of_nobody" in messages["missing-module"]
    assert "1 s" in messages["too-slow"]


def test_skill_2_logs_of_an_execution_are_kept(operator: Operator) -> None:
    shown = operator.run("atom skills logs --status failed --json | jq -r '.items[0].id'")
    assert shown.code == 0
    whole = operator.run(f"atom skills logs {shown.text.strip()}")
    assert whole.code == 0
    assert "advice" in whole.text


def test_skill_2_sandbox_says_what_it_keeps(operator: Operator) -> None:
    shown = operator.paste("Verify that the sandbox can run a skill, with every guarantee and its evidence")
    assert shown.code == 0
    assert "net_none" in shown.text
