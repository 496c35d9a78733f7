"""The skill that ships as an example, from its folder to the answer of an agent that used it on a file."""

import io
import zipfile
from pathlib import Path

from atom.llm.adapters.script import Reply
from atom.llm.testing import ScriptedModel, call
from tests.skills.execution.conftest import USE, Start, approved, imported, running

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "skills" / "csv-summary"
SALES = "day,region,amount\n2026-11-02,north,12.5\n2026-11-03,south,\n2026-11-04,north,30\n"


def packed(**changed: bytes) -> bytes:
    """The example as a zip; `changed` by the stem of a file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(EXAMPLE.rglob("*")):
            if path.is_file():
                body = path.read_bytes() + changed.get(path.stem, b"")
                archive.writestr(str(path.relative_to(EXAMPLE.parent)), body)
    return out.getvalue()


async def test_agent_answers_from_a_file_with_an_approved_skill_and_only_with_that(
    start: Start, model: ScriptedModel
) -> None:
    async with start() as atom:
        checked = await atom.http.post("/api/skills/validate", files={"file": ("skill.zip", packed())})
        assert (checked.status_code, checked.json()["valid"], checked.json()["findings"]) == (200, True, [])
        assert (await atom.http.get("/api/skills")).json()["items"] == []
        first = await imported(atom, packed())
        assert first.digest == checked.json()["digest"]
        shown = (await atom.http.get(f"/api/skills/csv-summary/versions/{first.digest}")).json()
        assert (shown["status"], shown["risk"]) == ("quarantined", 1)
        assert [one for one in shown["findings"] if one["severity"] != "info"] == []
        agent = await atom.agent(tools=USE, maturity="supervised")
        folder = atom.folder(agent["id"])
        (folder / "sales.csv").write_text(SALES)
        work = {"arguments": ["input/sales.csv"], "files": ["sales.csv"], "folder": "report"}
        read = Reply(tool_calls=(call("read_skill", skill="csv-summary"),))
        model.replies += [read, running(first, **work), "I may not."]
        refused = await atom.done("worker", "What is in sales.csv?")
        assert refused["offered"] == []
        assert not (folder / "report").exists()

        await approved(atom, packed())
        kinds = Reply(tool_calls=(call("read_skill", skill="csv-summary", file="references/kinds.md"),))
        model.replies += [read, kinds, running(first, **work), "The mean amount is 21.25."]
        run = await atom.done("worker", "What is in sales.csv?")
        assert run["offered"] == ["csv-summary"]
        steps = [step["result"] for step in await atom.steps(run["id"]) if step["kind"] == "tool"]
        assert [step["ok"] for step in steps] == [True, True, True]
        assert "Never work them out yourself." in steps[0]["content"]
        assert "Kinds of columns" in steps[1]["content"]
        assert '"mean": 21.25' in steps[2]["content"]
        left = (await atom.http.get(f"/api/runs/{run['id']}/artefacts")).json()["items"]
        assert [one["path"] for one in left] == ["report/summary.md"]
        assert (
            "| amount | number | 1 | smallest 12.5, largest 30.0, mean 21.25 |"
            in (await atom.http.get(f"/api/runs/{run['id']}/artefacts/report/summary.md")).text
        )

        changed = await imported(atom, packed(summarize=b"\n"))
        assert changed.digest != first.digest
        model.replies += [running(changed, **work), "no", running(first, **work), "yes"]
        for ok in (False, True):  # what is new is not used, and what was approved still is
            run = await atom.done("worker", "And now?")
            [step] = [step for step in await atom.steps(run["id"]) if step["kind"] == "tool"]
            assert step["result"]["ok"] is ok
