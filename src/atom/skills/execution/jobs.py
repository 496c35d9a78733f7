"""Executions that people start, as jobs: on record, run by one worker, run again after a crash."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.jobs import JobHandler, JobService, Progress
from atom.skills.execution.service import Executions

EXECUTE_JOB = "skill_execute"


async def start(session: AsyncSession, jobs: JobService, id_: UUID, *, actor: str) -> UUID:
    """The id of the job, in the caller's transaction."""
    return await jobs.start(session, EXECUTE_JOB, {"execution": str(id_)}, actor=actor)


def execute_handler(executions: Executions) -> JobHandler:
    async def handle(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        await progress(0, 1)
        done = await executions.advance(UUID(params["execution"]))
        await progress(1, 1)
        if done is None:
            return {"execution": params["execution"], "status": "ended before"}
        ending = done.ending
        return {
            "execution": params["execution"],
            "status": ending.status.value,
            "error_code": None if ending.code is None else ending.code.value,
        }

    return handle
