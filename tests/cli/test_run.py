"""`atom run` and `atom runs`: live, whole, honest about its end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atom.client.testing import AT, Act, Cut, FakeAtom, Fault, Happen, Rest, Say

Command = Callable[..., "subprocess.CompletedProcess[bytes]"]
Cli = Callable[..., Any]
ANSWER = "Use pg_isready to check."
SOURCE = {"path": "guide.md", "line": 12, "quote": "pg_isready -h localhost", "cited": True}
SEEN = {"path": "guide.md", "line": 40, "quote": "psql", "cited": False}
DONE = Happen("run.completed", {"answer": ANSWER}, {"status": "completed", "answer": ANSWER, "sources": [SOURCE, SEEN]})
STARTED = Happen("run.started", {"provider": "local", "model": "m"}, {"status": "running"})
SEARCHED: list[Act] = [
    Happen(
        "tool.requested",
        {"step": "turn-0.call-0", "tool": "search_text", "arguments": {"query": "db down"}, "verdict": "allow"},
    ),
    Happen("tool.finished", {"step": "turn-0.call-0", "tool": "search_text", "ok": True, "summary": "5 lines"}),
]
STEP = {"no": 1, "key": "model-1", "kind": "model", "status": "done", "name": "m", "started_at": AT, "ended_at": AT}


def replied(step: str, text: str, **more: Any) -> Happen:
    return Happen("model.replied", {"step": step, "attempt": 1, "text": text, **more})


def answered(fake: FakeAtom) -> None:
    said = [Say("turn-1", 1, 0, "Use pg_isready"), Say("turn-1", 1, 14, " to check.")]
    fake.script = [
        Happen("run.queued"),
        STARTED,
        replied("turn-0", ""),
        *SEARCHED,
        *said,
        replied("turn-1", ANSWER),
        DONE,
    ]


def test_a_run_is_shown_as_it_happens_and_the_answer_once(fake: FakeAtom, cli: Cli) -> None:
    answered(fake)
    shown = cli("run", "guide", "How?")
    run_id = next(iter(fake.runs))
    conversation = fake.runs[run_id]["conversation_id"]
    assert shown.code == 0
    assert shown.out.splitlines() == [
        "model: local/m",
        '-> search_text query="db down"',
        "<- 5 lines",
        ANSWER,
        "",
        "Sources:",
        "guide.md:12: pg_isready -h localhost",
        "",
        "Also found:",
        "guide.md:40: psql",
        "",
        f"Journal: atom runs show {run_id}",
        f'Go on: atom run guide --conversation {conversation} "..."',
    ]


CUTS = [
    [Say("turn-1", 1, 0, "Use pg"), Cut(), Say("turn-1", 1, 13, "y to check.")],
    [Say("turn-1", 1, 0, "Use pg_"), Cut(), Cut(clean=True), Say("turn-1", 1, 7, "isready to check.")],
    [Cut()],
    [Say("turn-1", 1, 0, "Use pg_is"), Say("turn-1", 1, 4, "pg_isready"), Cut()],
]


@pytest.mark.parametrize("middle", CUTS)
def test_a_cut_connection_leaves_no_gap_and_no_duplicate(fake: FakeAtom, cli: Cli, middle: list[Act]) -> None:
    fake.script = [STARTED, *SEARCHED, *middle, replied("turn-1", ANSWER), DONE]
    shown = cli("run", "guide", "How?")
    lines = shown.out.splitlines()
    assert shown.code == 0
    assert lines[:4] == ["model: local/m", '-> search_text query="db down"', "<- 5 lines", ANSWER]
    assert shown.out.count("pg_isready to check") == 1


def test_a_reply_begun_again_is_marked(fake: FakeAtom, cli: Cli) -> None:
    fake.script = [
        STARTED,
        Say("turn-0", 1, 0, "Wrong st"),
        Say("turn-0", 2, 0, ANSWER),
        replied("turn-0", ANSWER),
        DONE,
    ]
    lines = cli("run", "guide", "How?").out.splitlines()
    assert lines[1:4] == ["Wrong st", "(that reply was cut; it begins again)", ANSWER]


def test_an_answer_by_another_model_is_said(fake: FakeAtom, cli: Cli) -> None:
    fake.script = [STARTED, replied("turn-0", ANSWER, provider="openai", model="gpt"), DONE]
    assert "answered by: openai/gpt" in cli("run", "guide", "How?").out


def test_an_answer_that_was_not_streamed_is_printed_at_the_end(fake: FakeAtom, cli: Cli) -> None:
    fake.script = [STARTED, replied("turn-0", "Let me see."), DONE]
    out = cli("run", "guide", "How?").out
    assert out.index("Let me see.") < out.index(ANSWER)


def test_the_limits_of_the_model_are_said_once(fake: FakeAtom, cli: Cli) -> None:
    note = "It can be the wrong line."
    started = Happen("run.started", {"provider": "local", "model": "m", "model_note": note}, {"model_note": note})
    fake.script = [started, DONE]
    assert cli("run", "guide", "How?").out.count(note) == 1
    fake.script = [started.__class__("run.started", {}, {"model_note": note}), DONE]
    fake.position, fake.past = 0, []
    assert cli("run", "guide", "How?").out.count(note) == 1


def test_a_refused_call_and_a_failed_one_are_shown(fake: FakeAtom, cli: Cli) -> None:
    refused = {
        "step": "turn-0.call-0",
        "tool": "delete_file",
        "arguments": {"path": "x"},
        "verdict": "deny",
        "reason": "above_rank",
    }
    failed = {"step": "turn-0.call-0", "tool": "read_file", "ok": False, "summary": "no such file"}
    fake.script = [STARTED, Happen("tool.requested", refused), Happen("tool.finished", failed), DONE]
    lines = cli("run", "guide", "How?").out.splitlines()
    assert '-x delete_file path="x": refused, above_rank' in lines
    assert "<- failed: no such file" in lines


def test_a_failed_run_exits_1_with_its_reason(fake: FakeAtom, cli: Cli) -> None:
    error = {"code": "llm_timeout", "message": "The model did not answer.", "hint": "Try later."}
    fake.script = [STARTED, Happen("run.failed", {"error": error}, {"status": "failed", "error": error})]
    shown = cli("run", "guide", "How?")
    assert shown.code == 1
    assert shown.err == "The run failed: The model did not answer.\nhint: Try later.\ncode: llm_timeout\n"


def test_a_run_that_waits_says_so_and_exits_0(fake: FakeAtom, cli: Cli) -> None:
    asked = {"approval_id": "a1", "tool": "write_file", "arguments": {"path": "x"}, "reason": "above_maturity"}
    waits = Happen("run.waiting", {"wait_reason": "approval"}, {"status": "waiting", "wait_reason": "approval"})
    fake.script = [STARTED, Happen("approval.requested", asked), waits, Rest(20)]
    shown = cli("run", "guide", "How?")
    assert shown.code == 0
    assert '?? approval a1: write_file path="x" (above_maturity)' in shown.out
    assert "The run waits for approval" in shown.out
    assert f"atom runs follow {next(iter(fake.runs))}" in shown.out


def test_a_wait_that_is_over_does_not_end_the_view(fake: FakeAtom, cli: Cli) -> None:
    fake.script = [STARTED, Happen("run.waiting", {"wait_reason": "approval"}), *SEARCHED, DONE]
    assert "<- 5 lines" in cli("run", "guide", "How?").out


def test_no_wait_prints_the_id_at_once(fake: FakeAtom, cli: Cli) -> None:
    fake.script = [Rest(20)]
    shown = cli("run", "guide", "How?", "--no-wait", "--json")
    assert json.loads(shown.out) == {"id": next(iter(fake.runs))}
    plain = cli("run", "guide", "How?", "--no-wait")
    assert plain.out == f"{list(fake.runs)[1]}\n"
    assert shown.code == plain.code == 0


def test_json_gives_one_object_with_the_journal(fake: FakeAtom, cli: Cli) -> None:
    answered(fake)
    fake.steps = [STEP]
    shown = cli("run", "guide", "How?", "--json")
    value = json.loads(shown.out)
    assert {"id", "agent", "status", "wait_reason", "answer", "error", "steps"} <= set(value)
    assert (value["agent"], value["status"], value["answer"]) == ("guide", "completed", ANSWER)
    assert value["steps"][0]["key"] == "model-1"
    assert json.loads(cli("runs", "show", value["id"], "--json").out) == value


def test_files_go_to_the_workspace_before_the_run(fake: FakeAtom, cli: Cli, tmp_path: Path) -> None:
    answered(fake)
    first, second = tmp_path / "a.txt", tmp_path / "b c.bin"
    first.write_text("a")
    second.write_bytes(b"\x00" * 2_000_000)
    assert cli("run", "guide", "How?", "--file", str(first), "--file", str(second)).code == 0
    assert fake.files == {"a.txt": b"a", "b c.bin": b"\x00" * 2_000_000}
    assert fake.bodies == [{"task": "How?", "files": ["in/a.txt", "in/b c.bin"]}]


def test_the_task_may_come_from_standard_input(fake: FakeAtom, cli: Cli) -> None:
    answered(fake)
    assert cli("run", "guide", "-", stdin="\ufeffgr\u00fc\u00df\n".encode()).code == 0
    assert fake.bodies[0]["task"] == "gr\u00fc\u00df\n"


def test_options_reach_the_server(fake: FakeAtom, cli: Cli) -> None:
    answered(fake)
    cli("run", "guide", "How?", "--conversation", "c1", "--model", "gpt")
    assert fake.bodies == [{"task": "How?", "conversation_id": "c1", "model": "gpt"}]
    assert any("idempotency-key" in seen.headers for seen in fake.seen)


def test_an_answers_shape_and_a_fresh_answer_are_asked_for(fake: FakeAtom, cli: Cli, tmp_path: Path) -> None:
    answered(fake)
    (tmp_path / "shape.json").write_text('{"type": "object"}')
    cli("run", "guide", "How?", "--schema", str(tmp_path / "shape.json"), "--no-cache")
    assert fake.bodies == [{"task": "How?", "no_cache": True, "response_schema": {"type": "object"}}]


def bad_inputs(folder: Path) -> dict[str, tuple[list[str], bytes, str]]:
    twins = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "same.txt").write_text(name)
        twins += ["--file", str(folder / name / "same.txt")]
    os.mkfifo(folder / "pipe")
    (folder / "list.json").write_text("[]")
    (folder / "broken.json").write_text('{"type":')
    return {
        "schema that is a list": (["x", "--schema", str(folder / "list.json")], b"", "is no JSON object"),
        "schema that is not JSON": (["x", "--schema", str(folder / "broken.json")], b"", "is not JSON"),
        "missing file": (["x", "--file", str(folder / "nope")], b"", "does not exist"),
        "directory": (["x", "--file", str(folder)], b"", "is a directory"),
        "pipe": (["x", "--file", str(folder / "pipe")], b"", "not a regular file"),
        "twins": (["x", *twins], b"", "Two files are called same.txt"),
        "empty task": (["  "], b"", "The task is empty"),
        "empty input": (["-"], b"", "The task is empty"),
        "invalid utf-8": (["-"], b"caf\xe9 au lait", "standard input is not valid UTF-8 (at byte 3)"),
    }


def test_bad_input_is_named_and_nothing_is_sent(fake: FakeAtom, cli: Cli, tmp_path: Path) -> None:
    for name, (argv, stdin, message) in bad_inputs(tmp_path).items():
        shown = cli("run", "guide", *argv, stdin=stdin)
        assert (shown.code, shown.out) == (2, ""), name
        assert message in shown.err, name
    assert fake.seen == []


def test_a_prompt_of_ten_megabytes_is_refused_in_the_servers_words(fake: FakeAtom, cli: Cli) -> None:
    shown = cli("run", "guide", "-", stdin=b"x" * 10_000_000)
    assert shown.code == 2
    assert "larger than 1000000 bytes" in shown.err
    assert fake.runs == {}


def test_an_endless_prompt_is_given_up(fake: FakeAtom, cli: Cli) -> None:
    shown = cli("run", "guide", "-", stdin=b"x" * 32_000_001)
    assert shown.code == 2
    assert "standard input is larger" in shown.err
    assert fake.seen == []


def test_an_agent_that_does_not_run_exits_1(fake: FakeAtom, cli: Cli) -> None:
    cli("agents", "pause", "guide")
    assert cli("run", "guide", "How?").code == 1
    assert cli("run", "nobody", "How?").code == 1


def test_text_of_models_and_tools_cannot_drive_the_terminal(fake: FakeAtom, cli: Cli) -> None:
    evil = "a\x1b]0;owned\x07b\x9bc\u202ed"
    quote = {**SOURCE, "quote": evil}
    fake.script = [
        Happen("run.started", {"provider": evil, "model": evil}),
        Say("turn-0", 1, 0, evil),
        replied("turn-0", evil),
        Happen("tool.requested", {"tool": evil, "arguments": {evil: evil}, "verdict": "allow"}),
        Happen("run.failed", {}, {"status": "failed", "sources": [quote], "error": {"code": "c", "message": evil}}),
    ]
    shown = cli("run", "guide", "How?")
    text = shown.out + shown.err
    assert shown.code == 1
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert "a\\x1b]0;owned\\x07b\\x9bc\\u202ed" in text
    raw = cli("runs", "show", next(iter(fake.runs)), "--json").out
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(raw)
    assert json.loads(raw)["sources"][0]["quote"].startswith("a\x1b]0;owned\x07b\x9bc\u202ed")


def test_a_server_that_does_not_come_back_leaves_the_run_and_exits_3(fake: FakeAtom, cli: Cli) -> None:
    fake.script = [STARTED, Cut()]
    fake.faults.append(Fault("/api/runs", 500, {"code": "broken", "detail": "Broken."}, times=99))
    shown = cli("run", "guide", "How?")
    assert shown.code == 3
    assert "code: broken" in shown.err


def test_ctrl_c_leaves_the_run_going_and_says_how_to_find_it(fake: FakeAtom) -> None:
    fake.script = [STARTED, Say("turn-0", 1, 0, "thinking"), Rest(30)]
    process = subprocess.Popen(
        [sys.executable, "-m", "atom", "run", "guide", "How?"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "model: local/m\n"
    assert process.stdout.read(len("thinking")) == "thinking"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    run_id = next(iter(fake.runs))
    assert process.returncode == 130, err
    assert out.strip() == ""
    assert f"atom runs follow {run_id}" in err
    assert f"atom runs cancel {run_id}" in err
    assert "Traceback" not in err
    assert fake.runs[run_id]["status"] == "running"


def test_runs_are_listed_shown_and_cancelled(fake: FakeAtom, cli: Cli) -> None:
    run = fake.add_run("guide", "first line\nsecond", status="waiting", wait_reason="approval")
    fake.add_run("other", "task", status="running")
    fake.steps = [STEP]
    listed = cli("runs", "list", "--agent", "guide", "--status", "waiting")
    assert listed.out.splitlines()[1].split("  ")[:3] == [run["id"], "guide", "waiting/approval"]
    assert listed.out.splitlines()[1].endswith("first line second")
    assert len(listed.out.splitlines()) == 2
    shown = cli("runs", "show", run["id"])
    assert "status        waiting/approval" in shown.out
    assert "1   model  m     done" in shown.out
    assert cli("runs", "cancel", run["id"]).out == f"{run['id']} cancelled\n"
    assert cli("runs", "cancel", run["id"]).code == 1
    assert cli("runs", "show", "nope").code == 1
    page = cli("runs", "list", "--limit", "1", "--json")
    assert set(json.loads(page.out)) == {"items", "next", "halted"}
    assert "More: --after 1" in cli("runs", "list", "--limit", "1").err


def test_a_run_is_followed_from_its_beginning(fake: FakeAtom, cli: Cli) -> None:
    answered(fake)
    cli("run", "guide", "How?")
    shown = cli("runs", "follow", next(iter(fake.runs)))
    assert shown.code == 0
    assert shown.out.splitlines()[:5] == [
        "task: How?",
        "model: local/m",
        '-> search_text query="db down"',
        "<- 5 lines",
        ANSWER,
    ]
