"""`atom approvals` and `atom webhooks` on a whole Atom: what is typed is what is decided."""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from atom.cli.app import run
from atom.llm.testing import ScriptedModel, call
from atom.settings import GovernanceSettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.governance.test_webhooks import Receiver, receiving

WRITE = call("write_file", path="a.txt", content="hello\n")
EDITOR = """import json, sys
found = json.load(open(sys.argv[1]))
found["content"] = "edited\\n"
json.dump(found, open(sys.argv[1], "w"))
"""


class Shell:
    """The commands in this process, against a running Atom."""

    def __init__(self, atom: RunningAtom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch
        self.use(atom.url, atom.token)

    def use(self, url: str, token: str) -> None:
        self.monkeypatch.setenv("ATOM_URL", url)
        self.monkeypatch.setenv("ATOM_TOKEN", token)

    async def __call__(self, *argv: str, code: int = 0) -> str:
        self.capsys.readouterr()
        found = await asyncio.to_thread(run, argv)
        said = self.capsys.readouterr()
        assert found == code, said.err + said.out
        return said.out + said.err

    async def json(self, *argv: str, code: int = 0) -> Any:
        self.capsys.readouterr()
        assert await asyncio.to_thread(run, [*argv, "--json"]) == code
        return json.loads(next(line for line in self.capsys.readouterr().out.splitlines() if line.startswith("{")))


async def waiting(atom: RunningAtom) -> dict[str, Any]:
    run_ = await atom.done("worker", "go")
    [found] = (await atom.http.get(f"/api/approvals?run_id={run_['id']}&status=pending")).json()["items"]
    approval: dict[str, Any] = found
    return approval


async def test_approvals_are_found_edited_delegated_and_approved_at_once(
    database: URL,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text(EDITOR)
    model = ScriptedModel(WRITE, "one", WRITE, "two", WRITE, WRITE, "three", "four")
    async with running_atom(settings_for_tests(home), database, model) as atom:
        shell = Shell(atom, capsys, monkeypatch)
        await atom.agent(tools=["write_file"], maturity="intern")
        first = await waiting(atom)
        assert first["id"] in await shell("approvals", "list", "--mine", "--agent", "worker", "--action", "write_file")
        assert first["id"] not in await shell("approvals", "list", "--agent", "other")
        assert (await shell.json("approvals", "summary"))["mine"] == 1

        monkeypatch.setenv("EDITOR", "true")
        assert "Nothing was changed" in await shell("approvals", "approve", first["id"], "--edit", code=2)
        monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
        shown = await shell("approvals", "approve", first["id"], "--edit", "--note", "better")
        assert "edited by     admin:admin" in shown
        assert "the agent had asked for:" in shown
        await atom.settled(first["run_id"], "completed")
        assert Path(atom.workspaces, first["agent_id"], "a.txt").read_text() == "edited\n"

        second = await waiting(atom)
        file = tmp_path / "arguments.json"
        file.write_text("[1]")
        assert "not a JSON object" in await shell(
            "approvals", "approve", second["id"], "--arguments", str(file), code=2
        )
        file.write_text('{"path": "b.txt", "content": "from a file"}')
        given = await shell.json("approvals", "approve", second["id"], "--arguments", str(file))
        assert (given["arguments"]["path"], given["edited_from"]["arguments"]["path"]) == ("b.txt", "a.txt")
        await atom.settled(second["run_id"], "completed")

        third, fourth = await waiting(atom), await waiting(atom)
        assert "assigned to   bob" in await shell("approvals", "delegate", third["id"], "bob")
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")
        made = await shell.json("approvals", "delegate-all", "bob", "--until", tomorrow)
        assert made["items"][0]["to_person"] == "bob"
        assert "bob" in await shell("approvals", "delegations")
        assert "admin:admin" in await shell("approvals", "revoke", made["items"][0]["id"])
        done = await shell.json("approvals", "approve", "--like", third["id"])
        assert {line["id"]: line["status"] for line in done["items"]} == dict.fromkeys(
            (third["id"], fourth["id"]), "approved"
        )
        assert "No open question" in await shell("approvals", "approve", "--like", third["id"], code=1)
        assert "Give one approval" in await shell("approvals", "approve", code=2)


async def test_webhooks_are_added_tried_and_removed(
    database: URL, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving(Receiver(lambda before: 204 if before == 0 else 500)) as receiver:
        governance = GovernanceSettings(webhook_allow=(f"127.0.0.1:{receiver.port}",))
        async with running_atom(settings_for_tests(home, governance=governance), database) as atom:
            shell = Shell(atom, capsys, monkeypatch)
            added = await shell("webhooks", "add", "chat", receiver.url, "--type", "approval.requested")
            assert "secret: whsec_" in added
            assert "whsec_" not in await shell("webhooks", "show", "chat") + await shell("webhooks", "list")
            assert "answered 204" in await shell("webhooks", "test", "chat")
            assert "answered 500" in await shell("webhooks", "test", "chat", code=1)
            found = (await shell.json("webhooks", "deliveries", "chat"))["items"]
            assert [one["status"] for one in found] == ["pending", "delivered"]
            assert "chat is removed" in await shell("webhooks", "remove", "chat", "--yes")
            assert "There is no webhook" in await shell("webhooks", "show", "chat", code=1)
