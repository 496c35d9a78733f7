"""Whatever a model calls by whatever name: refused, recorded, told to the model, and the run goes on."""

from pathlib import Path

from sqlalchemy import URL, text

from atom.infra.db import unit_of_work
from atom.llm.ports import ToolCall
from atom.llm.testing import ScriptedModel
from atom.settings import RunSettings
from atom.web.testing import running_atom, settings_for_tests

NAMES = ["bad\x00name", "half \ud800 pair", "x" * 300_000, "READ_FILE", "read_file ", "../read_file", "", "delete_file"]


async def test_a_name_that_a_model_made_up_does_not_end_the_run(database: URL, home: Path) -> None:
    calls = [ToolCall(f"c\x00{number}", name, "\x00{") for number, name in enumerate(NAMES)]
    settings = settings_for_tests(home, runs=RunSettings(max_invalid_calls=20, lease_seconds=2, sweep_seconds=0.2))
    async with running_atom(settings, database, ScriptedModel(calls, "I cannot.")) as atom:
        await atom.agent(tools=["read_file"])
        run = await atom.done("worker", "Go.")
        assert (run["status"], run["answer"]) == ("completed", "I cannot.")
        steps = [step for step in await atom.steps(run["id"]) if step["kind"] == "tool"]
        assert [step["result"]["code"] for step in steps] == ["unknown_tool"] * len(NAMES)
        assert all(len(step["name"]) <= 200 for step in steps)
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            rows = (await session.execute(text("SELECT decision, reason FROM audit_entry"))).all()
        assert [tuple(row) for row in rows] == [("deny", "unknown_action")] * 7 + [("deny", "not_granted")]
