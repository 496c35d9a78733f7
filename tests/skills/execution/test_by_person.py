"""People run scripts of skills: on record, in the sandbox, with what came of it."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
import structlog
from sqlalchemy import text

from atom.client import AtomClient
from atom.infra.db import unit_of_work
from atom.skills.execution.codes import Code
from tests.skills.execution.conftest import TELL, Start, approved, counting, ended, execution, imported, job_of
from tests.support.polling import eventually

B64 = "b25lIHR3byB0aHJlZQ=="  # one two three
FILE = {"name": "a.txt", "content": B64}


async def test_result_files_and_usage_are_on_record_and_can_be_fetched(start: Start) -> None:
    async with start() as atom, AtomClient(atom.url, atom.token) as client:
        await approved(atom, counting())
        done = await execution(atom, "word-count", arguments=["input/a.txt"], input=[1, None], files=[FILE])
        assert done["status"] == "completed", done
        assert done["value"] == {"words": 3, "given": [1, None]}
        assert done["stdout"] == "counted input/a.txt\n"
        assert [(one["name"], one["bytes"]) for one in done["artefacts"]] == [("count.txt", 1)]
        assert await client.skill_runs.download(done["id"], "count.txt") == b"3"
        answer = await atom.http.get(f"/api/skill-executions/{done['id']}/artefacts/count.txt")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert done["usage"]["memory"] > 0
        assert done["backend"] in {"bwrap", "landlock"}
        page = await client.skill_runs.list(skill="word-count", status="completed").page(10)
        assert [one.id for one in page.items] == [done["id"]]
        report = await client.skill_runs.sandbox()
        assert report.usable
        assert report.guarantees["net_none"].level == "enforced"


FAILURES: dict[str, tuple[str, dict[str, Any]]] = {
    "timeout": ("while True: pass\n", {"timeout": 1}),
    "oom": ("x = [bytearray(1 << 20) for _ in range(2000)]\n", {"memory": "64m"}),
    "output": ("while True: print('x' * 10000)\n", {"output_bytes": 5000}),
    "disk": ("f = open('output/x', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()\n", {"disk": "8m"}),
    "script_error": ("raise SystemExit(3)\n", {}),
}


@pytest.mark.parametrize("code", FAILURES)
async def test_each_way_to_fail_has_its_own_code_message_and_advice(start: Start, code: str) -> None:
    script, box = FAILURES[code]
    with structlog.testing.capture_logs() as logged:
        await fails(start, code, script, box)
    said = [line for line in logged if line["event"] == "skill.execution_error"]
    assert [(line["error_code"], line["service"]) for line in said] == [(code, "skill_sandbox")]
    assert said[0]["advice"]


async def fails(start: Start, code: str, script: str, box: dict[str, Any]) -> None:
    async with start(box=box) as atom:
        await approved(atom, counting(script=script))
        done = await execution(atom, "word-count")
        assert (done["status"], done["error_code"]) == ("failed", code), done
        assert done["error_message"]
        assert done["advice"]
        metrics = (await atom.http.get("/metrics")).text
        assert f'atom_skill_runs_total{{outcome="{code}"}} 1.0' in metrics
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            failures = "SELECT skill_name, error_message, count(*) FROM skill_execution WHERE status = 'failed'"
            assert list((await session.execute(text(f"{failures} GROUP BY 1, 2"))).all()) == [
                ("word-count", done["error_message"], 1)
            ]


async def test_no_runner_at_all_is_told_apart_from_one_that_breaks(start: Start) -> None:
    async with start(box={"runner": "unix:///nowhere/at/all.sock"}) as atom:
        await approved(atom, counting())
        done = await execution(atom, "word-count")
        assert (done["status"], done["error_code"]) == ("failed", "engine_missing")
        assert "unix:///nowhere/at/all.sock" in done["error_message"]
        answer = await atom.http.get("/api/sandbox")
        assert (answer.status_code, answer.json()["code"]) == (503, "sandbox_unavailable")


async def test_running_script_is_cancelled_and_leaves_no_process(start: Start) -> None:
    script = "import time\nprint('here', flush=True)\ntime.sleep(100)\n"
    async with start() as atom:
        await approved(atom, counting(script=script))
        begun = (await atom.http.post("/api/skills/word-count/executions", json={})).json()

        async def runs() -> bool:
            found = (await atom.http.get(f"/api/skill-executions/{begun['id']}")).json()
            return bool(found["status"] == "running")

        await eventually(runs)
        await atom.http.post(f"/api/skill-executions/{begun['id']}/cancel")
        done = await ended(atom, begun["id"], begun["job_id"])
        assert done["status"] == "cancelled"
        again = await atom.http.post(f"/api/skill-executions/{begun['id']}/cancel")
        assert (again.status_code, again.json()["code"]) == (409, "skill_execution_ended")


async def test_quarantined_skill_can_be_tried_by_an_admin_and_run_by_nobody(start: Start) -> None:
    async with start() as atom:
        found = await imported(atom, counting(script="print('tried')\n"))
        refused = await atom.http.post("/api/skills/word-count/executions", json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "skill_not_usable")
        done = await execution(atom, "word-count", purpose="test")
        assert (done["status"], done["stdout"], done["purpose"]) == ("completed", "tried\n", "test")
        operator = (await atom.http.post("/api/tokens", json={"name": "op", "role": "operator"})).json()["token"]
        headers = {"Authorization": f"Bearer {operator}"}
        answer = await atom.http.post("/api/skills/word-count/executions", json={"purpose": "test"}, headers=headers)
        assert answer.status_code == 403
        await atom.http.post(f"/api/skills/word-count/versions/{found.digest}/retire", json={})
        answer = await atom.http.post("/api/skills/word-count/executions", json={"purpose": "test"})
        assert answer.json()["code"] == "skill_not_usable"


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no such script": ({"script": "other.py"}, 422, "skill_script_unknown"),
    "a name that leads out": ({"files": [{"name": "../x", "content": B64}]}, 422, "invalid_input"),
    "too many arguments": ({"arguments": ["x"] * 65}, 422, "invalid_request"),
    "an argument with a NUL": ({"arguments": ["a\0b"]}, 422, "invalid_input"),
    "an unknown field": ({"command": "rm"}, 422, "invalid_request"),
}


@pytest.mark.parametrize("what", BAD)
async def test_bad_request_is_refused_and_nothing_is_run(start: Start, what: str) -> None:
    body, status, code = BAD[what]
    async with start() as atom:
        await approved(atom, counting(script=f"{TELL}\ntell(1)\n"))
        answer = await atom.http.post("/api/skills/word-count/executions", json=body)
        assert answer.status_code == status, answer.text
        assert answer.json()["code"] == code
        assert (await atom.http.get("/api/skill-executions")).json()["items"] == []


async def test_disabled_before_its_turn_is_not_run(start: Start) -> None:
    async with start() as atom:
        found = await approved(atom, counting())
        executions = atom.atom.parts.skills.executions
        done = await execution(atom, "word-count", arguments=["SKILL.md"])
        assert done["status"] == "completed"
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            await session.execute(
                text("UPDATE skill_execution SET status = 'queued', ended_at = NULL, error_code = NULL, job_id = NULL")
            )
        await atom.http.post(f"/api/skills/word-count/versions/{found.digest}/disable", json={})
        again = await executions.advance(UUID(done["id"]))
        assert again is not None
        assert again.ending.code is Code.POLICY
        row = (await atom.http.get(f"/api/skill-executions/{done['id']}")).json()
        assert "No version of it is active" in row["error_message"]
        assert row["attempt"] == 2


async def test_sweep_ends_what_nobody_runs_any_more_and_forgets_what_is_old(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script="print(1)\n"))
        first, second = [await execution(atom, "word-count", files=[FILE]) for _ in range(2)]
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            lost = (
                "UPDATE skill_execution SET status = 'running', ended_at = NULL, ends_by = now() - interval '1 s' "
                "WHERE id = CAST(:id AS uuid)"
            )
            await session.execute(text(lost), {"id": first["id"]})
            old = "UPDATE skill_execution SET created_at = now() - interval '91 days' WHERE id = CAST(:id AS uuid)"
            await session.execute(text(old), {"id": second["id"]})

        async def swept() -> bool:
            left = (await atom.http.get("/api/skill-executions")).json()["items"]
            return [(one["id"], one["error_code"]) for one in left] == [(first["id"], "interrupted")]

        assert await eventually(swept)


async def test_many_at_once_all_come_to_their_end(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script=f"{TELL}\ntell(json.load(sys.stdin))\n"))
        made = await asyncio.gather(*[execution(atom, "word-count", input=number) for number in range(12)])
        assert [one["value"] for one in made] == list(range(12))


async def test_skill_with_hosts_reaches_no_other_and_every_attempt_is_on_record(start: Start) -> None:
    script = f"""{TELL}
