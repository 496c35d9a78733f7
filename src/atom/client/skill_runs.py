"""The client's side of executions of skills."""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from atom.client.follow import OnDrop
from atom.client.listing import Listing
from atom.client.models import At, Page, Wire
from atom.client.transport import Transport, segment
from atom.client.watch import watch

ENDED = frozenset({"completed", "failed", "cancelled"})


class SkillFileInfo(Wire):
    name: str
    bytes: int
    sha256: str = ""


class NotTaken(Wire):
    name: str
    why: str


class Asked(Wire):
    """A host that it asked for."""

    host: str
    port: int
    allowed: bool
    reason: str = ""
    count: int = 1
    sent: int = 0
    received: int = 0


class SkillExecutionBrief(Wire):
    id: str
    skill: str
    digest: str
    script: str
    purpose: str
    status: str
    error_code: str | None = None
    error_message: str | None = None
    actor: str = ""
    agent_id: str | None = None
    run_id: str | None = None
    created_at: At | None = None
    ended_at: At | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class SkillExecution(SkillExecutionBrief):
    """`value` is the script's result, when `has_value`. `usage`: seconds and bytes."""

    arguments: tuple[str, ...] = ()
    inputs: tuple[SkillFileInfo, ...] = ()
    attempt: int = 0
    advice: str | None = None
    exit_reason: str | None = None
    exit_code: int | None = None
    value: Any = None
    has_value: bool = False
    stdout: str = ""
    stderr: str = ""
    artefacts: tuple[SkillFileInfo, ...] = ()
    refused: tuple[NotTaken, ...] = ()
    connections: tuple[Asked, ...] = ()
    usage: dict[str, float] = Field(default_factory=dict)
    backend: str = ""
    guarantees: dict[str, str] = Field(default_factory=dict)
    job_id: str | None = None
    started_at: At | None = None


class Started(Wire):
    job_id: str


class CanarySeen(Wire):
    level: str
    canary: str
    value: str
    at: At


class SandboxReport(Wire):
    backend: str
    at: At
    languages: tuple[str, ...] = ()
    usable: bool = True
    lacks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    guarantees: dict[str, CanarySeen] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SkillRuns:
    transport: Transport

    async def start(
        self,
        skill: str,
        script: str = "",
        *,
        arguments: Sequence[str] = (),
        input: Any = None,  # noqa: A002 - the API's word
        files: Mapping[str, bytes] | None = None,
        version: str = "",
        purpose: str = "run",
    ) -> SkillExecution:
        """`files` by name; the script finds them below `input/`. `purpose` "test" tries what is not in use."""
        body = {
            "script": script,
            "arguments": [*arguments],
            "input": input,
            "files": [
                {"name": name, "content": base64.b64encode(data).decode()} for name, data in (files or {}).items()
            ],
            "version": version,
            "purpose": purpose,
        }
        return await self.transport.ask(SkillExecution, "POST", f"/api/skills/{segment(skill)}/executions", body=body)

    def list(
        self, *, skill: str | None = None, status: str | None = None, run_id: str | None = None
    ) -> Listing[SkillExecutionBrief]:
        query = {"skill": skill, "status": status, "run_id": run_id}
        return Listing(self.transport, Page[SkillExecutionBrief], "/api/skill-executions", query)

    async def get(self, id_: str) -> SkillExecution:
        return await self.transport.ask(SkillExecution, "GET", _place(id_))

    async def cancel(self, id_: str) -> SkillExecution:
        return await self.transport.ask(SkillExecution, "POST", f"{_place(id_)}/cancel")

    async def download(self, id_: str, name: str) -> bytes:
        """A file that it made for a person."""
        path = "/".join(segment(part) for part in name.split("/"))
        return await self.transport.exchange("GET", f"{_place(id_)}/artefacts/{path}")

    def watch(self, id_: str, *, on_drop: OnDrop | None = None) -> AsyncIterator[SkillExecution]:
        """The execution as it goes on, until it has ended."""
        return watch(lambda: self.get(id_), pause=self.transport.pause, on_drop=on_drop)

    async def build(self, skill: str, *, version: str = "", again: bool = False) -> str:
        """Install the packages that it declares. The id of the job."""
        path = f"/api/skills/{segment(skill)}/build"
        started = await self.transport.ask(Started, "POST", path, body={"version": version, "again": again})
        return started.job_id

    async def sandbox(self) -> SandboxReport:
        """What the server's sandbox was seen to keep."""
        return await self.transport.ask(SandboxReport, "GET", "/api/sandbox")


def _place(id_: str) -> str:
    return f"/api/skill-executions/{segment(id_)}"
