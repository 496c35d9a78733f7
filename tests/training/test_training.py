"""Training: a task is proposed once, opened by a person, corrected and rated; what comes of it is evidence."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import URL, text

from atom.infra.db import unit_of_work
from atom.llm.errors import ModelRequestError
from atom.llm.testing import ScriptedModel, call
from atom.training.errors import TrainingInvalidError
from atom.training.models import Origin
from atom.training.service import TrainingService
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.planted import with_keys


@asynccontextmanager
async def trained(database: URL, home: Path, *replies: Any) -> AsyncIterator[RunningAtom]:
    async with running_atom(with_keys(settings_for_tests(home)), database, ScriptedModel(*replies)) as atom:
        await atom.agent(tools=["current_time", "call_agent"])
        yield atom


async def rows(atom: RunningAtom, query: str) -> list[tuple[Any, ...]]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        return [tuple(row) for row in (await session.execute(text(query))).all()]


async def propose(atom: RunningAtom, task: str, origin: Origin, training: TrainingService | None = None) -> UUID:
    training = training or atom.atom.parts.training
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        agent = await atom.atom.parts.agents.get(session, "worker")
        return await training.propose(session, agent, task, origin)


async def post(atom: RunningAtom, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await atom.http.post(f"/api/training{path}", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_task_is_opened_corrected_and_rated(database: URL, home: Path) -> None:
    async with trained(database, home, call("current_time"), "It is late.", "It is 10:00.") as atom:
        made = await post(atom, "", 201, agent="worker", task=" What time is it? ")
        assert (made["status"], made["task"], made["run_id"]) == ("proposed", "What time is it?", None)
        opened = await post(atom, f"/{made['id']}/open")
        assert (opened["status"], opened["opened_by"]) == ("open", "admin:admin")
        first = await atom.settled(opened["run_id"], "completed")
        assert (await post(atom, f"/{made['id']}/open", 409))["code"] == "training_state"
        for nothing in (" ", "x" * 100_001):
            refused = await post(atom, f"/{made['id']}/correct", 422, text=nothing)
            assert (refused["code"], refused["field"]) == ("training_invalid", "text")
        corrected = await post(atom, f"/{made['id']}/correct", text="In digits, please.")
        assert corrected["run_id"] != opened["run_id"]
        second = await atom.settled(corrected["run_id"], "completed")
        assert second["conversation_id"] == first["conversation_id"]
        await post(atom, f"/{made['id']}/rate", score=0.5)
        rated = await post(atom, f"/{made['id']}/rate", score=1.0, note="it learns")
        assert (rated["status"], rated["score"], rated["note"]) == ("rated", 1.0, "it learns")
        kept = await rows(atom, "SELECT kind, run_id::text, score, data -> 'classes' FROM evidence WHERE counts")
        assert kept == [
            ("intervention", first["id"], None, ["read"]),
            ("rated", second["id"], 1.0, []),
        ]
        report = (await atom.http.get("/api/agents/worker/readiness")).json()
        assert (report["counts"]["episodes"], report["counts"]["intervened"], report["counts"]["judged"]) == (1, 1, 2)
        told = await rows(atom, "SELECT data ->> 'status' FROM event WHERE type = 'training.changed' ORDER BY id")
        assert told == [(status,) for status in ("proposed", "open", "open", "rated", "rated")]
        audited = await rows(atom, "SELECT decision FROM audit_entry WHERE action = 'training' ORDER BY id")
        assert audited == told
        listed = (await atom.http.get("/api/training?status=rated&agent=worker")).json()
        assert [(one["id"], one["score"]) for one in listed["items"]] == [(made["id"], 1.0)]


async def test_a_session_asks_like_any_run_of_a_person(database: URL, home: Path) -> None:
    async with trained(database, home, call("call_agent", agent="x", task="y"), "Then not.") as atom:
        made = await post(atom, "", 201, agent="worker", task="Ask somebody.")
        run_id = (await post(atom, f"/{made['id']}/open"))["run_id"]
        run = await atom.settled(run_id)
        assert (run["status"], run["wait_reason"]) == ("waiting", "approval")
        assert await rows(atom, "SELECT trigger FROM agent_execution") == [("manual",)]
        for verb, body in (("rate", {"score": 1}), ("correct", {"text": "x"})):
            assert (await post(atom, f"/{made['id']}/{verb}", 409, **body))["code"] in {
                "run_not_rateable",
                "training_state",
            }
        [approval] = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
        await atom.http.post(f"/api/approvals/{approval['id']}/reject", json={})
        await atom.settled(run_id, "completed")
        assert await rows(atom, "SELECT kind, action_class FROM evidence") == [("rejected", "delegate")]


async def test_a_run_that_came_to_nothing_is_begun_anew(database: URL, home: Path) -> None:
    failure = ModelRequestError("no", provider="scripted", model="scripted")
    async with trained(database, home, failure, "done") as atom:
        made = await post(atom, "", 201, agent="worker", task="Go.")
        first = (await post(atom, f"/{made['id']}/open"))["run_id"]
        await atom.settled(first, "failed")
        second = (await post(atom, f"/{made['id']}/open"))["run_id"]
        await atom.settled(second, "completed")
        dismissed = await post(atom, f"/{made['id']}/dismiss", note="enough")
        assert (dismissed["status"], dismissed["closed_by"], dismissed["note"]) == (
            "dismissed",
            "admin:admin",
            "enough",
        )
        for verb, body in (("open", {}), ("rate", {"score": 1}), ("dismiss", {})):
            assert (await post(atom, f"/{made['id']}/{verb}", 409, **body))["code"] == "training_state"
        assert await rows(atom, "SELECT 1 FROM evidence") == []  # the provider's failure is nobody's evidence


async def test_what_is_proposed_again_is_the_same_session(database: URL, home: Path) -> None:
    async with trained(database, home) as atom:
        origin = Origin("schedule", "schedule:nightly", "firing-1")
        first = await propose(atom, "Tidy up.", origin)
        assert await propose(atom, "Tidy up.", origin) == first
        assert await propose(atom, "Tidy up.", Origin("schedule", "schedule:nightly", "firing-2")) == first
        await post(atom, f"/{first}/dismiss")
        assert await propose(atom, "Tidy up.", origin) == first  # that firing has been dealt with
        assert await propose(atom, "Tidy up.", Origin("schedule", "schedule:nightly", "firing-3")) != first
        with pytest.raises(TrainingInvalidError):
            await propose(atom, " ", origin)
        missing = await atom.http.get("/api/training/01a20a0d-8e88-7117-9c08-46edfd98777f")
        assert (missing.status_code, missing.json()["code"]) == (404, "training_not_found")


async def test_a_trigger_that_fires_for_ever_crowds_out_its_own_oldest(database: URL, home: Path) -> None:
    async with trained(database, home) as atom:
        small = replace(atom.atom.parts.training, max_proposed=5)
        await propose(atom, "By a person", Origin("manual", "admin:admin"), small)
        for number in range(8):
            await propose(atom, f"Event {number}", Origin("webhook", "webhook:shop", str(number)), small)
        kept = await rows(atom, "SELECT status, count(*) FROM training_session GROUP BY status ORDER BY status")
        assert kept == [("dismissed", 4), ("proposed", 5)]
        gone = await rows(atom, "SELECT task FROM training_session WHERE status = 'dismissed' ORDER BY id")
        assert gone == [(f"Event {number}",) for number in range(4)]
        assert await rows(atom, "SELECT DISTINCT closed_by FROM training_session WHERE closed_by IS NOT NULL") == [
            ("system:training",)
        ]
