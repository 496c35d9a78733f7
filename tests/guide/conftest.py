"""A real `atom up`, and a terminal in front of it, as root and as an ordinary user."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import Daemon, User, atom_up, environment, ordinary_user, roomy_folder, script
from tests.support.terminal import Shown, Terminal, guide_commands, terminal

LOG = "/var/log/atom/atom.log"
HOST = "atom.example.com"


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; scripts/test-prerequisites installs it")


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody with the guide in one window and a terminal in the other."""

    atom: Daemon
    user: User
    shell: Terminal
    guide: dict[str, str]

    def paste(self, comment: str, *replaced: tuple[str, str]) -> Shown:
        """The guide's command below this comment, for this host and this log file; `replaced` changes its text."""
        return self.run(self.guide[comment], *replaced)

    def run(self, command: str, *replaced: tuple[str, str]) -> Shown:
        here = ((HOST, self.atom.url.removeprefix("http://")), (LOG, str(self.atom.home / "logs" / "atom.log")))
        for old, new in (*replaced, *here):
            command = command.replace(old, new)
        return self.shell.run(command)


@pytest.fixture(scope="module", params=["as root", "as an ordinary user"])
def operator(request: pytest.FixtureRequest) -> Iterator[Operator]:
    need("bash")
    root = request.param == "as root"
    if root and os.geteuid() != 0:
        pytest.skip("needs root")
    user = User() if root else ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="atom-guide-", dir=roomy_folder()))
    folder.chmod(0o711)
    home = folder / "home"
    home.mkdir(mode=0o711)
    if user.uid is not None:
        os.chown(home, user.uid, user.uid)
    model = script(folder, {"replies": [{"tool_calls": [{"name": "current_time"}]}, "It is late."]})
    (folder / "ledger.jsonl").touch(0o666)
    (folder / "ledger.jsonl").chmod(0o666)
    with atom_up(home, env=model, user=user) as daemon, terminal(environment(home), user) as shell:
        operator = Operator(daemon, user, shell, guide_commands())
        assert operator.run('eval "$(atom env)"').code == 0
        yield operator
    shutil.rmtree(folder)
