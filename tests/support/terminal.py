"""A person's terminal: one bash that keeps its variables, and the commands of the guide to paste into it."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import SECONDS, User

GUIDE = Path(__file__).parents[2] / "docs" / "operate" / "troubleshooting.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "--- that was"


@dataclass(frozen=True, slots=True)
class Shown:
    """Exit code and what stood on the screen, stderr included."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Terminal:
    bash: "subprocess.Popen[str]"

    def run(self, command: str) -> Shown:
        assert self.bash.stdin is not None
        assert self.bash.stdout is not None
        self.bash.stdin.write(f"{command}\ncode=$?; echo; echo '{MARK}' $code\n")
        self.bash.stdin.flush()
        said = ""
        for line in self.bash.stdout:
            if line.startswith(MARK):
                return Shown(int(line.split()[-1]), said.strip())
            said += line
        raise AssertionError(f"the shell ended: {said}")


@contextmanager
def terminal(variables: Mapping[str, str], user: User) -> Iterator[Terminal]:
    """`atom` is the command under test, whichever Python runs it."""
    process = subprocess.Popen(
        ["bash", "--noprofile", "--norc"],
        env={**variables, "PYTHON": user.python},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        **user.popen,
    )
    found = Terminal(process)
    try:
        found.run('atom() { "$PYTHON" -m atom "$@"; }')
        yield found
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def guide_commands() -> dict[str, str]:
    """The commands of Atom's edition of the guide by the comment above them, the first of each."""
    found: dict[str, str] = {}
    for block in BLOCK.findall(GUIDE.read_text(encoding="utf-8")):
        comment, lines = "", list[str]()
        for line in [*block.splitlines(), "# end"]:
            if line.startswith("#"):
                if comment and lines:
                    found.setdefault(comment, "\n".join(lines).strip())
                comment, lines = (line.lstrip("# "), []) if not line.startswith("# Expected") else (comment, lines)
            else:
                lines.append(line)
    return found
