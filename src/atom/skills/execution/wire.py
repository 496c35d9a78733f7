"""What the API says of executions."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, JsonValue

from atom.errors import InvalidError
from atom.identity.models import Principal
from atom.skills.execution.models import ExecutionStatus, Purpose, SkillExecution
from atom.skills.execution.orders import INPUTS, MAX_FILES, Order
from atom.skills.sandbox.models import MAX_ARGUMENTS, Report


class FileIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=150, description=f"The script finds it at {INPUTS}/NAME.")
    content: Base64Bytes


class ExecuteIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    script: str = Field(default="", max_length=200, description="Its path or name; empty: the only one there is.")
    arguments: list[str] = Field(default_factory=list, max_length=MAX_ARGUMENTS)
    input: JsonValue = Field(default=None, description="What the script reads on its standard input, as JSON.")
    files: list[FileIn] = Field(default_factory=list, max_length=MAX_FILES)
    version: str = Field(default="", max_length=71, description="Of a test: which one; else the one imported last.")
    purpose: Purpose = Purpose.RUN

    def order(self, skill: str, by: Principal) -> Order:
        """Raises InvalidError, TooLargeError."""
        files = {one.name: one.content for one in self.files}
        if len(files) < len(self.files):
            raise InvalidError("files: two of them have one name.", field="files")
        return Order(
            skill=skill,
            actor=by.actor,
            script=self.script,
            arguments=tuple(self.arguments),
            input=json.dumps(self.input),
            files=files,
            version=self.version,
            purpose=self.purpose,
        )


class BuildIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: str = Field(default="", max_length=71, description="Which one; else the one imported last.")
    again: bool = Field(default=False, description="Ask the source of packages anew, also for what was built before.")


NEWEST = BuildIn()


class JobStarted(BaseModel):
    job_id: UUID


class FileOut(BaseModel):
    name: str
    bytes: int
    sha256: str


class RefusedOut(BaseModel):
    name: str
    why: str


class ConnectionOut(BaseModel):
    """A host that it asked for. `reason`: why it was not let through."""

    host: str
    port: int
    allowed: bool
    reason: str = ""
    count: int = 1
    sent: int = 0
    received: int = 0


class ExecutionBrief(BaseModel):
    id: UUID
    skill: str
    digest: str
    script: str
    purpose: Purpose
    status: ExecutionStatus
    error_code: str | None
    error_message: str | None
    actor: str
    agent_id: UUID | None
    run_id: UUID | None
    created_at: datetime
    ended_at: datetime | None


class ExecutionOut(ExecutionBrief):
    """`value` is what the script gave as its result; `has_value` tells a null from none."""

    arguments: list[str]
    inputs: list[FileOut]
    attempt: int
    advice: str | None
    exit_reason: str | None
    exit_code: int | None
    value: Any
    has_value: bool
    stdout: str
    stderr: str
    artefacts: list[FileOut]
    refused: list[RefusedOut]
    connections: list[ConnectionOut]
    usage: dict[str, float]
    backend: str
    guarantees: dict[str, str]
    job_id: UUID | None
    started_at: datetime | None


class ExecutionPage(BaseModel):
    items: list[ExecutionBrief]
    next: str | None


class EvidenceOut(BaseModel):
    level: str
    canary: str
    value: str
    at: datetime


class SandboxOut(BaseModel):
    """What the sandbox that skills run in was seen to keep, when its canaries ran."""

    backend: str
    at: datetime
    languages: list[str]
    usable: bool
    lacks: list[str]
    notes: list[str]
    guarantees: dict[str, EvidenceOut]


def brief(row: SkillExecution) -> ExecutionBrief:
    return ExecutionBrief.model_validate(_plain(row))


def whole(row: SkillExecution) -> ExecutionOut:
    return ExecutionOut.model_validate(
        {
            **_plain(row),
            "arguments": row.arguments,
            "inputs": row.inputs,
            "attempt": row.attempt,
            "advice": row.advice,
            "exit_reason": row.exit_reason,
            "exit_code": row.exit_code,
            "value": None if row.value is None else row.value["value"],
            "has_value": row.value is not None,
            "stdout": row.stdout,
            "stderr": row.stderr,
            "artefacts": row.artefacts,
            "refused": row.refused,
            "connections": row.connections,
            "usage": row.usage,
            "backend": row.backend,
            "guarantees": row.guarantees,
            "job_id": row.job_id,
            "started_at": row.started_at,
        }
    )


def sandbox_out(report: Report) -> SandboxOut:
    return SandboxOut.model_validate(report.plain())


def _plain(row: SkillExecution) -> dict[str, Any]:
    return {
        "id": row.id,
        "skill": row.skill_name,
        "digest": row.digest,
        "script": row.script,
        "purpose": row.purpose,
        "status": row.status,
        "error_code": row.error_code,
        "error_message": row.error_message,
        "actor": row.actor,
        "agent_id": row.agent_id,
        "run_id": row.run_id,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
    }
