"""A whole Atom with a real sandbox, and skills to run in it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from atom.llm.adapters.script import Reply
from atom.llm.testing import ScriptedModel, call
from atom.settings import SandboxSettings
from atom.skills.sandbox.access import SandboxAccess
from atom.skills.sandbox.adapters.child import RunnerChild
from atom.skills.sandbox.adapters.remote import RemoteSandbox
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.skills.registry.conftest import skill
from tests.skills.sandbox.conftest import passable
from tests.support.planted import with_keys

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]
USE = ["find_skills", "read_skill", "run_skill", "run_online_skill", "read_file", "write_file"]
TELL = """
import json, os, sys
def tell(value):
    os.write(int(os.environ["SKILL_RESULT_FD"]), f"{os.environ['SKILL_RESULT_NONCE']} {json.dumps(value)}".encode())
"""
COUNT = (
    TELL
    + """
given = json.load(sys.stdin)
text = open(sys.argv[1]).read()
open("output/count.txt", "w").write(str(len(text.split())))
print("counted", sys.argv[1])
tell({"words": len(text.split()), "given": given})
"""
)


@pytest.fixture(scope="session")
async def runner() -> AsyncIterator[RemoteSandbox]:
    """One for all of these tests: its canaries take a second or two."""
    with passable() as home:
        child = RunnerChild(SandboxSettings(), home)
        yield await child.at_work()
        await child.aclose()


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def start(database: URL, home: Path, runner: RemoteSandbox, model: ScriptedModel) -> Start:
    """`async with start() as atom`. What `model` says is added to its replies. `box`: settings of the sandbox."""

    @asynccontextmanager
    async def run(box: Mapping[str, Any] | None = None, **groups: Any) -> AsyncIterator[RunningAtom]:
        reach = {"runner": str(runner.address), "key": runner.key.decode(), "timeout": 30, "memory": "256m"}
        sandbox = SandboxSettings.model_validate(reach | dict(box or {}))
        settings = settings_for_tests(home, sandbox=sandbox, **groups)
        async with running_atom(with_keys(settings), database, model) as atom:
            yield atom

    return run


def counting(name: str = "word-count", script: str = COUNT, risk: str = "low", more: str = "") -> bytes:
    return skill(name, atom=f"    risk: {risk}\n{more}", files={"scripts/count.py": script.encode()})


@dataclass(frozen=True, slots=True)
class Imported:
    name: str
    digest: str
    capabilities: str

    @property
    def short(self) -> str:
        return self.digest.removeprefix("sha256:")[:16]


async def imported(atom: RunningAtom, data: bytes) -> Imported:
    answer = await atom.http.post("/api/skills/import", files={"file": ("skill.zip", data)})
    assert answer.status_code in {200, 201}, answer.text
    body = answer.json()
    version = body["version"]
    return Imported(body["name"], version["digest"], version["capabilities_digest"])


async def approved(atom: RunningAtom, data: bytes) -> Imported:
    """Imported, approved and in use."""
    found = await imported(atom, data)
    body = {"digest": found.digest, "capabilities_digest": found.capabilities}
    answer = await atom.http.post(f"/api/skills/{found.name}/versions/{found.digest}/approve", json=body)
    assert answer.status_code == 200, answer.text
    return found


def running(found: Imported, **arguments: Any) -> Reply:
    return Reply(tool_calls=(call("run_skill", skill=found.name, version=found.short, **arguments),))


async def execution(atom: RunningAtom, skill_name: str, **body: Any) -> dict[str, Any]:
    """Started by a person, and ended."""
    answer = await atom.http.post(f"/api/skills/{skill_name}/executions", json=body)
    assert answer.status_code == 202, answer.text
    return await ended(atom, answer.json()["id"], answer.json()["job_id"])


async def ended(atom: RunningAtom, id_: str, job_id: str) -> dict[str, Any]:
    await job_of(atom, job_id)
    answer: dict[str, Any] = (await atom.http.get(f"/api/skill-executions/{id_}")).json()
    return answer


async def job_of(atom: RunningAtom, job_id: str) -> dict[str, Any]:
    """At its end."""
    async with asyncio.timeout(60):
        while True:
            job: dict[str, Any] = (await atom.http.get(f"/api/jobs/{job_id}")).json()
            if job["status"] in {"completed", "failed", "cancelled"}:
                return job
            await asyncio.sleep(0.05)


def sandbox(atom: RunningAtom) -> SandboxAccess:
    return atom.atom.parts.skills.executions.sandbox
