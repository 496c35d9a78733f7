"""`atom up` from outside: its start, its end however it comes, and what it leaves behind."""

import json
import os
import re
import signal
import socket
import stat
import time
from pathlib import Path

import psutil
import pytest

from atom.infra.embedded_postgres import read_endpoint
from tests.journeys.conftest import PLAIN, ask
from tests.support.processes import (
    agent,
    atom,
    atom_up,
    postgres_of,
    run_of,
    script,
    settled,
    start_run,
    started,
    steps_of,
    until,
)

TOKEN = re.compile(r"atom_[a-z]+_\w+_\w+_[0-9a-f]{8}")
LEFT_SECONDS = 3.0
SLOW_WORDS = {"user": "slow", "replies": [{"text": "one two three four five six seven eight", "chunk_delay": 0.15}]}
HANGS = {"user": "hang", "replies": [{"text": "never", "delay": 600}]}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def asked(folder: Path, outcome: str = "answered") -> list[str]:
    """Digests of what the scripted model was asked."""
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    return [line["digest"] for line in lines if line["outcome"] == outcome]


def test_first_start_makes_everything_and_shows_the_token_once(folder: Path) -> None:
    home, model = folder / "new" / "home", script(folder, PLAIN)
    first = atom(home, "up", "--port", "0", "--once", env=model)
    assert first.code == 0, first
    token = (home / "admin-token").read_text().strip()
    assert first.out.count(token) == 1
    assert token not in (home / "logs" / "atom.log").read_text()
    assert (mode(home / "admin-token"), mode(home / "logs"), mode(home)) == (
        0o600,
        0o700,
        0o711 if os.geteuid() == 0 else 0o700,
    )
    for said in ("Atom is ready after", str(home / "admin-token"), "scripted/scripted (LLM_PROVIDER=scripted)"):
        assert said in first.out
    endpoint = read_endpoint(home)
    assert endpoint is not None
    own = {"DATABASE_URL": endpoint.url.get_secret_value()}  # as after `eval "$(atom env)"` in this shell
    second = atom(home, "up", "--port", "0", "--once", env=model | own)
    assert second.code == 0, second
    assert TOKEN.search(second.out) is None
    assert (home / "admin-token").read_text().strip() == token
    assert not postgres_of(home)
    assert not (home / "atom.pid").exists()
    migrated = atom(home, "migrate", env=own)
    assert (migrated.code, "nothing to do" in migrated.out) == (0, True)
    assert not postgres_of(home)


def test_kill_9_leaves_nothing_running_and_the_next_start_has_everything(home: Path, folder: Path) -> None:
    """In the middle of a run: the reply that was paid for is not asked again, and every step is there once."""
    rule = {
        "replies": [
            {"tool_calls": [{"name": "current_time"}]},
            {"tool_calls": [{"name": "calculate", "arguments": {"expression": "6*7"}}]},
            {"text": "It is 42", "delay": 1.5},
        ]
    }
    model = script(folder, rule) | {"ATOM_RUNS__LEASE_SECONDS": "2"}
    with atom_up(home, env=model) as first:
        with first.client() as http:
            agent(http, tools=["current_time", "calculate"])
            run_id = start_run(http, "What is six times seven?")
            until(lambda: len(steps_of(http, run_id)) == 4, what="both calls are journaled")
        family = psutil.Process(first.pid).children(recursive=True)
        assert {"postgres"} <= {process.name() for process in family}
        first.signal(signal.SIGKILL)
        killed = time.monotonic()
        assert first.ended() == -signal.SIGKILL
        until(lambda: not any(process.is_running() for process in family), LEFT_SECONDS, what="children end")
        until(lambda: not postgres_of(home), LEFT_SECONDS - (time.monotonic() - killed))
    assert (home / "atom.pid").exists()
    with atom_up(home, env=model) as second, second.client() as http:
        run = settled(http, run_id)
        assert (run["status"], run["answer"]) == ("completed", "It is 42")
        keys = [step["key"] for step in steps_of(http, run_id)]
        assert keys == ["turn-0", "turn-0.call-0", "turn-1", "turn-1.call-0", "turn-2"]
        assert run["usage"]["model_calls"] == 3
        assert second.stop() == 0
    assert len(asked(folder)) == len(set(asked(folder))) == 3


