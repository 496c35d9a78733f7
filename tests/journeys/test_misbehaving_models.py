"""A model that answers garbage, calls what is not there, never stops or never starts: the run ends with the reason, and
the next one is served. All at once, on one real `atom up`."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.processes import (
    Daemon,
    agent,
    atom_up,
    environment,
    roomy_folder,
    run_of,
    script,
    settled,
    start_run,
    steps_of,
)

CALL = {"name": "current_time"}
RULES: tuple[dict[str, Any], ...] = (
    {
        "user": "garbage",
        "replies": [{"tool_calls": [{"name": "calculate", "arguments": "{{{ no JSON"}]}],
        "repeat": True,
    },
    {"user": "wrong", "replies": [{"tool_calls": [{"name": "calculate", "arguments": {"sum": 1}}]}, "I give up."]},
    {"user": "unknown", "replies": [{"tool_calls": [{"name": "launch_rocket", "arguments": {}}]}, "There is none."]},
    {"user": "forever", "replies": [{"tool_calls": [CALL]}], "repeat": True},
    {"user": "many", "replies": [{"tool_calls": [CALL] * 40}], "repeat": True},
    {"user": "hang", "replies": [{"text": "never", "delay": 600}]},
    {"user": "stall", "replies": [{"text": "one two", "chunk_delay": 600}]},
    {"user": "nothing", "replies": [{"text": ""}], "repeat": True},
    {"user": "malformed", "replies": [{"error": {"kind": "malformed"}}]},
    {"user": "cut", "replies": [{"text": "half an ans", "error": {"kind": "truncated"}}]},
    {"user": "control", "replies": ["\u0000\u001b[2J\ud83d\ude00 \u202eevil \ufffe ok"]},
    {"user": "huge", "replies": ["word " * 300_000]},
    {"replies": ["Well."], "repeat": True},
)
LIMITS = {
    "ATOM_RUNS__MAX_TURNS": "6",
    "ATOM_RUNS__MAX_TOOL_CALLS": "30",
    "ATOM_RUNS__MAX_CONCURRENT": "20",
    "ATOM_LLM__TIMEOUT": "40",
    "ATOM_LLM__FIRST_BYTE_TIMEOUT": "10",  # the longest answer keeps two busy processors for seconds
    "ATOM_LLM__IDLE_TIMEOUT": "10",
    "ATOM_LLM__ATTEMPTS": "2",
    "ATOM_LLM__PROVIDER_WAIT_SECONDS": "0",  # nobody waits here for a model to come to its senses
    "ATOM_MEMORY__RECALL_AT_START": "off",  # all ask at once: later ones would find the route left alone
}
ENDS = {  # those that succeed ask first: on a busy machine the others' failures have the route left alone
    "wrong": ("completed", "I give up."),
    "unknown": ("completed", "There is none."),
    "nothing": ("completed", "Well."),  # it is told that it said nothing, and answers that
    "control": ("completed", None),
    "huge": ("completed", None),
    "garbage": ("failed", "model_misbehaved"),
    "forever": ("failed", "turn_limit"),
    "many": ("failed", "tool_call_limit"),
    "hang": ("failed", "llm_timeout"),
    "stall": ("failed", "llm_timeout"),
    "malformed": ("failed", "llm_malformed"),
    "cut": ("failed", "llm_truncated"),
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix="atom-j-", dir=roomy_folder()))
    folder.chmod(0o711)
    with atom_up(folder / "home", env=script(folder, *RULES) | LIMITS) as started:
        yield started
        assert started.mishaps == []
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def http(daemon: Daemon) -> Iterator[httpx2.Client]:
    with daemon.client() as client:
        agent(client, tools=["current_time", "calculate"])
        yield client


@pytest.fixture(scope="module")
def runs(http: httpx2.Client) -> dict[str, str]:
    """All of them, at the same time."""
    return {name: start_run(http, name) for name in ENDS}


@pytest.mark.parametrize("name", ENDS)
def test_run_ends_with_the_reason(http: httpx2.Client, runs: dict[str, str], name: str) -> None:
    run = settled(http, runs[name])
    status, said = ENDS[name]
    assert run["status"] == status, run["error"] or run["answer"]
    if status == "failed":
        assert run["error"]["code"] == said, run["error"]
        assert run["error"]["message"]
    elif said:
        assert run["answer"] == said


def test_unknown_tool_is_refused_in_the_journal_and_the_model_is_told(
    http: httpx2.Client, runs: dict[str, str]
) -> None:
    settled(http, runs["unknown"])
    (step,) = [step for step in steps_of(http, runs["unknown"]) if step["kind"] == "tool"]
    assert step["name"] == "launch_rocket"
    assert step["result"]["code"] == "unknown_tool"
    assert "There is no tool 'launch_rocket' here." in step["result"]["content"]


def test_next_run_is_served(http: httpx2.Client, runs: dict[str, str]) -> None:
    for run_id in runs.values():
        settled(http, run_id)
    assert settled(http, start_run(http, "Are you there?"))["answer"] == "Well."


def test_prompt_of_10_megabytes_is_refused_and_costs_nothing(http: httpx2.Client) -> None:
    before = http.get("/api/runs?limit=1").json()["items"]
    answer = http.post("/api/agents/worker/runs", json={"task": "x" * 10_000_000})
    assert answer.status_code == 413, answer.text[:500]
    answer = http.post("/api/agents/worker/runs", json={"task": "x" * 150_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "task_too_large")
    assert "100000" in answer.json()["detail"]
    assert http.get("/api/runs?limit=1").json()["items"] == before


def test_invalid_text_is_refused_with_its_place(http: httpx2.Client) -> None:
    for body in (b'{"task": "\xff\xfe"}', b'{"task": "\\ud800"', b"\x00", b""):
        answer = http.post("/api/agents/worker/runs", content=body, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, (body, answer.text)
        assert answer.json()["code"]


def test_command_line_says_the_same(daemon: Daemon) -> None:
    variables = environment(daemon.home)

    def run(stdin: bytes) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, "-m", "atom", "run", "worker", "-"]
        return subprocess.run(command, input=stdin, env=variables, capture_output=True, timeout=30, check=False)

    done = run(b"x" * 10_000_000)
    assert (done.returncode, b"error:" in done.stderr, b"Traceback" in done.stderr) == (2, True, False), done.stderr
    done = run(b"caf\xe9")
    assert (done.returncode, b"UTF-8" in done.stderr) == (2, True), done.stderr


def test_lone_run_shows_what_it_was(http: httpx2.Client, runs: dict[str, str]) -> None:
    """Control characters of a model are kept out of the database's way, not of the reader's sight."""
    answer = run_of(http, runs["control"])["answer"]
    assert "\u0000" not in answer
    assert answer.endswith("ok")
