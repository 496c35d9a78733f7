"""On a real terminal: colour and spinners that never erase text, questions before what cannot be undone."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from atom.client.testing import Act, Cut, FakeAtom, Happen, Rest, Say

ANSWER = "Use pg_isready to check."
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(argv: Sequence[str], answer: bytes = b"", until: str = "") -> tuple[int, str]:
    """Run the command on a terminal of its own; `answer` is typed once `until` is on the screen."""
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "atom", *argv], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    screen, deadline = b"", time.monotonic() + 20
    while time.monotonic() < deadline:
        ready, _, _ = select.select([master], [], [], 0.05)
        if ready:
            try:
                screen += os.read(master, 65536)
            except OSError:  # the terminal's other end is closed
                break
            if answer and until in screen.decode(errors="replace"):
                os.write(master, answer)
                answer = b""
        elif process.poll() is not None:
            break
    os.close(master)
    return process.wait(5), screen.decode().replace("\r\n", "\n")


def test_a_spinner_never_erases_the_text_of_the_model(fake: FakeAtom) -> None:
    text: list[Act] = [
        Say("turn-0", 1, 0, "Use pg_"),
        Rest(0.2),
        Cut(),
        Rest(0.2),
        Say("turn-0", 1, 7, "isready to check."),
    ]
    started = Happen("run.started", {"provider": "local", "model": "m"}, {"status": "running"})
    done = Happen("run.completed", {}, {"status": "completed", "answer": ANSWER})
    fake.script = [
        Rest(0.2),
        started,
        Rest(0.2),
        *text,
        Happen("model.replied", {"step": "turn-0", "text": ANSWER}),
        done,
    ]
    code, screen = terminal(["run", "guide", "How?"])
    assert code == 0
    assert "\x1b[?25l" in screen, "a spinner was shown"
    assert screen.rfind("\x1b[?25h") > screen.rfind("\x1b[?25l"), "the cursor is back"
    assert f"\x1b[2K{ANSWER}\n" in screen, "and the answer stands whole on its line"
    assert screen.count(ANSWER) == 1


def test_a_table_fits_the_terminal_and_keeps_its_first_column(fake: FakeAtom) -> None:
    run = fake.add_run("guide", "a long task " * 40)
    _, screen = terminal(["runs", "list"])
    lines = ANSI.sub("", screen).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(run["id"])
    assert [len(line) for line in lines] == [len(lines[0]), 80]
    assert lines[1].endswith("\u2026")


@pytest.mark.parametrize(("answer", "code", "state"), [(b"n\n", 1, "active"), (b"y\n", 0, "retired")])
def test_retiring_asks_first(fake: FakeAtom, answer: bytes, code: int, state: str) -> None:
    ended, screen = terminal(["agents", "retire", "guide"], answer, until="for good?")
    assert (ended, fake.agents["guide"]["status"]) == (code, state)
    assert "Retire guide for good?" in screen


def test_yes_is_not_asked(fake: FakeAtom) -> None:
    code, screen = terminal(["agents", "retire", "guide", "--yes"])
    assert (code, fake.agents["guide"]["status"]) == (0, "retired")
    assert "for good?" not in screen


def test_json_on_a_terminal_is_indented_and_without_colour(fake: FakeAtom) -> None:
    _, screen = terminal(["agents", "show", "guide", "--json"])
    assert screen.startswith('{\n  "id"')
    assert "\x1b" not in screen


def test_no_color_is_respected(fake: FakeAtom, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.faults.clear()
    assert "\x1b[31m" in terminal(["agents", "show", "nope"])[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", terminal(["agents", "show", "nope"])[1])
