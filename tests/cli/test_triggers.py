"""Triggers, corrections and take-overs at the command line, run in this process against a whole Atom."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import URL

from atom.cli.app import run
from atom.llm.testing import ScriptedModel
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.cli.conftest import Result
from tests.support.databases import execute
from tests.support.polling import eventually

Said = Callable[..., Awaitable[Result]]


@pytest_asyncio.fixture
async def atom(database: URL, home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningAtom]:
    async with running_atom(settings_for_tests(home), database, ScriptedModel("one", "two", "three")) as found:
        monkeypatch.setenv("ATOM_URL", found.url)
        monkeypatch.setenv("ATOM_TOKEN", found.token)
        for name, maturity in (("novice", "student"), ("junior", "intern"), ("senior", "autonomous")):
            await found.agent(name, maturity=maturity)
        yield found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    async def command(*argv: str, code: int = 0) -> Result:
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"")))
        capsys.readouterr()
        ended = await asyncio.to_thread(run, argv)
        captured = capsys.readouterr()
        assert ended == code, captured
        return Result(ended, captured.out, captured.err)

    return command


def parsed(out: str) -> Any:
    """Without the log lines of the server, which runs in the same process here."""
    return json.loads("\n".join(line for line in out.splitlines() if not line.startswith("20")))


async def make_due(atom: RunningAtom, name: str) -> None:
    past = "now() - interval '1 second'"
    statement = f"UPDATE trigger SET due_at = {past}, next_at = {past} WHERE name = :name"
    await execute(atom.atom.parts.base.sessions, statement, name=name)


async def test_a_schedule_is_added_shown_changed_and_removed(atom: RunningAtom, say: Said) -> None:
    told = (
        await say("triggers", "add", "morning", "senior", "Sum up.", "--when", "0 9 * * *", "--timezone", "UTC")
    ).out
    assert "state" in told
    assert "Sum up." in (await say("triggers", "show", "morning")).out
    every = ("--when", "every 10m", "--jitter", "5")
    assert '"jitter": 5' in (await say("triggers", "update", "morning", *every)).out
    assert "disabled" in (await say("triggers", "disable", "morning")).out
    assert "morning" in (await say("triggers", "list", "--agent", "senior")).out
    assert "enabled" in (await say("triggers", "enable", "morning")).out
    assert (await say("triggers", "remove", "morning")).out == "morning removed\n"
    assert "trigger_not_found" in (await say("triggers", "show", "morning", code=1)).err


async def test_bad_input_names_the_field_and_the_fix(atom: RunningAtom, say: Said) -> None:
    add = ("triggers", "add", "x", "senior", "Work.")
    assert "Give one of" in (await say(*add, code=2)).err
    assert "Give one of" in (await say(*add, "--webhook", "--when", "every 10m", code=2)).err
    assert "cron" in (await say(*add, "--when", "61 9 * * *", code=2)).err
    assert "timezone" in (await say(*add, "--when", "0 9 * * *", "--timezone", "Mars/Base", code=2)).err
    assert "NAME=VALUE" in (await say(*add, "--event", "run.failed", "--where", "reason", code=2)).err
    assert (
        "agent_not_found" in (await say("triggers", "add", "x", "nobody", "Work.", "--when", "every 10m", code=1)).err
    )
    assert "{{dat}}" in (await say("triggers", "add", "x", "senior", "Do {{dat}}", "--webhook", code=2)).err


async def test_what_a_trigger_led_to_is_listed_and_decided(atom: RunningAtom, say: Said) -> None:
    fired = parsed((await say("triggers", "add", "hook", "senior", "Read {{data}}", "--webhook", "--json")).out)
    assert fired["secret"].startswith("whsec_")
    assert "secret" not in (await say("triggers", "show", "hook")).out
    run_id = parsed((await say("triggers", "fire", "hook", "--data", "this", "--json")).out)["run_id"]
    assert (await atom.settled(run_id))["status"] == "completed"
    assert run_id in (await say("triggers", "firings", "hook")).out
    for name, agent in (("lesson", "novice"), ("wish", "junior")):
        await say("triggers", "add", name, agent, "Work.", "--when", "every 10m")
        await make_due(atom, name)

    async def proposed() -> str | None:
        found = parsed((await say("triggers", "proposals", "--json")).out)["items"]
        return found[0]["id"] if found else None

    proposal = await eventually(proposed)

    async def blocked() -> bool:
        return "agent_is_student" in (await say("triggers", "firings", "lesson")).out

    await eventually(blocked)
    assert "Work." in (await say("training", "list", "--status", "proposed")).out
    approved = parsed((await say("triggers", "approve", proposal, "--note", "go", "--json")).out)
    assert (await atom.settled(approved["run_id"]))["status"] == "completed"
    assert "proposal_settled" in (await say("triggers", "reject", proposal, code=1)).err
    assert "approved" in (await say("triggers", "proposals", "--status", "all")).out
