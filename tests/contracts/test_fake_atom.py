"""The fake Atom of the client's tests answers as a real one does: the same fields, of the same kinds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest_asyncio
from sqlalchemy import URL

from atom.client.testing import TOKEN, FakeAtom, Happen, Say
from atom.llm.adapters.script import Reply
from atom.llm.testing import ScriptedModel, call
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.serving import served_here
from tests.support.sse import Sent, seen

Shape = Any
ANSWER = "It is late."


def shape(value: Any) -> Shape:
    """Names and kinds of JSON values; null goes with everything, and what an object maps freely is left out."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None if value is None else type(value).__name__


def fits(fake: Shape, real: Shape, path: str = "") -> list[str]:
    """Where the fake is not like the real one: a field that is not there, or is of another kind."""
    if fake is None or real is None or fake == [] or real == []:
        return []
    if isinstance(fake, dict) and isinstance(real, dict):
        missing = [f"{path}.{name}: only the fake has it" for name in fake if name not in real]
        return missing + [
            problem for name in fake if name in real for problem in fits(fake[name], real[name], f"{path}.{name}")
        ]
    if isinstance(fake, list) and isinstance(real, list):
        return fits(fake[0], real[0], f"{path}[]")
    return [] if {fake, real} <= {"int", "float"} or fake == real else [f"{path}: {fake} and {real}"]


@asynccontextmanager
async def fake_atom() -> AsyncIterator[tuple[FakeAtom, httpx2.AsyncClient]]:
    fake = FakeAtom(
        script=[
            Happen("run.queued", {"task": "t"}),
            Happen("run.started", {"provider": "p", "model": "m"}),
            Happen(
                "model.replied",
                {
                    "step": "turn-0",
                    "attempt": 1,
                    "text": "",
                    "tool_calls": [{"id": "c", "name": "n", "arguments": "{}"}],
                },
            ),
            Happen(
                "tool.requested",
                {"step": "turn-0.call-0", "tool": "n", "arguments": {}, "verdict": "allow", "reason": "r"},
            ),
            Happen("tool.finished", {"step": "turn-0.call-0", "tool": "n", "ok": True, "summary": "s"}),
            Say("turn-1", 1, 0, "It is "),
            Say("turn-1", 1, 6, "late."),
            Happen("model.replied", {"step": "turn-1", "attempt": 1, "text": ANSWER, "tool_calls": []}),
            Happen("run.completed", {"answer": ANSWER, "sources": []}, {"status": "completed", "answer": ANSWER}),
        ]
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        served_here(fake.app()) as url,
        httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as http,
    ):
        yield fake, http


@pytest_asyncio.fixture
async def real(database: URL, home: Path) -> AsyncIterator[RunningAtom]:
    model = ScriptedModel(call("current_time"), Reply(chunks=("It is ", "late."), chunk_delay=0.3))
    async with running_atom(settings_for_tests(home), database, model) as atom:
        yield atom


async def ask(http: httpx2.AsyncClient, method: str, path: str, **request: Any) -> Any:
    answer = await http.request(method, path, **request)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def everything(http: httpx2.AsyncClient, *, fake: bool) -> dict[str, Any]:
    """One reply of each kind that the client reads."""
    said: dict[str, Any] = {}
    said["agent"] = await ask(http, "POST", "/api/agents", json={"name": "worker", "tools": ["current_time"]})
    said["agents"] = await ask(http, "GET", "/api/agents?limit=1")
    said["changed"] = await ask(http, "PATCH", "/api/agents/worker", json={"instructions": "Be brief."})
    said["versions"] = await ask(http, "GET", "/api/agents/worker/versions")
    said["upload"] = await ask(http, "POST", "/api/agents/worker/files", files={"file": ("a.txt", b"a")})
    said["run"] = await ask(http, "POST", "/api/agents/worker/runs", json={"task": "What time is it?"})
    said["events"] = {item.type: item.data for item in await seen(http, said["run"]["id"])}
    said["run at its end"] = await ask(http, "GET", f"/api/runs/{said['run']['id']}")
    said["runs"] = await ask(http, "GET", "/api/runs")
    said["tools"] = await ask(http, "GET", "/api/tools")
    said["models"] = await ask(http, "GET", "/api/models")
    said["new token"] = await ask(http, "POST", "/api/tokens", json={"name": "t", "role": "viewer"})
    said["tokens"] = await ask(http, "GET", "/api/tokens")
    said["health"] = await ask(http, "GET", "/health/ready")
    said["problem"] = (await http.get("/api/agents/nobody")).json()
    for verb in ("pause", "resume", "retire"):
        said[verb] = await ask(http, "POST", f"/api/agents/worker/{verb}")
    for tool in said["tools"]["items"]:
        tool["parameters"] = {}
    said["health"]["checks"] = {}
    return said


async def test_the_fake_says_nothing_that_atom_would_not(real: RunningAtom) -> None:
    async with fake_atom() as (_, http):
        pretended = await everything(http, fake=True)
    true = await everything(real.http, fake=False)
    problems = {name: fits(shape(pretended[name]), shape(true[name])) for name in true}
    assert {name: found for name, found in problems.items() if found} == {}
    assert set(pretended["events"]) == set(true["events"])


async def test_the_order_of_a_run_is_the_same(real: RunningAtom) -> None:
    async with fake_atom() as (fake, http):
        fake.add_agent("worker")
        run = await ask(http, "POST", "/api/agents/worker/runs", json={"task": "t"})
        pretended = durable(await seen(http, run["id"]))
    await real.agent(tools=["current_time"])
    started = await real.start("worker", "t")
    assert durable(await seen(real.http, started["id"])) == pretended


def durable(items: list[Sent]) -> list[str]:
    return [item.type for item in items if item.id is not None]
