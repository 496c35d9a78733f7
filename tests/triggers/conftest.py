"""A whole Atom with a scripted model, and its sweep at hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from atom.llm.testing import ScriptedModel
from atom.web.server import ALL_ROLES, ServerRole
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.databases import execute, rows

TASK = "Say what is new."


@dataclass(frozen=True, slots=True)
class Bench:
    """Triggers of a running Atom: what a person does with them, and what is on record."""

    atom: RunningAtom

    async def add(self, name: str, agent: str, kind: str, /, *, task: str = TASK, **definition: Any) -> dict[str, Any]:
        body = {"name": name, "agent": agent, "kind": kind, "task": task, "definition": definition}
        answer = await self.atom.http.post("/api/triggers", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def firings(self, name: str) -> list[dict[str, Any]]:
        answer = await self.atom.http.get(f"/api/triggers/{name}/firings?limit=200")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    async def sweep(self) -> None:
        """Until this process had the sweep's turn: the worker's own sweep may have it now."""
        await self.atom.atom.sweep.once()

    async def execute(self, statement: str, **values: Any) -> None:
        await execute(self.atom.atom.parts.base.sessions, statement, **values)

    async def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        return await rows(self.atom.atom.parts.base.sessions, query, **values)

    async def make_due(self, name: str, ago: str = "1 second") -> None:
        await self.execute(
            f"UPDATE trigger SET due_at = now() - interval '{ago}', next_at = now() - interval '{ago}'"
            " WHERE name = :name",
            name=name,
        )

    async def runs_of(self, agent: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.atom.http.get(f"/api/runs?agent={agent}&limit=200")).json()["items"]
        return found


Start = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def start(database: URL, home: Path) -> Start:
    """`async with start(reply, reply, ...) as bench`."""

    @asynccontextmanager
    async def run(*replies: Any, roles: frozenset[ServerRole] = ALL_ROLES, **groups: Any) -> AsyncIterator[Bench]:
        chosen = settings_for_tests(home, **groups)
        async with running_atom(chosen, database, ScriptedModel(*replies), roles=roles) as atom:
            yield Bench(atom)

    return run
