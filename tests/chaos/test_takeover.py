"""How soon another worker goes on, and that one which was away too long writes nothing: real processes, signals."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from sqlalchemy import URL

from tests.support.processes import Daemon, agent, roomy_folder, run_of, script, settled, start_run, started, until

LEASE = 2
SLACK = 8  # the sweep's second, a busy machine
IDLE = 3  # seconds until the server ends a transaction in which its process was stopped, and lets its locks go
RULES = (
    {
        "turns": 0,
        "replies": [{"tool_calls": [{"name": "current_time", "arguments": {}}], "delay": 0.3}],
        "repeat": True,
    },
    {
        "turns": 1,
        "replies": [{"tool_calls": [{"name": "current_time", "arguments": {}}], "delay": 0.3}],
        "repeat": True,
    },
    {"turns": 2, "replies": [{"attempts": [{"text": "late", "delay": 6}, {"text": "in time", "delay": 0.2}]}]},
)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(roomy_folder()) / f"atom-takeover-{uuid4().hex[:8]}"
    path.mkdir()
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Place:
    """A web process and two workers on one database; `owner` finds out which of them has the run."""

    def __init__(self, web: Daemon, workers: list[Daemon], url: str) -> None:
        self.web, self.workers, self.url = web, workers, url

    def row(self, query: str) -> tuple[Any, ...]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(query.encode()).fetchone()
        assert found is not None
        return found

    def epoch(self) -> int:
        return int(self.row("SELECT lease_epoch FROM agent_execution")[0])

    def owner(self) -> Daemon:
        name = str(self.row("SELECT lease_owner FROM agent_execution")[0])
        return next(daemon for daemon in self.workers if name.endswith(f":{daemon.pid}"))

    def steps(self) -> int:
        return int(self.row("SELECT count(*) FROM execution_step")[0])

    def begin(self, http: httpx2.Client, *, steps: int) -> str:
        agent(http, tools=["current_time"])
        run_id = start_run(http, "go")
        until(lambda: self.steps() >= steps, what="the first steps")
        return run_id

    def takeover(self) -> float:
        """Seconds until another worker has claimed the run."""
        began = time.monotonic()
        until(lambda: self.epoch() == 2, what="the takeover")
        return time.monotonic() - began


@pytest.fixture
def place(folder: Path, database: URL) -> Iterator[Place]:
    url = database.set(drivername="postgresql").render_as_string(hide_password=False)
    env = {
        "DATABASE_URL": url,
        "ATOM_DATABASE__IDLE_IN_TRANSACTION_TIMEOUT": str(IDLE),
        "ATOM_RUNS__LEASE_SECONDS": str(LEASE),
        **script(folder, *RULES),
    }
    with (
        started("serve", "--role", "web", "--port", "0", home=folder / "web", env=env) as web,
        started("worker", home=folder / "one", env=env) as one,
        started("worker", home=folder / "two", env=env) as two,
    ):
        for daemon in (web, one, two):
            daemon.ready()
        yield Place(web, [one, two], url)


def test_killed_worker_is_followed_when_its_lease_has_run_out(place: Place) -> None:
    with place.web.client() as http:
        run_id = place.begin(http, steps=4)
        os.kill(place.owner().pid, signal.SIGKILL)
        seconds = place.takeover()
        print(f"takeover after kill -9: {seconds:.2f} s, lease {LEASE} s")
        assert seconds < LEASE + SLACK
        run = settled(http, run_id)
        assert (run["status"], run["answer"]) == ("completed", "late")  # its request never ended: it was not paid


def test_stopping_worker_hands_over_at_its_next_step(place: Place) -> None:
    with place.web.client() as http:
        run_id = place.begin(http, steps=1)
        leaving = place.owner()
        leaving.signal(signal.SIGTERM)
        seconds = place.takeover()
        print(f"takeover after SIGTERM: {seconds:.2f} s")
        assert seconds < 1 + SLACK / 2
        assert settled(http, run_id)["status"] == "completed"
        assert place.row("SELECT crashes FROM agent_execution") == (0,)
        assert leaving.ended() == 0


def test_worker_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on(place: Place) -> None:
    with place.web.client() as http:
        run_id = place.begin(http, steps=4)
        stopped = place.owner()
        stopped.signal(signal.SIGSTOP)
        try:
            assert place.takeover() < LEASE + 2 * IDLE + SLACK  # stopped while it swept and while it wrote
            run = settled(http, run_id)
            written = place.row("SELECT count(*), max(id::text) FROM event")
        finally:
            stopped.signal(signal.SIGCONT)
        until(lambda: stopped.events("execution.fenced"), what="its last write is refused")
        assert run_of(http, run_id) == run
        assert place.row("SELECT count(*), max(id::text) FROM event") == written
        assert place.row("SELECT max(epoch) FROM execution_step") == (2,)
        assert stopped.process.poll() is None
        assert settled(http, start_run(http, "again"), "running", "completed")
