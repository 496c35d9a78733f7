"""Whose words a triggered task is: those of whoever made the trigger, and nobody's for what came with it."""

import json
from typing import Any

from atom.governance.models import Label
from atom.llm.testing import call
from tests.support.polling import eventually
from tests.triggers.conftest import Bench, Start
from tests.triggers.test_webhooks import headers, post

WRITE = call("write_file", path="report-7.txt", content="words")


async def delivered(bench: Bench, made: dict[str, Any], body: bytes) -> dict[str, Any]:
    answer = await post(bench, made["webhook_url"], body, headers(made["secret"], f"msg_{len(body)}", body))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def clerk(bench: Bench, maturity: str = "autonomous") -> None:
    await bench.atom.agent("clerk", tools=["write_file"], maturity=maturity)


async def heard(bench: Bench, count: int) -> list[str]:
    """The labels of events that led to something, once there are so many."""

    async def look() -> list[str] | None:
        await bench.sweep()  # an event is heard once it has its place in the order
        query = "SELECT origin_labels FROM trigger_firing WHERE key LIKE 'event:%' ORDER BY id"
        found = [json.dumps(row[0]) for row in await bench.rows(query)]
        return found if len(found) >= count else None

    found: list[str] = await eventually(look)
    return found


async def test_what_a_delivery_names_is_asked_about(start: Start) -> None:
    async with start(WRITE, "done") as bench:
        await clerk(bench)
        made = await bench.add("orders", "clerk", "webhook")
        fired = await delivered(bench, made, b"Write report-7.txt")
        run = await bench.atom.settled(fired["run_id"], "waiting")
        assert run["labels"] == [Label.UNTRUSTED.value]
        assert run["wait_reason"] == "approval"


async def test_what_the_maker_of_the_trigger_names_is_not(start: Start) -> None:
    async with start(WRITE, "done") as bench:
        await clerk(bench)
        made = await bench.add("orders", "clerk", "webhook", task="Write report-7.txt about {{data}}")
        fired = await delivered(bench, made, b"words")
        run = await bench.atom.settled(fired["run_id"])
        assert (run["status"], run["labels"]) == ("completed", [Label.UNTRUSTED.value])


async def test_a_task_without_data_is_all_of_its_maker(start: Start) -> None:
    async with start(WRITE, "done") as bench:
        await clerk(bench)
        await bench.add("often", "clerk", "schedule", task="Write report-7.txt", every="10m")
        fired = await bench.atom.http.post("/api/triggers/often/fire", json={})
        run = await bench.atom.settled(fired.json()["run_id"])
        assert (run["status"], run["labels"]) == ("completed", [])


async def test_approving_a_proposal_or_opening_a_training_vouches_for_nothing_in_it(start: Start) -> None:
    async with start("done", "done") as bench:
        await clerk(bench, "intern")
        made = await bench.add("orders", "clerk", "webhook")
        fired = await delivered(bench, made, b"Write report-7.txt")
        assert fired["outcome"] == "proposal"
        proposal = (await bench.firings("orders"))[0]["proposal_id"]
        done = await bench.atom.http.post(f"/api/proposals/{proposal}/approve", json={})
        assert (await bench.atom.settled(done.json()["run_id"]))["labels"] == [Label.UNTRUSTED.value]
        await bench.atom.agent("novice", tools=["write_file"])
        made = await bench.add("lessons", "novice", "webhook")
        await delivered(bench, made, b"Write report-7.txt")
        training = (await bench.firings("lessons"))[0]["training_id"]
        opened = await bench.atom.http.post(f"/api/training/{training}/open", json={})
        assert opened.status_code < 300, opened.text
        (run,) = await bench.runs_of("novice")
        assert (await bench.atom.settled(run["id"]))["labels"] == [Label.UNTRUSTED.value]


async def test_a_retry_and_the_conversation_keep_whose_words_they_are(start: Start) -> None:
    async with start("done", WRITE, WRITE, "done") as bench:
        await clerk(bench)
        made = await bench.add("orders", "clerk", "webhook")
        fired = await delivered(bench, made, b"Write report-7.txt")
        run = await bench.atom.settled(fired["run_id"])
        again = await bench.atom.http.post(f"/api/runs/{run['id']}/retry")
        assert again.status_code < 300, again.text
        assert (await bench.atom.settled(again.json()["id"], "waiting"))["labels"] == [Label.UNTRUSTED.value]
        body = {"task": "Go on.", "conversation_id": run["conversation_id"]}
        further = (await bench.atom.http.post("/api/agents/clerk/runs", json=body)).json()
        assert (await bench.atom.settled(further["id"], "waiting"))["wait_reason"] == "approval"


async def test_an_event_brings_what_its_run_has_read(start: Start) -> None:
    async with start("done", "clean", "tainted") as bench:
        await clerk(bench)
        made = await bench.add("orders", "clerk", "webhook")
        await bench.atom.agent("editor", maturity="autonomous")
        await bench.add("edit", "editor", "agent", agent="clerk")
        clean = await bench.atom.start("clerk", "Say something.")
        await bench.atom.settled(clean["id"])
        assert await heard(bench, 1) == ["[]"]
        fired = await delivered(bench, made, b"anything")
        await bench.atom.settled(fired["run_id"])
        assert await heard(bench, 2) == ["[]", '["untrusted"]']
