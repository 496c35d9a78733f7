"""The guide's health line with the database up, gone, hanging and back; the guide's kill of idle connections."""

import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.guide.conftest import Operator, need
from tests.support.processes import (
    Daemon,
    User,
    agent,
    atom_up,
    environment,
    postgres_of,
    roomy_folder,
    script,
    settled,
    start_run,
    until,
)
from tests.support.terminal import guide_commands, terminal

BACK_SECONDS = 5.0
HEALTH = "Check database health check"
GREP = "Check for connection errors in logs"


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    need("bash", "curl", "jq")
    folder = Path(tempfile.mkdtemp(prefix="atom-outage-", dir=roomy_folder()))
    folder.chmod(0o711)
    home = folder / "home"
    model = script(folder, {"replies": ["Done."], "repeat": True})
    with atom_up(home, env=model) as daemon, terminal(environment(home), User()) as shell:
        found = Operator(daemon, User(), shell, guide_commands())
        assert found.run('eval "$(atom env)"').code == 0
        with daemon.client() as http:
            agent(http)
        yield found
    shutil.rmtree(folder)


def healthy(operator: Operator) -> bool:
    shown = operator.paste(HEALTH, ("curl -f", "curl -sf"))
    return shown.text == '"healthy"'


def works(daemon: Daemon) -> None:
    with daemon.client() as http:
        run = settled(http, start_run(http, "Do it."))
        assert run["status"] == "completed", run


def postmaster(home: Path) -> int:
    """Its pid; 0 while there is none."""
    try:
        return int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    except (OSError, IndexError):
        return 0


@contextmanager
def hanging(home: Path) -> Iterator[None]:
    """Every process of the server stands still: connections are taken, nothing is answered."""
    stopped = postgres_of(home)
    try:
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)


def test_hanging_database_gives_503_in_time_and_is_seen_when_it_is_back(operator: Operator) -> None:
    with hanging(operator.atom.home):
        until(lambda: not healthy(operator))
        began = time.monotonic()
        shown = operator.paste(HEALTH, ("curl -f", "curl -sf"))
        assert time.monotonic() - began < 4
        assert shown.text == ""
        status, body = operator.atom.health()
        assert (status, body["status"], body["checks"]["database"]) == (503, "unhealthy", "unhealthy")
        assert body.keys() == {"status", "version", "timestamp", "checks"}
        assert operator.atom.health("live")[0] == 200
    back = time.monotonic()
    until(lambda: healthy(operator), BACK_SECONDS + 5)
    assert time.monotonic() - back < BACK_SECONDS
    works(operator.atom)
    assert operator.paste(GREP).text.count("database connection failed") == 1


def test_killed_database_is_back_within_seconds_without_a_restart(operator: Operator) -> None:
    assert healthy(operator)
    pid = postmaster(operator.atom.home)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: postmaster(operator.atom.home) not in {0, pid})
    until(lambda: operator.run("pg_isready -q").code == 0)
    seen = operator.atom.health()[1]["timestamp"]  # what it said before the kill it may say for a second more
    until(lambda: healthy(operator) and operator.atom.health()[1]["timestamp"] > seen, what="healthy again")
    assert time.monotonic() - killed < BACK_SECONDS
    assert operator.atom.process.poll() is None
    works(operator.atom)


def test_killing_idle_connections_while_traffic_goes_on_costs_no_request(operator: Operator) -> None:
    """The guide's line with a second for its hour, again and again, beside readers and runs."""
    kill = "Kill long-running idle connections, those inside a transaction too, never this one"
    answers: list[int] = []
    stop = threading.Event()

    def read() -> None:
        with operator.atom.client() as http:
            while not stop.is_set():
                answers.append(http.get("/api/agents").status_code)
                time.sleep(0.02)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    killed = 0
    for _ in range(2):
        crowd(operator.atom, answers)  # opens connections, which are then idle
        time.sleep(1.2)
        shown = operator.paste(kill, ("1 hour", "1 second"))
        assert shown.code == 0
        killed += len(re.findall(r"^ t$", shown.text, re.MULTILINE))
        crowd(operator.atom, answers)
        works(operator.atom)
    stop.set()
    for thread in readers:
        thread.join()
    assert killed >= 3
    assert len(answers) > 100
    assert set(answers) == {200}


def crowd(daemon: Daemon, answers: list[int]) -> None:
    def ask() -> None:
        with daemon.client() as http:
            answers.extend(http.get("/api/runs").status_code for _ in range(3))

    people = [threading.Thread(target=ask) for _ in range(12)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()


def test_anonymous_caller_learns_nothing_about_the_database(operator: Operator) -> None:
    body = httpx2.get(f"{operator.atom.url}/health/ready", trust_env=False).text
    endpoint = (operator.atom.home / "postgres" / "endpoint.json").read_text()
    assert "127.0.0.1" not in body
    assert endpoint.split('"port": ')[1].split(",")[0] not in body
