"""Steering runs from the command line, as an operator does it: pause, resume, review, retry, fetch what was left."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL

from atom.llm.adapters.script import Reply
from atom.llm.testing import ScriptedModel, call
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.runs.test_crashes import abandoned
from tests.support.shell import Shell

WRITE = Reply(tool_calls=(call("write_file", path="out/a.txt", content="left by the run"),))


@asynccontextmanager
async def served(database: URL, home: Path, model: ScriptedModel) -> AsyncIterator[tuple[RunningAtom, Shell]]:
    async with running_atom(settings_for_tests(home), database, model) as atom:
        yield atom, Shell(home, atom.url, atom.token)


async def test_run_is_paused_resumed_retried_and_its_files_fetched(database: URL, home: Path, tmp_path: Path) -> None:
    model = ScriptedModel(WRITE, "done", "done again")
    async with served(database, home, model) as (atom, shell):
        await shell("agents", "create", "w", "--tools", "write_file", "--maturity", "intern", "--max-running", "2")
        assert (await shell("agents", "show", "w", "--json")).json()["max_running"] == 2
        waiting = await shell("run", "w", "Write it.", "--priority", "high", "--json")
        run = waiting.json()
        assert (run["status"], run["priority"]) == ("waiting", "high")
        assert (await shell("runs", "pause", run["id"])).out == f"{run['id']} paused\n"
        approval = (await shell("approvals", "list", "--json")).json()["items"][0]["id"]
        await shell("approvals", "approve", approval)
        assert (await atom.run(run["id"]))["status"] == "paused"
        resumed = await shell("runs", "resume", run["id"], "--json")
        assert resumed.json()["status"] in {"queued", "running"}
        await atom.settled(run["id"], "completed")
        listed = (await shell("runs", "artefacts", run["id"])).out
        assert "out/a.txt" in listed
        target = tmp_path / "a.txt"
        await shell("runs", "download", run["id"], "out/a.txt", "--output", str(target))
        assert target.read_text() == "left by the run"
        refused = await shell("runs", "download", run["id"], "out/a.txt", "--output", str(target), code=2)
        assert "--force" in refused.err
        again = (await shell("runs", "retry", run["id"], "--json")).json()
        assert (again["retry_of"], again["answer"]) == (run["id"], "done again")
        ended = await shell("runs", "pause", run["id"], code=1)
        assert "run_ended" in ended.err


async def test_call_that_a_worker_died_in_is_shown_and_decided(database: URL, home: Path) -> None:
    async with served(database, home, ScriptedModel("end")) as (atom, shell):
        run_id = await abandoned(atom, "write_file", None)
        await atom.settled(run_id)
        shown = (await shell("runs", "show", run_id)).out
        assert "A worker died in the middle of this call" in shown
        assert "--done" in (await shell("runs", "review", run_id)).out
        both = await shell("runs", "review", run_id, "--retry", "--abort", code=2)
        assert "both given" in both.err
        await shell("runs", "review", run_id, "--done", "It was written.", "--note", "seen on the disk")
        assert (await atom.settled(run_id, "completed"))["answer"] == "end"
        nothing = await shell("runs", "review", run_id, code=1)
        assert "waits for no review" in nothing.err
