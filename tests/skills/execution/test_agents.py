"""Agents use skills: told of them, reading them, running their scripts through the one door."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from atom.infra.db import unit_of_work
from atom.llm.adapters.script import Reply
from atom.llm.testing import ScriptedModel, call
from atom.runs import store as run_store
from atom.web.testing import RunningAtom
from tests.skills.execution.conftest import USE, Start, approved, counting, imported, running

WORDS = "Ten green bottles hanging on the wall, and one fell down.\n" * 3


async def worker(atom: RunningAtom, maturity: str = "supervised") -> Path:
    agent = await atom.agent(tools=USE, maturity=maturity)
    folder = atom.folder(agent["id"])
    (folder / "report.txt").write_text(WORDS)
    return folder


async def results(atom: RunningAtom, run: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for step in await atom.steps(run["id"]) if step["kind"] == "tool"]


async def executions(atom: RunningAtom) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await atom.http.get("/api/skill-executions")).json()["items"]
    return found


async def test_agent_is_told_of_a_skill_and_reads_it_before_it_runs_it(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        skill = await approved(atom, counting())
        folder = await worker(atom)
        find = Reply(tool_calls=(call("find_skills", query="count the words of a file"),))
        read = Reply(tool_calls=(call("read_skill", skill="word-count"),))
        unread = Reply(tool_calls=(call("run_skill", skill="word-count", version="0" * 16),))
        model.replies += [find, read, unread, "no"]
        run = await atom.done("worker", "How many words?")
        said = await results(atom, run)
        assert run["offered"] == ["word-count"]
        assert "- word-count: Reports. Use it for reports." in str(model.asked[0].messages[0].content)
        assert "- word-count: Reports. Use it for reports." in said[0]["result"]["content"]
        assert f"word-count version {skill.short}, SKILL.md:" in said[1]["result"]["content"]
        assert "Scripts for run_skill: scripts/count.py" in said[1]["result"]["content"]
        assert "another version" in said[2]["result"]["content"]
        assert not (folder / "skills").exists()
        assert await executions(atom) == []


async def test_script_works_on_the_agents_file_and_its_files_are_the_runs(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        skill = await approved(atom, counting())
        folder = await worker(atom)
        reply = running(skill, arguments=["input/report.txt"], files=["report.txt"], input={"of": "bottles"})
        model.replies += [reply, "33 words."]
        run = await atom.done("worker", "How many words?")
        [said] = await results(atom, run)
        assert said["result"]["ok"], said
        assert "counted input/report.txt" in said["result"]["content"]
        assert '"words": 33' in said["result"]["content"]
        assert '"given": {"of": "bottles"}' in said["result"]["content"]
        assert (folder / "skills/word-count/count.txt").read_text() == "33"
        left = (await atom.http.get(f"/api/runs/{run['id']}/artefacts")).json()["items"]
        assert [one["path"] for one in left] == ["skills/word-count/count.txt"]
        [row] = await executions(atom)
        assert (row["status"], row["skill"], row["run_id"]) == ("completed", "word-count", run["id"])
        whole = (await atom.http.get(f"/api/skill-executions/{row['id']}")).json()
        assert whole["value"] == {"words": 33, "given": {"of": "bottles"}}
        assert whole["inputs"][0]["name"] == "report.txt"
        assert whole["guarantees"]["net_none"] == "enforced"
        assert whole["usage"]["memory"] > 0


async def test_one_changed_byte_is_refused_until_somebody_approves_it(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        first = await approved(atom, counting())
        await worker(atom)
        changed = await imported(atom, counting(script="print('other')\n"))
        assert changed.digest != first.digest
        model.replies += [running(changed), "no", running(changed), "yes"]
        run = await atom.done("worker", "try")
        [said] = await results(atom, run)
        assert not said["result"]["ok"]
        assert "another version" in said["result"]["content"]
        assert await executions(atom) == []
        body = {"digest": changed.digest, "capabilities_digest": changed.capabilities}
        await atom.http.post(f"/api/skills/word-count/versions/{changed.digest}/approve", json=body)
        run = await atom.done("worker", "again")
        [said] = await results(atom, run)
        assert said["result"]["ok"], said
        assert "other" in said["result"]["content"]


async def test_bytes_that_changed_in_the_database_are_not_run(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        skill = await approved(atom, counting())
        await worker(atom)
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            await session.execute(text("ALTER TABLE skill_version DISABLE TRIGGER USER"))
            await session.execute(text("UPDATE skill_version SET body = set_byte(body, 40, get_byte(body, 40) # 1)"))
        model.replies += [running(skill), "no"]
        run = await atom.done("worker", "try")
        [said] = await results(atom, run)
        assert said["result"]["code"] == "skill_corrupt"
        assert [row["error_code"] for row in await executions(atom)] == ["corrupt"]


async def test_risk_of_the_skill_decides_who_is_asked(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        skill = await approved(atom, counting(script="print('done')\n", risk="critical"))
        await worker(atom)
        model.replies += [running(skill), "done"]
        run = await atom.done("worker", "try")
        assert (run["status"], run["wait_reason"]) == ("waiting", "approval")
        [asked] = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
        assert "critical" in json.dumps(asked)
        answer = await atom.http.post(f"/api/approvals/{asked['id']}/approve", json={})
        assert answer.status_code == 200, answer.text
        run = await atom.settled(run["id"], "completed", "failed")
        [said] = await results(atom, run)
        assert "done" in said["result"]["content"]


async def test_skill_that_is_disabled_while_people_decide_is_not_run(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        skill = await approved(atom, counting(script="print('done')\n", risk="critical"))
        await worker(atom)
        model.replies += [running(skill), "no"]
        run = await atom.done("worker", "try")
        [asked] = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
        await atom.http.post(f"/api/skills/word-count/versions/{skill.digest}/disable", json={})
        await atom.http.post(f"/api/approvals/{asked['id']}/approve", json={})
        run = await atom.settled(run["id"], "completed", "failed")
        [said] = await results(atom, run)
        assert not said["result"]["ok"]
        assert "No version of it is active" in said["result"]["content"]
        assert await executions(atom) == []


async def test_agent_that_may_not_use_a_skill_is_not_told_of_it(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        skill = await approved(atom, counting())
        await worker(atom)
        await atom.agent("other", tools=USE, maturity="supervised")
        access = {"agents": ["other"], "lowest_maturity": "student", "highest_risk": 4}
        assert (await atom.http.put("/api/skills/word-count/access", json=access)).status_code == 200
        find = Reply(tool_calls=(call("find_skills", query="count words"),))
        read = Reply(tool_calls=(call("read_skill", skill="word-count"),))
        model.replies += [find, read, running(skill), "no"]
        run = await atom.done("worker", "try")
        said = await results(atom, run)
        assert run["offered"] == []
        assert said[0]["result"]["content"] == "No skill that you may use is about this."
        assert [one["result"]["ok"] for one in said] == [True, False, False]
        assert await executions(atom) == []


async def test_what_a_script_makes_of_an_untrusted_file_is_untrusted(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        skill = await approved(atom, counting())
        await worker(atom)
        model.replies += ["ready"]
        before = await atom.done("worker", "Are you ready?")
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            labels = {"report.txt": ""}
            await run_store.label_files(session, UUID(before["agent_id"]), UUID(before["id"]), labels, ["untrusted"])
        model.replies += [running(skill, arguments=["input/report.txt"], files=["report.txt"]), "33 words."]
        await atom.done("worker", "How many words?")
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            made = ["skills/word-count/count.txt"]
            assert await run_store.file_labels(session, UUID(before["agent_id"]), made) == ["untrusted"]


async def test_script_that_fails_says_why_to_the_model_and_on_record(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        skill = await approved(atom, counting(script="raise ValueError('no such column: amount')\n"))
        await worker(atom)
        model.replies += [running(skill), "It failed."]
        run = await atom.done("worker", "try")
        [said] = await results(atom, run)
        assert said["result"]["code"] == "skill_script_error"
        assert "no such column: amount" in said["result"]["content"]
        [row] = await executions(atom)
        assert row["status"] == "failed"
        assert row["error_code"] == "script_error"
        assert "ValueError: no such column: amount" in row["error_message"]
