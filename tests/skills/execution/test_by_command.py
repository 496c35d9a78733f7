"""A person runs, tries and looks up scripts of skills with the command line."""

import json
from pathlib import Path

import pytest

from tests.skills.execution.conftest import COUNT, Start, approved, counting
from tests.support.shell import Shell


@pytest.mark.slow
async def test_script_is_run_its_files_are_fetched_and_its_record_is_shown(
    start: Start, home: Path, tmp_path: Path
) -> None:
    given, made = tmp_path / "report.txt", tmp_path / "made"
    given.write_text("one two three")
    async with start() as atom:
        await approved(atom, counting())
        shell = Shell(home, atom.url, atom.token)
        line = ["skills", "run", "word-count", "--arg", "input/report.txt", "--file", str(given), "--input", "[1]"]
        done = (await shell(*line, "--out", str(made), "--json")).json()
        assert (done["status"], done["value"]) == ("completed", {"words": 3, "given": [1]})
        assert (made / "count.txt").read_text() == "3"
        shown = await shell("skills", "logs", done["id"])
        assert "counted input/report.txt" in shown.out
        listed = (await shell("skills", "logs", "word-count", "--status", "completed", "--json")).json()
        assert [one["id"] for one in listed["items"]] == [done["id"]]
        assert (await shell("skills", "logs", "word-count", "--status", "failed", "--json")).json()["items"] == []
        failed = await shell("skills", "run", "word-count", code=1)
        assert "script_error" in failed.out
        assert "IndexError" in failed.out
        refused = await shell("skills", "run", "word-count", "--input", "{", code=2)
        assert "--input: it is not JSON" in refused.err
        refused = await shell("skills", "run", "word-count", "--input", "[" * 50_000, code=2)
        assert "--input: it is not JSON" in refused.err


@pytest.mark.slow
async def test_skill_that_lies_here_is_read_by_the_interpreters_and_not_run(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "word-count"
    (folder / "scripts").mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: word-count\ndescription: Counts.\n---\n\nCount.\n")
    (folder / "scripts" / "count.py").write_text(COUNT + "\nopen('ran', 'w')\n")
    shell = Shell(home, "http://127.0.0.1:9", "none")
    good = (await shell("skills", "test", str(folder), "--json")).json()
    assert good == {"checked": ["scripts/count.py"], "troubles": []}
    refused = await shell("skills", "test", str(folder), "--arg", "x", code=2)
    assert "SCRIPT and options are for one by name" in refused.err
    (folder / "scripts" / "broken.py").write_text("x = 1\ndef f(:\n")
    (folder / "scripts" / "lacks.py").write_text("import json\nimport pandas_of_nobody.frame\n")
    (folder / "scripts" / "says.py").write_text("# /// script\n# dependencies = ['x-y']\n# ///\nimport x_y\n")
    (folder / "scripts" / "broken.sh").write_text("if then\n")
    done = await shell("skills", "test", str(folder), "--json", code=1)
    found = {one["file"]: (one["code"], one["line"]) for one in json.loads(done.out)["troubles"]}
    assert found["scripts/broken.py"] == ("syntax_error", 2)
    assert found["scripts/lacks.py"] == ("module_not_found", 2)
    assert found["scripts/broken.sh"][0] == "syntax_error"
    assert found["scripts/says.py"] == ("module_not_found", 4)
    assert "declared and not installed" in done.out
    assert len(found) == 4
