"""Maturity and training at the command line, run in this process against a whole Atom."""

import asyncio
import io
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import URL

from atom.cli.app import run
from atom.llm.testing import ScriptedModel, call
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.cli.conftest import Result
from tests.support.planted import with_keys

Said = Callable[..., Awaitable[Result]]
LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")


@pytest_asyncio.fixture
async def atom(database: URL, home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningAtom]:
    model = ScriptedModel("draft", "better", call("delete_file", path="a"), "no")
    async with running_atom(with_keys(settings_for_tests(home)), database, model) as found:
        monkeypatch.setenv("ATOM_URL", found.url)
        monkeypatch.setenv("ATOM_TOKEN", found.token)
        await found.agent(tools=["delete_file"])
        yield found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    async def command(*argv: str, stdin: bytes = b"", code: int = 0) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        ended = await asyncio.to_thread(run, argv)
        captured = capsys.readouterr()
        assert ended == code, captured
        lines = captured.out.splitlines(keepends=True)  # the whole Atom logs into the same stream, at its own times
        return Result(ended, "".join(line for line in lines if not LOGGED.match(line)), captured.err)

    return command


async def test_task_is_trained(atom: RunningAtom, say: Said) -> None:
    made = (await say("agents", "train", "worker", "Write a haiku.")).out.split()[0]
    assert "Write a haiku." in (await say("training", "list", "--status", "proposed")).out
    opened = json.loads((await say("training", "open", made, "--no-wait", "--json")).out)
    assert opened["status"] == "open"
    await atom.settled(opened["run_id"], "completed")
    corrected = json.loads((await say("training", "correct", made, "Shorter.", "--no-wait", "--json")).out)
    await atom.settled(corrected["run_id"], "completed")
    assert "both given" in (await say("training", "rate", made, "--good", "--score", "0.5", code=2)).err
    assert "No rating is given" in (await say("training", "rate", made, code=2)).err
    rated = json.loads((await say("training", "rate", made, "--score", "0.5", "--note", "slow", "--json")).out)
    assert (rated["status"], rated["score"], rated["note"]) == ("rated", 0.5, "slow")
    assert "training_state" in (await say("training", "dismiss", made, code=1)).err
    shown = (await say("training", "show", made)).out
    assert "score      0.5" in shown
    other = json.loads((await say("agents", "train", "worker", "Another.", "--json")).out)["id"]
    assert "dismissed" in (await say("training", "dismiss", other, "--note", "no time")).out


async def test_promotion_shows_the_evidence_and_asks(atom: RunningAtom, say: Said) -> None:
    why = ("--reason", "we need it")
    shown = (await say("agents", "readiness", "worker")).out
    assert "Not ready to be intern" in shown
    assert "UNMET  success            none yet  at least 0.55" in shown
    assert json.loads((await say("agents", "readiness", "worker", "--json")).out)["ready"] is False
    told = await say("agents", "promote", "worker", *why, "--override", stdin=b"n\n", code=1)
    assert "UNMET  episodes" in told.err
    assert "promotion_refused" in (await say("agents", "promote", "worker", *why, "--yes", code=1)).err
    assert (await say("agents", "promote", "worker", *why, "--override", "--yes")).out == (
        "worker is intern (version 2).\n"
    )
    lowered = await say("agents", "demote", "worker", "--class", "egress", *why)
    assert "Less by class: egress student." in lowered.out
    assert "less by class  egress student" in (await say("agents", "show", "worker")).out
    assert "in egress" in (await say("agents", "readiness", "worker", "--class", "egress")).out
    assert "egress" in (await say("agents", "readiness", "worker")).out
    top = await say("agents", "promote", "worker", "--class", "read", *why, "--yes", code=1)
    assert "class_follows_agent" in top.err
    assert "worker is student" in (await say("agents", "demote", "worker", *why)).out
    assert "maturity_at_its_end" in (await say("agents", "demote", "worker", *why, code=1)).err


async def test_run_is_rated_and_evidence_listed(atom: RunningAtom, say: Said) -> None:
    done = await atom.done("worker", "go")
    assert f"{done['id']} rated 1 by admin:admin" in (await say("runs", "rate", done["id"], "--good")).out
    assert json.loads((await say("runs", "rate", done["id"], "--bad", "--json")).out)["score"] == 0
    lines = (await say("agents", "evidence", "worker")).out.splitlines()
    assert [line.split()[0] for line in lines] == ["KIND", "rated", "(rated)"]
    page: dict[str, Any] = json.loads((await say("agents", "evidence", "worker", "--limit", "1", "--json")).out)
    assert (len(page["items"]), page["items"][0]["counts"]) == (1, True)
    assert page["next"]
    assert "run_not_found" in (await say("runs", "rate", "01a20a0d-8e88-7117-9c08-46edfd98777f", "--bad", code=1)).err


@pytest.mark.parametrize("role", ["viewer", "operator", "agent"])
async def test_who_may_promote_and_who_may_demote(atom: RunningAtom, role: str) -> None:
    made = await atom.http.post("/api/tokens", json={"name": role, "role": role})
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    body = {"reason": "x"}
    promoted = await atom.http.post("/api/agents/worker/promote", json=body | {"override": True}, headers=headers)
    assert (promoted.status_code, promoted.json()["code"]) == (403, "permission_missing")
    assert (await atom.http.post("/api/agents/worker/promote", json=body | {"override": True})).status_code == 200
    demoted = await atom.http.post("/api/agents/worker/demote", json=body, headers=headers)
    assert demoted.status_code == (200 if role == "operator" else 403)