import urllib.request
out = []
for url in ("http://elsewhere.example/", "http://127.0.0.1:1/"):
    try:
        urllib.request.urlopen(url, timeout=10)
    except OSError as error:
        out.append(str(error))
tell(out)
"""
    async with start() as atom:
        await approved(atom, counting(script=script, more="    hosts: [allowed.example]\n"))
        done = await execution(atom, "word-count")
        assert done["status"] == "completed", done
        assert done["guarantees"]["net_allowlist"] == "enforced"
        asked = {(one["host"], one["allowed"], one["reason"]) for one in done["connections"]}
        assert ("elsewhere.example", False, "not-allowed") in asked
        assert all(not one["allowed"] for one in done["connections"])
        tried = await execution(atom, "word-count", purpose="test")
        assert tried["connections"] == []


async def test_package_that_is_not_installed_is_told_with_the_way_to_install_it(start: Start) -> None:
    script = "# /// script\n# dependencies = ['Pypackage_of_nobody']\n# ///\nimport pypackage_of_nobody\n"
    async with start() as atom:
        await approved(atom, counting(script=script))
        done = await execution(atom, "word-count")
        assert (done["status"], done["error_code"]) == ("failed", "module_not_found")
        assert done["advice"].endswith("`atom skills build word-count`.")
        started = await atom.http.post("/api/skills/word-count/build", json={})
        assert started.status_code == 202
        job = await job_of(atom, started.json()["job_id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "skill_layer_no_source")
