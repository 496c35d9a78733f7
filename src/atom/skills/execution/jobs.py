"""Executions that people start, as jobs: on record, run by one worker, run again after a crash."""

import asyncio
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.jobs import JobHandler, JobService, Progress
from atom.infra.db import unit_of_work
from atom.skills.execution.service import Executions
from atom.skills.layers.declared import declared

EXECUTE_JOB = "skill_execute"
BUILD_JOB = "skill_build"


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


async def start_build(
    session: AsyncSession, jobs: JobService, skill: str, version: str, *, again: bool, actor: str
) -> UUID:
    """The id of the job, in the caller's transaction. `version`: digits that its content's hash begins with."""
    return await jobs.start(session, BUILD_JOB, {"skill": skill, "version": version, "again": again}, actor=actor)


def build_handler(executions: Executions) -> JobHandler:
    """Installs what a skill declares, set by set. What is there already is found, so it may be done again."""

    async def handle(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        async with unit_of_work(executions.sessions) as session:
            stored = await executions.to_build(session, params["skill"], params["version"])
        sets = (await asyncio.to_thread(declared, await stored.bundle())).sets()
        built = []
        for number, (wanted, scripts) in enumerate(sets):
            await progress(number, len(sets))
            layer = await executions.sandbox.build(wanted, again=params["again"])
            packages = [f"{one.name}=={one.version}" for one in layer.packages]
            built.append({"scripts": scripts, "layer": layer.digest, "packages": packages, "fresh": layer.fresh})
        await progress(len(sets), len(sets))
        return {"skill": params["skill"], "digest": stored.digest, "layers": built}

    return handle
