"""`atom serve` and `atom worker` against a database that somebody else runs, and that is not always there."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import URL

from atom.infra.embedded_postgres import EmbeddedPostgres
from tests.support.processes import (
    Daemon,
    agent,
    atom,
    free_port,
    roomy_folder,
    run_of,
    script,
    settled,
    start_run,
    started,
    steps_of,
    until,
)

BACK_SECONDS = 5.0
RULES = (
    {"user": "hang", "replies": [{"text": "never", "delay": 600}]},
    {"user": "slow", "replies": [{"text": "one two three four", "chunk_delay": 0.2}]},
    {"replies": [{"tool_calls": [{"name": "current_time"}]}, "It is late."], "repeat": True},
)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that Atom does not run: made, stopped, on a port that stays the same."""
    assert roomy_folder()
    home = folder / "elsewhere"
    home.mkdir(mode=0o711)
    postgres = EmbeddedPostgres(home)
    postgres.start()
    yield postgres
    postgres.stop()


def url_of(server: EmbeddedPostgres) -> str:
    return server.endpoint.url.get_secret_value()


def test_serve_starts_without_the_database_and_serves_when_it_is_there(folder: Path, server: EmbeddedPostgres) -> None:
    """Down, up and empty, migrated, down again, back: never a restart, never a traceback."""
    home, port = folder / "home", free_port()
    env = {"DATABASE_URL": url_of(server), **script(folder, *RULES)}
    server.stop()
    with started("serve", "--port", str(port), home=home, env=env) as daemon:
        daemon.url = f"http://127.0.0.1:{port}"
        until(lambda: daemon.health("live")[0] == 200)
        status, body = daemon.health()
        assert (status, body["checks"]["database"], body["checks"]["schema"]) == (503, "unhealthy", "unhealthy")
        assert not (home / "admin-token").exists()
        server.start()
        until(lambda: daemon.health()[1]["checks"]["database"] == "healthy", BACK_SECONDS)
        assert (daemon.health()[0], daemon.health()[1]["checks"]["schema"]) == (503, "unhealthy")
        assert atom(home, "migrate", env=env).code == 0
        daemon.ready(BACK_SECONDS)
        until(lambda: daemon.health()[0] == 200, BACK_SECONDS)
        assert (home / "admin-token").stat().st_mode & 0o777 == 0o600
        assert daemon.token not in daemon.said
        with daemon.client() as http:
            agent(http, tools=["current_time"])
            assert settled(http, start_run(http, "What time is it?"))["status"] == "completed"
            outage(daemon, server, http)
        assert daemon.mishaps == []
        assert daemon.stop() == 0


def outage(daemon: Daemon, server: EmbeddedPostgres, http: httpx2.Client) -> None:
    """With a run in the middle of its reply."""
    before = len(daemon.events("database connection failed"))
    run_id = start_run(http, "slow")
    settled(http, run_id, "running")
    server.stop()
    until(lambda: daemon.health()[0] == 503)
    answer = http.get("/api/agents")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (
        503,
        "database_unavailable",
        "2",
    )
    assert daemon.health("live")[0] == 200
    time.sleep(1)
    server.start()
    back = time.monotonic()
    until(lambda: daemon.health()[0] == 200)
    assert time.monotonic() - back < BACK_SECONDS
    run = settled(http, run_id)
    assert (run["status"], run["answer"]) == ("completed", "one two three four")
    assert settled(http, start_run(http, "What time is it?"))["status"] == "completed"
    assert time.monotonic() - back < 3 * BACK_SECONDS
    assert len(daemon.events("database connection failed")) <= before + 1, "once, or not again right after another"


@pytest.fixture
def url(database: URL) -> str:
    return database.set(drivername="postgresql").render_as_string(hide_password=False)


def test_run_started_on_the_web_process_is_worked_on_by_the_worker(folder: Path, url: str) -> None:
    """Two processes, one database: events arrive over SSE, a cancel reaches the worker within a second."""
    env = {"DATABASE_URL": url, "ATOM_RUNS__LEASE_SECONDS": "3", **script(folder, *RULES)}
    web_home, home = folder / "web", folder / "worker"
    with (
        started("serve", "--role", "web", "--port", "0", home=web_home, env=env) as web,
        started("worker", home=home, env=env) as worker,
    ):
        web.ready()
        worker.ready()
        assert worker.url == ""
        assert not (home / "admin-token").exists()
        until(lambda: web.health()[1]["checks"]["workers"] == "healthy")
        with web.client() as http:
            agent(http, tools=["current_time"])
            run_id = start_run(http, "What time is it?")
            assert [event["type"] for event in events(http, run_id)] == [
                "run.queued",
                "run.started",
                "model.replied",
                "tool.requested",
                "tool.finished",
                "model.replied",
                "run.completed",
            ]
            assert run_of(http, run_id)["answer"] == "It is late."
            cancel_reaches_the_worker(http)
            worker_dies_and_another_goes_on(http, worker, home, env)
        assert web.events("execution.ended") == []
        assert web.mishaps == []
        assert web.stop() == 0


def cancel_reaches_the_worker(http: httpx2.Client) -> None:
    run_id = start_run(http, "hang")
    settled(http, run_id, "running")
    until(lambda: http.get(f"/api/runs/{run_id}").json()["started_at"])
    assert http.post(f"/api/runs/{run_id}/cancel").is_success
    settled(http, run_id, "cancelled", seconds=1)


def worker_dies_and_another_goes_on(http: httpx2.Client, worker: Daemon, home: Path, env: dict[str, str]) -> None:
    run_id = start_run(http, "slow")
    settled(http, run_id, "running")
    os.kill(worker.pid, signal.SIGKILL)
    worker.ended()
    with started("worker", home=home, env=env) as second:
        second.ready()
        run = settled(http, run_id)
        assert (run["status"], run["answer"]) == ("completed", "one two three four")
        assert [step["key"] for step in steps_of(http, run_id)] == ["turn-0"]
        assert second.mishaps == []
        assert second.stop() == 0


def events(http: httpx2.Client, run_id: str) -> list[dict[str, object]]:
    """The journaled events of a run, read live to its end."""
    found = []
    with http.stream("GET", f"/api/runs/{run_id}/events") as stream:
        kind = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            if line.startswith("data: ") and kind != "delta":
                found.append(json.loads(line.removeprefix("data: ")))
    return found
