"""A student earns its first promotion run by run, a person promotes it, and one violation takes it back at once."""

import json
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import URL, text

from atom.infra.db import unit_of_work
from atom.llm.testing import ScriptedModel, call
from atom.settings import RunSettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.shell import Shell

TIME, WIPE = call("current_time"), call("delete_file", path="a.txt")


async def rows(atom: RunningAtom, query: str) -> list[tuple[Any, ...]]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        return [tuple(row) for row in (await session.execute(text(query))).all()]


async def promote(atom: RunningAtom) -> httpx2.Response:
    return await atom.http.post("/api/agents/worker/promote", json={"reason": "soon"})


async def test_student_earns_intern_and_loses_it_by_a_violation(database: URL, home: Path) -> None:
    quick = settings_for_tests(home, runs=RunSettings(lease_seconds=5, sweep_seconds=5))
    replies = [reply for _ in range(10) for reply in (TIME, "late")]
    async with running_atom(quick, database, ScriptedModel(*replies, WIPE, "I may not.", TIME, "late")) as atom:
        shell = Shell(home, atom.url, atom.token)
        agent = await atom.agent(tools=["current_time", "delete_file"])
        for number in range(10):
            run = await atom.done("worker", f"What time is it? ({number})")
            assert run["status"] == "completed"
            assert (await promote(atom)).json()["code"] == "promotion_refused"
            await atom.http.post(f"/api/runs/{run['id']}/rating", json={"score": 1})
        shown = (await shell("agents", "readiness", "worker")).out
        assert "Ready to be intern" in shown
        assert "met    episodes           10        at least 10" in shown
        asked = await shell("agents", "promote", "worker", "--reason", "ten good runs", stdin=b"y\n")
        assert "met    success" in asked.err
        assert "Promote worker to intern?" in asked.err
        assert asked.out.strip() == "worker is intern (version 2)."
        [(how, unmet, episodes)] = await rows(
            atom, "SELECT how, data -> 'unmet', data -> 'evidence' ->> 'episodes' FROM maturity_change"
        )
        assert (how, unmet, episodes) == ("promoted", [], "10")
        assert [type_ for (type_,) in await rows(atom, "SELECT type FROM event WHERE type LIKE 'agent.p%'")] == [
            "agent.promoted"
        ]

        violated = await atom.done("worker", "Wipe it.")
        assert violated["answer"] == "I may not."
        [(when, decided)] = await rows(
            atom,
            "SELECT c.at, a.at FROM maturity_change c, audit_entry a"
            " WHERE c.how = 'demoted' AND a.action = 'delete_file' AND a.decision = 'deny'",
        )
        assert when == decided  # one transaction
        roles = frozenset({role for role in atom.server.roles if role.value == "web"})
        async with running_atom(quick, database, ScriptedModel(), roles=roles, token=atom.token) as replica:
            seen = (await replica.http.get("/api/agents/worker")).json()
            assert (seen["maturity"], seen["version"]) == ("student", 3)
            report = (await replica.http.get("/api/agents/worker/readiness")).json()
        assert (report["counts"]["episodes"], report["counts"]["violations"], report["ready"]) == (0, 0, False)
        assert (report["since"]["how"], report["since"]["by"]) == ("demoted", "system:evidence")
        listed = json.loads((await shell("agents", "evidence", "worker", "--kind", "violation", "--json")).out)
        [one] = listed["items"]
        assert (one["action_class"], one["run_id"]) == ("destroy", violated["id"])
        assert one["data"]["reason"] == "far_above_maturity"
        assert one["run_url"] == f"/api/runs/{violated['id']}"
        assert agent["version"] == 1
