"""Agents, tokens, jobs, settings and the version at the command line: text for people, JSON for programs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atom import __version__
from atom.client.testing import FakeAtom

Cli = Callable[..., Any]
JOB: dict[str, Any] = {"id": "j1", "kind": "index", "total": 2, "created_at": "2026-01-01T00:00:00Z"}


def job(done: int, status: str, **more: Any) -> dict[str, Any]:
    return {**JOB, "done": done, "status": status, **more}


def test_an_agent_is_created_as_it_was_described(fake: FakeAtom, cli: Cli, tmp_path: Path) -> None:
    told = tmp_path / "told.md"
    told.write_text("Answer from the docs.\n", encoding="utf-8")
    options = ["--instructions-file", str(told), "--tools", "search_text, read_file", "--model", "m"]
    shown = cli("agents", "create", "helper", *options, "--maturity", "intern", "--json")
    assert shown.code == 0
    made = json.loads(shown.out)
    assert (made["name"], made["tools"], made["model"]) == ("helper", ["search_text", "read_file"], "m")
    assert (made["maturity"], made["instructions"]) == ("intern", "Answer from the docs.\n")
    assert cli("agents", "create", "helper").code == 1


def test_only_what_is_named_is_changed(fake: FakeAtom, cli: Cli) -> None:
    fake.agents["guide"]["model"] = "m"
    assert cli("agents", "update", "guide", "--tools", "").code == 0
    assert (fake.agents["guide"]["tools"], fake.agents["guide"]["model"]) == ([], "m")
    assert cli("agents", "update", "guide", "--model", "").code == 0
    assert fake.agents["guide"]["model"] is None
    shown = cli("agents", "update", "guide")
    assert shown.code == 2
    assert "Nothing to change" in shown.err


def test_instructions_come_from_one_place_and_are_text(fake: FakeAtom, cli: Cli, tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    assert "both given" in cli("agents", "create", "x", "--instructions", "a", "--instructions-file", str(latin)).err
    shown = cli("agents", "create", "x", "--instructions-file", str(latin))
    assert shown.code == 2
    assert "latin.txt is not valid UTF-8 (at byte 3)" in shown.err
    assert fake.seen == []


def test_an_agent_is_paused_resumed_and_retired(fake: FakeAtom, cli: Cli) -> None:
    for verb, state in (("pause", "paused"), ("resume", "active"), ("retire", "retired")):
        assert f"status    {state}" in cli("agents", verb, "guide").out
    assert cli("agents", "list", "--status", "active").out.splitlines()[1:] == []
    assert cli("agents", "list", "--status", "retired").out.splitlines()[1].startswith("guide  retired")
    assert cli("agents", "list", "--status", "asleep").code == 2
    assert cli("agents", "versions", "guide").out.splitlines()[1].startswith("1        2026-01-01T00:00:00Z")


def test_tools_are_listed_with_their_risk(fake: FakeAtom, cli: Cli) -> None:
    assert cli("agents", "tools").out.splitlines()[1].startswith("read_file  1 low  read")
    assert json.loads(cli("agents", "tools", "--json").out)["items"][0]["risk"] == 1


def test_an_index_is_watched_to_its_end(fake: FakeAtom, cli: Cli) -> None:
    fake.jobs["j1"] = [job(0, "queued"), job(1, "running"), job(2, "completed", report={"files": 2})]
    shown = cli("agents", "index", "guide")
    assert shown.code == 0
    assert "done     2/2" in shown.out
    assert 'report   {"files": 2}' in shown.out
    assert shown.err == ""
    assert json.loads(cli("agents", "index", "guide", "--no-wait", "--json").out)["job_id"] == "j1"
    assert cli("agents", "index", "guide", "--no-wait").out == "j1\n"


def test_a_job_that_fails_exits_1(fake: FakeAtom, cli: Cli) -> None:
    fake.jobs["j1"] = [job(0, "running"), job(0, "failed", error="disk full")]
    shown = cli("jobs", "show", "j1", "--follow")
    assert shown.code == 1
    assert "error    disk full" in shown.out
    assert cli("jobs", "show", "j1").code == 0


def test_jobs_are_listed_shown_and_cancelled(fake: FakeAtom, cli: Cli) -> None:
    fake.jobs["j1"] = [job(1, "running")]
    assert cli("jobs", "list").out.splitlines()[1].startswith("j1  index  running  1/2")
    assert json.loads(cli("jobs", "show", "j1", "--json").out)["done"] == 1
    assert cli("jobs", "cancel", "j1").code == 0
    assert cli("jobs", "show", "j9").code == 1


def test_in_a_pipe_only_the_token_is_on_standard_output(fake: FakeAtom, cli: Cli) -> None:
    shown = cli("token", "create", "ci", "--role", "operator", "--expires-days", "30")
    assert shown.out == "atom_new_secret\n"
    assert "not shown again" in shown.err
    assert "atom_new_secret" not in shown.err
    assert fake.bodies == [{"name": "ci", "role": "operator", "expires_in_days": 30}]


def test_tokens_are_listed_without_their_secret_and_revoked(fake: FakeAtom, cli: Cli) -> None:
    made = json.loads(cli("token", "create", "ci", "--role", "viewer", "--json").out)
    listed = cli("token", "list")
    assert made["id"] in listed.out
    assert "secret" not in listed.out
    assert cli("token", "revoke", made["id"]).out == f"{made['id']} revoked\n"
    assert cli("token", "revoke", made["id"]).code == 1
    assert cli("token", "create", "ci", "--role", "king").code == 2
    assert cli("token", "create", "ci").code == 2


def test_settings_are_shown_with_source_and_without_secrets(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db/x")
    monkeypatch.setenv("ATOM_WEB__PORT", "8111")
    shown = cli("config", "show")
    items = {item["name"]: item for item in json.loads(cli("config", "show", "--json").out)["items"]}
    assert shown.code == 0
    assert "hunter2" not in shown.out + json.dumps(items)
    assert (items["ATOM_WEB__PORT"]["value"], items["ATOM_WEB__PORT"]["source"]) == ("8111", "ATOM_WEB__PORT")
    assert items["ATOM_DATABASE__URL"]["source"] == "DATABASE_URL"
    assert items["ATOM_WEB__HOST"]["source"] == "default"


def test_the_version_is_this_packages(cli: Cli) -> None:
    assert cli("version").out == f"atom {__version__}\n"
    assert set(json.loads(cli("version", "--json").out)) == {"version", "python", "platform"}