def test_second_atom_on_the_same_home_is_refused_and_the_first_goes_on_until_it_is_taken_down(
    home: Path, folder: Path
) -> None:
    model = script(folder, PLAIN)
    with atom_up(home, env=model) as first:
        told = (home / "atom.pid").read_text()
        second = atom(home, "up", "--port", "0", env=model)
        assert second.code == 1
        assert f"ATOM_HOME {home} is in use by Atom, process {first.pid}." in second.err
        assert "code: home_in_use" in second.err
        migrated = atom(home, "migrate", env=model)
        assert (migrated.code, "nothing to do" in migrated.out) == (0, True)
        assert (home / "atom.pid").read_text() == told
        with first.client() as http:
            agent(http, tools=["current_time"])
            assert settled(http, start_run(http, "What time is it?"))["status"] == "completed"
        done = atom(home, "down")
        assert (done.code, f"(pid {first.pid}) has ended" in done.out) == (0, True)
        assert first.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_a_run_in_its_reply_and_ends_with_0(home: Path, folder: Path, number: int) -> None:
    """What the model is saying is waited for, and journaled; the API answers meanwhile, and is not ready."""
    with atom_up(home, env=script(folder, SLOW_WORDS)) as daemon, daemon.client() as http:
        agent(http)
        run_id = start_run(http, "slow")
        settled(http, run_id, "running")
        daemon.signal(number)
        until(lambda: daemon.health()[0] == 503, 1, what="unready at once")
        assert daemon.health()[1]["status"] == "unhealthy"
        assert run_of(http, run_id)["status"] == "running"
        assert daemon.ended() == 0
        assert "Atom is ending" in daemon.said
        assert daemon.mishaps == []
        assert daemon.said.rstrip().endswith("Atom has ended.")
    assert not postgres_of(home)
    assert ask(home, "SELECT status, answer, crashes FROM agent_execution") == [
        ("completed", "one two three four five six seven eight", 0)
    ]
    assert len(asked(folder)) == 1


def test_second_signal_waits_for_nothing_and_loses_nothing(home: Path, folder: Path) -> None:
    with atom_up(home, env=script(folder, HANGS)) as daemon, daemon.client() as http:
        agent(http)
        run_id = start_run(http, "hang")
        settled(http, run_id, "running")
        daemon.signal(signal.SIGINT)
        until(lambda: "Atom is ending" in daemon.said)
        with pytest.raises(Exception, match="timed out"):
            daemon.ended(0.5)
        began = time.monotonic()
        daemon.signal(signal.SIGINT)
        assert daemon.ended() == 130
        assert time.monotonic() - began < LEFT_SECONDS
    assert not postgres_of(home)
    found = ask(home, "SELECT lease_owner, crashes, ended_at FROM agent_execution")
    assert found == [(None, 0, None)], "it was handed over, not torn away"


def test_port_in_use_is_told_before_anything_is_made(folder: Path) -> None:
    home = folder / "home"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = atom(home, "up", "--port", str(port), env=script(folder, PLAIN))
    assert done.code == 3
    assert f"Atom cannot listen on 127.0.0.1:{port}: Address already in use." in done.err
    assert "--port" in done.err
    assert not postgres_of(home)
    assert not (home / "postgres").exists()


def test_demo_can_be_interrupted(home: Path, folder: Path) -> None:
    """The person at the terminal does not wait for the model of the demonstration."""
    model = script(folder, {"replies": [{"text": "never", "delay": 600}]}) | {"ATOM_WEB__DRAIN_SECONDS": "0.5"}
    with started("up", "--port", "0", "--demo", home=home, env=model) as daemon:
        until(lambda: "$ atom run guide" in daemon.said)
        until(lambda: ask(home, "SELECT 1 FROM agent_execution WHERE status = 'running'"))
        daemon.signal(signal.SIGINT)
        assert daemon.ended(15) == 0
    assert not postgres_of(home)


def test_a_provider_without_a_key_in_the_environment_starts_because_the_vault_may_have_one(home: Path) -> None:
    """Keys are brought to an Atom that runs: one that does not start for want of a key could never be given it."""
    named = {"LLM_PROVIDER": "anthropic"}
    with atom_up(home, env=named) as first:
        until(lambda: "none. ANTHROPIC_API_KEY is not set, and anthropic was chosen." in first.said, what=first.said)
        with first.client() as http:
            key = {"provider": "anthropic", "name": "team-a", "secret": "sk-ant-0123456789"}
            assert http.post("/api/keys", json=key).status_code == 201
        assert first.stop() == 0
    second = atom(home, "up", "--port", "0", "--once", env=named)
    assert (second.code, "anthropic/claude-sonnet-5-5 (LLM_PROVIDER=anthropic)" in second.out) == (0, True), second


def test_an_order_without_any_key_starts_so_that_it_can_be_mended(home: Path) -> None:
    with atom_up(home, env={}) as first, first.client() as http:
        assert http.put("/api/routes", json={"routes": [{"provider": "bedrock"}]}).status_code == 200
        assert first.stop() == 0
    second = atom(home, "up", "--port", "0", "--once")
    assert (second.code, "none. There is no key for bedrock" in second.out) == (0, True), second
