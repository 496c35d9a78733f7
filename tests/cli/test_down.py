"""`atom down` ends the Atom of this home, and never another process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
DRAINS = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def home() -> Path:
    made = Path(os.environ["ATOM_HOME"])
    made.mkdir()
    return made


@contextmanager
def process(code: str, title: str = "atom: all") -> Iterator["subprocess.Popen[str]"]:
    named = f"import setproctitle; setproctitle.setproctitle({title!r}); {code}"
    child = subprocess.Popen([sys.executable, "-c", named], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        yield child
    finally:
        child.kill()
        child.wait(10)


def write(home: Path, pid: int, started_at: object) -> None:
    (home / "atom.pid").write_text(json.dumps({"pid": pid, "url": "http://127.0.0.1:1", "started_at": started_at}))


@pytest.mark.parametrize("form", [datetime.isoformat, datetime.timestamp])
def test_it_ends_the_process_that_wrote_the_file(home: Path, cli: Cli, form: Callable[[datetime], object]) -> None:
    with process(DRAINS) as child:
        write(home, child.pid, form(datetime.now(UTC)))
        shown = cli("down")
        assert shown.code == 0
        assert f"pid {child.pid}) has ended" in shown.out
        assert child.wait(5) == 0


def test_a_number_that_another_process_got_is_left_alone(home: Path, cli: Cli) -> None:
    with process(DRAINS) as child:
        write(home, child.pid, time.time() - 3600)
        shown = cli("down")
        assert shown.code == 1
        assert "code: pid_not_atom" in shown.err
        assert child.poll() is None


@pytest.mark.parametrize("title", ["backup", "/srv/atom/.venv/bin/python -m backup"])
def test_a_process_that_is_no_atom_is_left_alone(home: Path, cli: Cli, title: str) -> None:
    with process(DRAINS, title=title) as child:
        write(home, child.pid, time.time())
        assert cli("down").code == 1
        assert child.poll() is None


def test_the_wait_is_bounded_and_nothing_is_killed(home: Path, cli: Cli) -> None:
    with process(STUBBORN) as child:
        write(home, child.pid, time.time())
        shown = cli("down", "--timeout", "1")
        assert shown.code == 1
        assert "code: still_running" in shown.err
        assert child.poll() is None


def test_what_does_not_run_cannot_be_ended(home: Path, cli: Cli) -> None:
    assert "code: not_running" in cli("down").err
    with process(DRAINS) as child:
        write(home, child.pid, time.time())
    shown = cli("down", "--json")
    assert shown.code == 1
    assert json.loads(shown.out)["error"]["code"] == "not_running"
