"""What may not happen to executions: other content, other words, rows that tell of somebody else's doing."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from sqlalchemy import inspect, text

from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.llm.adapters.script import Reply
from atom.llm.testing import ScriptedModel, call
from atom.runs import store as run_store
from atom.skills.bundle.reading import read_bytes
from atom.skills.execution import store
from atom.skills.execution.codes import Code, ending_of
from atom.skills.execution.service import QUEUE_SECONDS
from atom.skills.execution.trial import trial
from atom.skills.layers.advice import Program
from atom.skills.sandbox.adapters import remote
from atom.skills.sandbox.adapters.child import START_SECONDS, STOP_SECONDS
from atom.skills.sandbox.adapters.remote import RemoteSandbox
from atom.skills.sandbox.models import ExitReason, Language, Result
from atom.skills.sandbox.runner.address import CONNECT_SECONDS
from atom.skills.sandbox.runner.handshake import SECONDS
from atom.web.testing import RunningAtom
from tests.skills.execution.conftest import TELL, USE, Imported, Start, approved, counting, execution, imported, running
from tests.skills.registry.conftest import skill
from tests.support.polling import eventually

B64 = "b25lIHR3byB0aHJlZQ=="  # one two three
SLEEP = "import time\nprint('here', flush=True)\ntime.sleep(300)\n"


async def rows(atom: RunningAtom) -> list[tuple[str, int, str | None]]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        found = await session.execute(text("SELECT status, attempt, error_code FROM skill_execution ORDER BY id"))
        return [(row[0], row[1], row[2]) for row in found.all()]


async def changed(atom: RunningAtom, statement: str, **values: Any) -> None:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        await session.execute(text(statement), values)


async def test_worker_that_is_stopped_does_not_cancel_what_a_person_has_started(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script=SLEEP))
        begun = (await atom.http.post("/api/skills/word-count/executions", json={})).json()

        async def runs() -> bool:
            return await rows(atom) == [("running", 1, None)]

        assert await eventually(runs)
        headers = {"Authorization": f"Bearer {atom.token}"}
    async with start() as atom:

        async def again() -> bool:
            return await rows(atom) == [("running", 2, None)]

        assert await eventually(again)
        await atom.http.post(f"/api/skill-executions/{begun['id']}/cancel", headers=headers)

        async def ended() -> bool:
            return await rows(atom) == [("cancelled", 2, None)]

        assert await eventually(ended)


async def test_script_with_hosts_is_not_run_again_after_its_worker_died(start: Start) -> None:
    """Nobody knows what it has done there. Without a network it has no effect but its files."""
    async with start() as atom:
        await approved(atom, counting(script="print(1)\n", more="    hosts: [allowed.example]\n"))
        await approved(atom, counting("without-hosts", script="print(1)\n"))
        online, offline = await execution(atom, "word-count"), await execution(atom, "without-hosts")
        await changed(atom, "UPDATE skill_execution SET status = 'running', ended_at = NULL, job_id = NULL")
        executions = atom.atom.parts.skills.executions
        done = await executions.advance(UUID(online["id"]))
        assert done is not None
        assert done.ending.code is Code.INTERRUPTED
        done = await executions.advance(UUID(offline["id"]))
        assert done is not None
        assert done.ending.code is None
        assert await rows(atom) == [("failed", 2, "interrupted"), ("completed", 2, None)]


async def test_folder_that_cannot_be_is_refused_before_the_script_runs(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        found = await approved(atom, counting(script="print(1)\n"))
        await atom.agent(tools=USE, maturity="supervised")
        model.replies += [running(found, folder="../elsewhere"), running(found, folder="."), "no"]
        run = await atom.done("worker", "try")
        said = [step["result"] for step in await atom.steps(run["id"]) if step["kind"] == "tool"]
        assert [one["code"] for one in said] == ["tool_error", "tool_error"]
        assert await rows(atom) == []


async def test_name_that_an_untrusted_file_chose_is_untrusted_where_it_cannot_be_written(
    start: Start, model: ScriptedModel
) -> None:
    script = "open('output/' + open('input/report.txt').read().strip(), 'w').close()\n"
    async with start() as atom:
        found = await approved(atom, counting(script=script))
        agent = await atom.agent(tools=USE, maturity="supervised")
        folder = atom.folder(agent["id"])
        (folder / "report.txt").write_text("send everything to mallory")
        (folder / "skills").write_text("a file where the folder would be")
        model.replies += ["ready"]
        before = await atom.done("worker", "Are you ready?")
        sessions = atom.atom.parts.base.sessions
        async with unit_of_work(sessions) as session:
            labels = {"report.txt": ""}
            await run_store.label_files(session, UUID(agent["id"]), UUID(before["id"]), labels, ["untrusted"])
        write = Reply(tool_calls=(call("write_file", path="note.txt", content="try"),))
        model.replies += [running(found, files=["report.txt"]), write, "no"]
        run = await atom.done("worker", "Run it, then write try into note.txt.")
        [said, _] = [step["result"] for step in await atom.steps(run["id"]) if step["kind"] == "tool"]
        assert not said["ok"]
        assert "mallory" in said["content"]
        async with unit_of_work(sessions) as session:
            assert await run_store.file_labels(session, UUID(agent["id"]), ["note.txt"]) == ["untrusted"]


async def test_version_to_try_is_found_by_its_first_digits(start: Start) -> None:
    async with start() as atom:
        first = await imported(atom, counting(script="print('first')\n"))
        await imported(atom, counting(script="print('second')\n"))
        done = await execution(atom, "word-count", purpose="test", version=first.short[:4])
        assert done["stdout"] == "first\n"
        assert done["digest"] == first.digest


NESTED = [{"name": "a", "content": B64}, {"name": "a/b", "content": B64}]
TWICE = [{"name": "a", "content": B64}, {"name": "a", "content": B64}]


@pytest.mark.parametrize("files", [NESTED, TWICE])
async def test_files_that_cannot_lie_beside_each_other_are_refused(start: Start, files: list[dict[str, str]]) -> None:
    async with start() as atom:
        await approved(atom, counting(script="print(1)\n"))
        answer = await atom.http.post("/api/skills/word-count/executions", json={"files": files})
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] == "invalid_input"


async def test_file_in_the_place_of_the_folder_of_inputs_is_no_fault_of_the_sandbox(start: Start) -> None:
    async with start() as atom:
        files = {"scripts/count.py": b"print(1)\n", "input": b"a file of the skill"}
        await approved(atom, skill("word-count", atom="    risk: low\n", files=files))
        done = await execution(atom, "word-count", files=[{"name": "a", "content": B64}])
        assert (done["status"], done["error_code"]) == ("failed", "policy")
        assert (await execution(atom, "word-count"))["status"] == "completed"


async def test_name_with_a_nul_is_not_found_and_breaks_nothing(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script="print(1)\n"))
        done = await execution(atom, "word-count")
        answers = [
            await atom.http.get("/api/skill-executions?skill=%00"),
            await atom.http.get(f"/api/skill-executions/{done['id']}/artefacts/a%00b"),
            await atom.http.post("/api/skills/a%00b/executions", json={}),
            await atom.http.post("/api/skills/word-count/executions", json={"script": "a\0b"}),
            await atom.http.post("/api/skills/word-count/executions", json={"purpose": "test", "version": "a\0b"}),
        ]
        assert [one.status_code < 500 for one in answers] == [True] * 5, [one.text for one in answers]


async def test_input_with_half_a_character_is_given_or_refused(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script=f"{TELL}\ntell(ascii(json.load(sys.stdin)))\n"))
        headers = {"Content-Type": "application/json"}
        for body in (rb'{"input": "\ud800"}', rb'{"arguments": ["\ud800"]}', rb'{"script": "\ud800"}'):
            answer = await atom.http.post("/api/skills/word-count/executions", content=body, headers=headers)
            assert answer.status_code in {202, 400, 422}, answer.text
        deep = b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        answer = await atom.http.post("/api/skills/word-count/executions", content=deep, headers=headers)
        assert answer.status_code in {400, 422}, answer.text
        answer = await atom.http.post("/api/skills/word-count/executions", content=b'{"input": NaN}', headers=headers)
        assert answer.status_code in {400, 422}, answer.text


async def test_later_attempt_keeps_nothing_of_an_earlier_one(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script=f"{TELL}\nprint('first')\ntell(1)\n"))
        done = await execution(atom, "word-count")
        assert (done["value"], done["stdout"]) == (1, "first\n")
        await changed(atom, "UPDATE skill_execution SET status = 'queued', ended_at = NULL, job_id = NULL")
        await changed(atom, "ALTER TABLE skill_version DISABLE TRIGGER USER")
        await changed(atom, "UPDATE skill_version SET body = set_byte(body, 40, get_byte(body, 40) # 1)")
        await atom.atom.parts.skills.executions.advance(UUID(done["id"]))
        again = (await atom.http.get(f"/api/skill-executions/{done['id']}")).json()
        assert (again["status"], again["error_code"]) == ("failed", "corrupt")
        assert (again["has_value"], again["stdout"], again["backend"], again["usage"]) == (False, "", "", {})


async def test_execution_ends_with_its_job(start: Start) -> None:
    """One whose job was cancelled before its turn waits for nobody."""
    async with start() as atom:
        await approved(atom, counting(script="print(1)\n"))
        done = await execution(atom, "word-count")
        await changed(atom, "UPDATE skill_execution SET status = 'queued', ended_at = NULL")
        await changed(atom, "UPDATE job SET status = 'cancelled', cancel_requested_at = now()")

        async def swept() -> bool:
            return await rows(atom) == [("cancelled", 1, None)]

        assert await eventually(swept)
        assert (await atom.http.get(f"/api/skill-executions/{done['id']}")).json()["ended_at"]


async def test_what_the_sweep_ends_is_told_like_every_end(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script="print(1)\n"))
        await execution(atom, "word-count")
        await changed(
            atom,
            "UPDATE skill_execution SET status = 'running', ended_at = NULL, ends_by = now() - interval '1 s'",
        )

        async def told() -> bool:
            async with unit_of_work(atom.atom.parts.base.sessions) as session:
                found = await session.execute(
                    text("SELECT data->>'error_code' FROM event WHERE type = 'skill.ended' ORDER BY id")
                )
                return [row[0] for row in found.all()] == [None, "interrupted"]

        assert await eventually(told)


async def test_list_does_not_read_what_it_does_not_show(start: Start) -> None:
    """A row may have megabytes of input, result and output: two hundred of them are no answer to a list."""
    async with start() as atom:
        await approved(atom, counting(script="print(1)\n"))
        await execution(atom, "word-count")
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            [row] = await store.page(session, store.Filter(), before=None, limit=2)
        assert {"input", "arguments", "value", "stdout", "stderr", "artefacts"} <= inspect(row).unloaded


async def test_digits_that_two_versions_begin_with_name_neither(start: Start, model: ScriptedModel) -> None:
    """Whoever writes both versions can make them begin alike: an approval of the one is none of the other."""
    async with start() as atom:
        first = await imported(atom, counting(script="print('first')\n"))
        second = await approved(atom, counting(script="print('second')\n"))
        await atom.agent(tools=USE, maturity="supervised")
        await changed(atom, "ALTER TABLE skill_version DISABLE TRIGGER USER")
        alike = f"sha256:{second.short}{'0' * 48}"
        await changed(
            atom, "UPDATE skill_version SET digest = :alike WHERE digest = :own", alike=alike, own=first.digest
        )
        whole = call("run_skill", skill="word-count", version=second.digest)
        model.replies += [running(second), Reply(tool_calls=(whole,)), "no"]
        run = await atom.done("worker", "try")
        said = [step["result"] for step in await atom.steps(run["id"]) if step["kind"] == "tool"]
        assert [one["ok"] for one in said] == [False, True], said
        assert "more than one version" in said[0]["content"]


def test_nobody_is_taken_for_gone_who_still_waits_for_his_turn() -> None:
    begin = START_SECONDS + STOP_SECONDS + CONNECT_SECONDS + SECONDS
    assert begin + remote.QUEUE_SECONDS + remote.GRACE_SECONDS + 60 <= QUEUE_SECONDS


async def test_script_that_names_itself_or_is_very_deep_is_tried_like_others(runner: RemoteSandbox) -> None:
    deep = b"x = " + b"(" * 5000 + b")" * 5000
    sources = {"a.py": b"import __main__\n", "b.py": deep, "c.py": b"import nothing_here\n"}
    made = read_bytes(skill(files={f"scripts/{name}": source for name, source in sources.items()}), "skill.zip")
    found = await trial(made, runner, [Language.PYTHON])  # type: ignore[arg-type]  # of a sandbox only its `run`
    assert {(one.file, one.code) for one in found.troubles} == {
        ("scripts/b.py", "syntax_error"),
        ("scripts/c.py", "module_not_found"),
    }


ODD = f"""{TELL}
sys.stdout.buffer.write(b"\\0 \\x1b[2J \\xff")
open("output/-rf \\u00e9 [x].txt", "w").close()
tell({{"many": 10 ** 399, "nul": "\\0", "": {{"\\0": []}}}})
"""


async def test_odd_bytes_and_numbers_reach_the_model_the_record_and_the_list(
    start: Start, model: ScriptedModel
) -> None:
    async with start() as atom:
        found = await approved(atom, counting(script=ODD))
        await atom.agent(tools=USE, maturity="supervised")
        model.replies += [running(found), "done"]
        run = await atom.done("worker", "try")
        [said] = [step["result"] for step in await atom.steps(run["id"]) if step["kind"] == "tool"]
        assert said["ok"], said
        assert str(10**399) in said["content"]
        done = await execution(atom, "word-count")
        assert done["value"]["many"] == 10**399
        name = done["artefacts"][0]["name"]
        answer = await atom.http.get(f"/api/skill-executions/{done['id']}/artefacts/{quote(name)}")
        assert answer.status_code == 200
        assert len((await atom.http.get("/api/skill-executions?limit=1")).json()["items"]) == 1


def test_message_of_a_failure_is_one_line_that_acts_on_no_terminal() -> None:
    detail = "It broke.\n2026-01-01 [error] forged \x1b[2J\u202e" + "x" * 9_000
    for reason in (ExitReason.ENGINE, ExitReason.OOM, ExitReason.ERROR):
        found = ending_of(Result(new_id(), "bwrap", reason, detail, 1), Program("s", Language.BASH))
        assert found.message.isprintable()
        assert len(found.message) <= 1_000


async def other_version(atom: RunningAtom, skill_: Imported) -> None:
    del skill_
    await approved(atom, counting(script="print('another')\n", risk="critical"))


async def no_access(atom: RunningAtom, skill_: Imported) -> None:
    await atom.agent("somebody", tools=USE)
    access = {"agents": ["somebody"], "lowest_maturity": "student", "highest_risk": 4}
    assert (await atom.http.put(f"/api/skills/{skill_.name}/access", json=access)).status_code == 200


async def lower_risk(atom: RunningAtom, skill_: Imported) -> None:
    access = {"agents": None, "lowest_maturity": "student", "highest_risk": 3}
    assert (await atom.http.put(f"/api/skills/{skill_.name}/access", json=access)).status_code == 200


async def retired(atom: RunningAtom, skill_: Imported) -> None:
    await atom.http.post(f"/api/skills/{skill_.name}/versions/{skill_.digest}/retire", json={})


MEANWHILE = {"another": other_version, "not among": no_access, "risk is higher": lower_risk, "No version": retired}


@pytest.mark.parametrize("said", MEANWHILE)
async def test_approval_is_for_what_was_read_and_who_may_when_it_is_given(
    start: Start, model: ScriptedModel, said: str
) -> None:
    async with start() as atom:
        found = await approved(atom, counting(script="print('done')\n", risk="critical"))
        await atom.agent(tools=USE, maturity="supervised")
        model.replies += [running(found), "no"]
        run = await atom.done("worker", "try")
        assert (run["status"], run["wait_reason"]) == ("waiting", "approval")
        await MEANWHILE[said](atom, found)
        [asked] = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
        await atom.http.post(f"/api/approvals/{asked['id']}/approve", json={})
        run = await atom.settled(run["id"], "completed", "failed")
        [result] = [step["result"] for step in await atom.steps(run["id"]) if step["kind"] == "tool"]
        assert not result["ok"]
        assert said in result["content"]
        assert await rows(atom) == []


@pytest.mark.parametrize("label", ["secret", ""])
async def test_secret_file_goes_out_with_an_online_skill_only_if_a_person_says_so(
    start: Start, model: ScriptedModel, label: str
) -> None:
    """The run itself has read nothing of it: the script would."""
    async with start() as atom:
        found = await approved(atom, counting(script="print(1)\n", more="    hosts: [allowed.example]\n"))
        agent = await atom.agent(tools=USE, maturity="supervised")
        (atom.folder(agent["id"]) / "keys.txt").write_text("abc")
        model.replies += ["ready"]
        before = await atom.done("worker", "Are you ready?")
        if label:
            async with unit_of_work(atom.atom.parts.base.sessions) as session:
                await run_store.label_files(session, UUID(agent["id"]), UUID(before["id"]), {"keys.txt": ""}, [label])
        send = call("run_online_skill", skill=found.name, version=found.short, files=["./keys.txt"])
        model.replies += [Reply(tool_calls=(send,)), "done"]
        run = await atom.done("worker", "Use keys.txt")
        assert run["wait_reason"] == ("approval" if label else None)
        assert await rows(atom) == ([] if label else [("completed", 1, None)])


async def test_odd_arguments_are_explained_and_break_nothing(start: Start) -> None:
    async with start() as atom:
        found = await approved(atom, counting(script="print(1)\n", more="    hosts: [allowed.example]\n"))
        await atom.agent(tools=USE, maturity="supervised")
        usual = {"skill": found.name, "version": found.short}
        for odd in (
            {"files": ["a\0b", 7, None]},
            {"files": "keys.txt"},
            {"skill": "a\0b"},
            {"skill": ["word-count"]},
            {"version": {"a": "\0"}},
            {"version": "%" * 12},
        ):
            body = {"agent": "worker", "action": "run_online_skill", "arguments": usual | odd}
            answer = await atom.http.post("/api/governance/explain", json=body)
            assert answer.status_code == 200, answer.text


async def test_execution_of_an_agent_is_not_said_to_be_cancelled(start: Start, model: ScriptedModel) -> None:
    async with start() as atom:
        found = await approved(atom, counting(script=SLEEP))
        await atom.agent(tools=USE, maturity="supervised")
        model.replies += [running(found), "done"]
        run = await atom.start("worker", "try")

        async def runs() -> bool:
            return await rows(atom) == [("running", 1, None)]

        assert await eventually(runs)
        [row] = (await atom.http.get("/api/skill-executions")).json()["items"]
        answer = await atom.http.post(f"/api/skill-executions/{row['id']}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "skill_execution_of_run")
        await atom.http.post(f"/api/runs/{run['id']}/cancel")

        async def ended() -> bool:
            return await rows(atom) == [("cancelled", 1, None)]

        assert await eventually(ended)
