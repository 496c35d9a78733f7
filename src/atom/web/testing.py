"""A whole Atom in the test's own process: real database, real HTTP on loopback, a model that the test scripts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import URL

from atom.llm.access import Access
from atom.llm.ports import ChatModel
from atom.llm.testing import ScriptedModel
from atom.settings import DatabaseSettings, LlmSettings, MemorySettings, Provider, RunSettings, Settings, WebSettings
from atom.web.server import ALL_ROLES, Ready, Server, ServerRole
from atom.wiring import Atom, build

START_SECONDS = 20.0
WAIT_SECONDS = 20.0
ENDED = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, repr=False)
class RunningAtom:
    """`http` carries the admin's token. `token` is that token."""

    atom: Atom
    url: str
    token: str
    http: httpx2.AsyncClient
    server: Server

    @property
    def workspaces(self) -> Path:
        """The agents' folders, named by their ids."""
        return self.atom.settings.home / "workspaces"

    def folder(self, agent_id: str) -> Path:
        """The folder of an agent, made if it is not there."""
        found = self.workspaces / agent_id
        found.mkdir(parents=True, exist_ok=True)
        return found

    async def agent(self, name: str = "worker", **fields: Any) -> dict[str, Any]:
        """A new agent; fields as in `POST /api/agents`."""
        answer = await self.http.post("/api/agents", json={"name": name, **fields})
        return _body(answer, 201)

    async def start(self, agent: str, task: str, **fields: Any) -> dict[str, Any]:
        return _body(await self.http.post(f"/api/agents/{agent}/runs", json={"task": task, **fields}), 202)

    async def run(self, run_id: str) -> dict[str, Any]:
        return _body(await self.http.get(f"/api/runs/{run_id}"), 200)

    async def steps(self, run_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = _body(await self.http.get(f"/api/runs/{run_id}/steps?limit=200"), 200)["items"]
        return found

    async def settled(self, run_id: str, *statuses: str) -> dict[str, Any]:
        """The run once it has one of `statuses` (any end, or waiting, when none is named)."""
        wanted = set(statuses) or ENDED | {"waiting"}
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                run = await self.run(run_id)
                if run["status"] in wanted:
                    return run
                await asyncio.sleep(0.02)

    async def until(self, run_id: str, status: str, *, seconds: float = 20.0) -> dict[str, Any]:
        """Wait until a run is in this status."""
        run: dict[str, Any] = {}
        async with asyncio.timeout(seconds):
            while run.get("status") != status:
                run = (await self.http.get(f"/api/runs/{run_id}")).json()
                await asyncio.sleep(0.02)
        return run

    async def done(self, agent: str, task: str, **fields: Any) -> dict[str, Any]:
        """Give a task and wait until it is settled."""
        return await self.settled((await self.start(agent, task, **fields))["id"])


def settings_for_tests(home: Path, **groups: Any) -> Settings:
    """Small pools, a free port, leases that outlive a stall of a busy machine.

    `groups` (runs=..., llm=..., web=...) replace whole groups.
    """
    values: dict[str, Any] = {
        "home": home,
        "database": DatabaseSettings(pool_size=8, max_overflow=2, pool_timeout=2),
        "web": WebSettings(port=0, drain_seconds=2),
        "runs": RunSettings(lease_seconds=10, sweep_seconds=0.2),
        "memory": MemorySettings(
            embedder="none", recall_at_start="off"
        ),  # loading the model takes longer than most tests
        "llm": LlmSettings(provider=Provider.SCRIPTED, scripted_path=home / "unused.json"),
    }
    return Settings.model_validate(values | groups)


@asynccontextmanager
async def running_atom(
    settings: Settings,
    database: URL,
    model: ChatModel | None = None,
    *,
    roles: frozenset[ServerRole] = ALL_ROLES,
    token: str | None = None,
) -> AsyncIterator[RunningAtom]:
    """Started as `atom serve` starts it, drained at the end. `token`: where the deployment has its admin already."""
    scripted = model or ScriptedModel()

    async def factory(_: Access) -> ChatModel:
        return scripted

    atom = build(settings, database, database, models={Provider.SCRIPTED: factory})
    announced: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()

    async def ready(found: Ready) -> bool:
        announced.set_result(found)
        return False

    server = Server(atom, roles, ready)
    task = asyncio.create_task(server.run())
    waiting = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(announced), START_SECONDS))
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        task.result()
    found = await waiting
    credential = token or found.new_token or ""
    headers = {"Authorization": f"Bearer {credential}"}
    base = found.url or "http://127.0.0.1:1"
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=WAIT_SECONDS, trust_env=False) as http:
        try:
            yield RunningAtom(atom, found.url, credential, http, server)
        finally:
            server.leave()
            await task


def _body(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    body: dict[str, Any] = answer.json()
    return body
