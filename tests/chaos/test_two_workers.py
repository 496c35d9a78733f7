"""Two workers, one database, two hundred runs, and everything that can be taken away from them taken away once."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from atom.infra.embedded_postgres import EmbeddedPostgres
from tests.support.own_postgres import own
from tests.support.processes import agent, roomy_folder, script, start_run, started, until

__all__ = ["own"]
RUNS = 200
AT_ONCE = 8
LEASE = 3
SECONDS = 90.0
RULES = (
    {
        "turns": 0,
        "replies": [{"tool_calls": [{"name": "calculate", "arguments": {"expression": "6*7"}}], "delay": 0.02}],
        "repeat": True,
    },
    {"turns": 1, "replies": [{"text": "It is 42.", "delay": 0.02}], "repeat": True},
)


@pytest.fixture
def folder() -> Iterator[Path]:

    path = Path(roomy_folder()) / f"atom-chaos-{uuid4().hex[:8]}"
    path.mkdir()
    yield path
    shutil.rmtree(path, ignore_errors=True)


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def completed(url: str) -> int:
    return int(query(url, "SELECT count(*) FROM agent_execution WHERE status = 'completed'")[0][0])


def test_every_run_ends_once_whatever_is_taken_away(own: EmbeddedPostgres, folder: Path) -> None:
    url = own.endpoint.url.get_secret_value()
    env = {
        "DATABASE_URL": url,
        "ATOM_RUNS__LEASE_SECONDS": str(LEASE),
        "ATOM_RUNS__MAX_CONCURRENT": str(AT_ONCE),
        **script(folder, *RULES),
    }
    with (
        started("serve", "--role", "web", "--port", "0", home=folder / "web", env=env) as web,
        started("worker", home=folder / "one", env=env) as one,
        started("worker", home=folder / "two", env=env) as two,
    ):
        for daemon in (web, one, two):
            daemon.ready()
        with web.client() as http:
            agent(http, tools=["calculate"])
            runs = [start_run(http, f"task {number}") for number in range(RUNS)]
            until(lambda: completed(url) >= RUNS // 4, SECONDS, what="a quarter")
            os.kill(one.pid, signal.SIGKILL)
            until(lambda: completed(url) >= RUNS // 2, SECONDS, what="half")
            listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            assert query(url, listeners)
            until(lambda: completed(url) >= RUNS * 3 // 4, SECONDS, what="three quarters")
            own.stop()
            time.sleep(0.5)
            own.start()
            until(lambda: completed(url) == RUNS, SECONDS, what=str(_states(url)))
        assert web.mishaps == []
        assert two.mishaps == []
        assert two.stop() == 0
    _check(url, folder, runs)


def _states(url: str) -> list[tuple[Any, ...]]:
    return query(url, "SELECT status, wait_reason, error, count(*) FROM agent_execution GROUP BY 1, 2, 3")


def _check(url: str, folder: Path, runs: list[str]) -> None:
    assert _states(url) == [("completed", None, None, len(runs))]
    steps = query(url, "SELECT execution_id::text, array_agg(key ORDER BY step_no) FROM execution_step GROUP BY 1")
    assert dict(steps) == {key: ["turn-0", "turn-0.call-0", "turn-1"] for key in runs}
    ended = query(url, "SELECT run_id::text FROM event WHERE type = 'run.completed'")
    assert Counter(run for (run,) in ended) == Counter(runs)
    paid = query(url, "SELECT execution_id::text, step_key, count(*) FROM llm_call WHERE outcome = 'ok' GROUP BY 1, 2")
    assert len(paid) == 2 * len(runs)
    asked = len([json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()])
    lost = asked - 2 * len(runs)  # replies on their way to the worker that was killed, or to one that lost its lease
    assert 0 <= lost <= 2 * AT_ONCE
    assert sum(count for _, _, count in paid) - len(paid) <= lost  # nothing that is in a journal was paid again
    assert query(url, "SELECT count(*) FROM agent_execution WHERE lease_owner IS NOT NULL") == [(0,)]
