"""Runs as evidence: rated by people, failed by their agents, stopped by somebody."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from atom.infra.db import unit_of_work
from atom.llm.adapters.script import Reply
from atom.llm.testing import ScriptedModel, call
from atom.runs.models import RunStatus, WaitReason
from atom.runs.transitions import State, in_progress
from atom.settings import RunSettings
from atom.web.testing import RunningAtom

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]


async def rows(atom: RunningAtom, query: str) -> list[Any]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        return [tuple(row) for row in (await session.execute(text(query))).all()]


async def rate(atom: RunningAtom, run_id: str, **body: Any) -> httpx2.Response:
    return await atom.http.post(f"/api/runs/{run_id}/rating", json=body)


async def test_completed_run_is_rated_by_a_person_and_the_latest_word_counts(start: Start) -> None:
    async with start([call("current_time"), call("http_get", url="http://127.0.0.1:1/")], "late") as atom:
        await atom.agent(tools=["current_time", "http_get"])
        run = await atom.done("worker", "What time is it?")
        missing = await atom.http.get(f"/api/runs/{run['id']}/rating")
        assert (missing.status_code, missing.json()["code"]) == (404, "rating_not_found")
        for score in (0.25, 1):
            answer = await rate(atom, run["id"], score=score, note="well")
            assert (answer.status_code, answer.json()["score"], answer.json()["by"]) == (200, score, "admin:admin")
        assert (await atom.http.get(f"/api/runs/{run['id']}/rating")).json()["score"] == 1
        [(classes, began)] = await rows(
            atom,
            "SELECT e.data -> 'classes', e.at = r.started_at FROM evidence e JOIN agent_execution r ON r.id = e.run_id"
            " WHERE e.counts AND e.kind = 'rated'",
        )
        assert (classes, began) == (["read"], True)  # what was refused is nothing that it did
        agents_key = (await atom.http.post("/api/tokens", json={"name": "a", "role": "agent"})).json()["token"]
        own = await atom.http.post(
            f"/api/runs/{run['id']}/rating", json={"score": 1}, headers={"Authorization": f"Bearer {agents_key}"}
        )
        assert (own.status_code, own.json()["code"]) == (403, "permission_missing")


async def test_only_what_was_completed_is_rated(start: Start) -> None:
    failing = [call("current_time")] * 3
    async with start(*failing, runs=RunSettings(max_turns=2, lease_seconds=2, sweep_seconds=0.2)) as atom:
        await atom.agent(tools=["current_time"])
        run = await atom.done("worker", "go")
        assert (run["status"], run["error"]["code"]) == ("failed", "turn_limit")
        refused = await rate(atom, run["id"], score=1)
        assert (refused.status_code, refused.json()["code"]) == (409, "run_not_rateable")
        for wrong in ({"score": 1.1}, {"score": "NaN"}, {}, {"score": 1, "note": "x" * 2001}):
            assert (await rate(atom, run["id"], **wrong)).status_code == 422
        assert (await rate(atom, "01a20a0d-8e88-7117-9c08-46edfd98777f", score=1)).json()["code"] == "run_not_found"
        kept = await rows(atom, "SELECT kind, score, data ->> 'code', data -> 'classes', by FROM evidence")
        assert kept == [("failure", 0.0, "turn_limit", ["read"], "system:evidence")]


async def test_stopping_an_agent_at_work_is_an_intervention_and_a_queued_run_is_not(start: Start) -> None:
    async with start(Reply("x", delay=5), Reply("x", delay=5)) as atom:
        await atom.agent(max_running=1)
        run = await atom.start("worker", "go")
        behind = await atom.start("worker", "go too")
        await atom.until(run["id"], "running")
        await atom.http.post(f"/api/runs/{behind['id']}/cancel")
        assert await rows(atom, "SELECT 1 FROM evidence") == []
        await atom.http.post(f"/api/runs/{run['id']}/pause")
        for _ in range(2):
            await atom.http.post(f"/api/runs/{run['id']}/cancel")
        await atom.settled(run["id"], "cancelled")
        kept = await rows(atom, "SELECT kind, run_id::text, by, data ->> 'step' FROM evidence ORDER BY id")
        assert kept == [("intervention", run["id"], "admin:admin", step) for step in ("pause", "cancel")]


async def test_client_that_hangs_up_says_nothing_about_the_agent(start: Start) -> None:
    async with start(Reply("x", delay=10)) as atom:
        await atom.agent()
        asked = {"model": "worker", "messages": [{"role": "user", "content": "go"}]}
        asking = asyncio.create_task(atom.http.post("/v1/chat/completions", json=asked))
        async with asyncio.timeout(10):
            while not await rows(atom, "SELECT 1 FROM agent_execution WHERE status = 'running'"):
                await asyncio.sleep(0.02)
        asking.cancel()
        async with asyncio.timeout(10):
            while not await rows(atom, "SELECT 1 FROM agent_execution WHERE status = 'cancelled'"):
                await asyncio.sleep(0.02)
        assert await rows(atom, "SELECT 1 FROM evidence") == []


@pytest.mark.parametrize("reason", [None, *WaitReason])
def test_what_waits_for_others_than_its_agent_is_stopped_without_blame(reason: WaitReason | None) -> None:
    blamed = {WaitReason.APPROVAL, WaitReason.CHILD}
    if reason is not None:
        assert in_progress(State(RunStatus.WAITING, reason), begun=True) is (reason in blamed)
    assert in_progress(State(RunStatus.RUNNING), begun=True)
    assert not in_progress(State(RunStatus.QUEUED), begun=False)
    for status in (RunStatus.PAUSED, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED):
        assert not in_progress(State(status), begun=True)


async def test_decided_approvals_are_evidence(start: Start) -> None:
    model = ScriptedModel([call("write_file", path="a", content="x"), call("http_get", url="http://127.0.0.1:1/")], "e")
    async with start(model=model) as atom:
        await atom.agent(tools=["write_file", "http_get"], maturity="intern")
        run = await atom.done("worker", "go")
        for verdict in ("approve", "reject"):
            await atom.settled(run["id"], "waiting")
            [approval] = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
            assert (await atom.http.post(f"/api/approvals/{approval['id']}/{verdict}", json={})).status_code == 200
        await atom.settled(run["id"], "completed")
        kept = await rows(atom, "SELECT kind, action_class, by, agent_version FROM evidence ORDER BY id")
        assert kept == [("approved", "write", "admin:admin", 1), ("rejected", "egress", "admin:admin", 1)]
