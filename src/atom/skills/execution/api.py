"""REST: running scripts of skills, what came of it, and what they run in."""

from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response

from atom.durable.jobs import JobService
from atom.errors import ForbiddenError
from atom.governance import audit_book
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.skills.execution import jobs as execution_jobs
from atom.skills.execution import store
from atom.skills.execution.errors import ArtefactGoneError
from atom.skills.execution.models import ExecutionStatus, FileKind, Purpose
from atom.skills.execution.orders import MAX_FILE_BYTES
from atom.skills.execution.service import Executions
from atom.skills.execution.wire import (
    NEWEST,
    BuildIn,
    ExecuteIn,
    ExecutionOut,
    ExecutionPage,
    JobStarted,
    SandboxOut,
    brief,
    sandbox_out,
    whole,
)

BODY_BYTES = MAX_FILE_BYTES * 4 // 3 + 4_000_000
MAX_NAME = 200
Name = Annotated[str, Path(max_length=200)]


def start_routes(executions: Executions, jobs: JobService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/skills", tags=["skills"], route_class=GuardedRoute)
    Writer = Annotated[Principal, Depends(guard.requires(Permission.SKILLS_WRITE))]  # noqa: N806 - a type

    @router.post("/{skill}/executions", status_code=202, max_body_size=BODY_BYTES)
    async def execute_skill(skill: Name, body: ExecuteIn, by: Writer) -> ExecutionOut:
        """Run a script of the version in use, in the sandbox. `purpose` `test` tries any version that was not taken out
        of use, without a network; whoever may approve it may do that."""
        if body.purpose is Purpose.TEST and not by.may(Permission.SKILLS_ADMIN):
            raise ForbiddenError("Only who may approve a skill may try what is not approved.", hint="Ask an admin.")
        order = body.order(skill, by)
        async with unit_of_work(sessions) as session:
            row = await executions.queue(session, order)
            job = await execution_jobs.start(session, jobs, row.id, actor=by.actor)
            await store.set_job(session, row.id, job)
            data = {"skill": row.skill_name, "digest": row.digest, "script": row.script, "execution": str(row.id)}
            await audit_book.record(
                session, actor=by.actor, action="skill", decision=body.purpose.value, reason=row.script, data=data
            )
            return whole(await executions.get(session, row.id))

    @router.post("/{skill}/build", status_code=202)
    async def build_skill(skill: Name, by: Writer, body: BuildIn = NEWEST) -> JobStarted:
        """Install the packages that it declares, where scripts run: nothing is installed when one runs."""
        async with unit_of_work(sessions) as session:
            found = await executions.to_build(session, skill, body.version)
            job = await execution_jobs.start_build(session, jobs, skill, found.digest, again=body.again, actor=by.actor)
            data = {"skill": skill, "digest": found.digest, "again": body.again}
            await audit_book.record(
                session, actor=by.actor, action="skill", decision="build", reason="packages", data=data
            )
        return JobStarted(job_id=job)

    return router


def execution_routes(executions: Executions, jobs: JobService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/skill-executions", tags=["skills"], route_class=GuardedRoute)
    reader = [Depends(guard.requires(Permission.SKILLS_READ))]
    Writer = Annotated[Principal, Depends(guard.requires(Permission.SKILLS_WRITE))]  # noqa: N806 - a type

    @router.get("", dependencies=reader)
    async def list_skill_executions(
        skill: Annotated[str | None, Query(max_length=200)] = None,
        status: ExecutionStatus | None = None,
        run_id: UUID | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        after: str | None = None,
    ) -> ExecutionPage:
        """The newest first."""
        cursor = parse_cursor(after)
        wanted = store.Filter(skill, status, run_id)
        async with unit_of_work(sessions) as session:
            rows = await store.page(session, wanted, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return ExecutionPage(items=[brief(row) for row in page.items], next=page.next)

    @router.get("/{execution_id}", dependencies=reader)
    async def show_skill_execution(execution_id: UUID) -> ExecutionOut:
        async with unit_of_work(sessions) as session:
            return whole(await executions.get(session, execution_id))

    @router.post("/{execution_id}/cancel")
    async def cancel_skill_execution(execution_id: UUID, by: Writer) -> ExecutionOut:
        """End one that a person has started. That of an agent ends with its run."""
        del by
        async with unit_of_work(sessions) as session:
            row = await executions.withdraw(session, execution_id)
            if row.job_id is not None and not ExecutionStatus(row.status).ended:
                await jobs.cancel(session, row.job_id)
            return whole(row)

    @router.get("/{execution_id}/artefacts/{name:path}", dependencies=reader, response_class=Response)
    async def download_skill_artefact(execution_id: UUID, name: Annotated[str, Path(max_length=MAX_NAME)]) -> Response:
        """A file that the script made for a person. Those that it made for an agent are artefacts of its run."""
        async with unit_of_work(sessions) as session:
            await executions.get(session, execution_id)
            body = await store.file(session, execution_id, FileKind.ARTEFACT, name)
        if body is None:
            raise ArtefactGoneError(name)
        plain = quote(name.rpartition("/")[2], safe="")
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{plain}",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(body, media_type="application/octet-stream", headers=headers)

    return router


def sandbox_routes(executions: Executions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/sandbox", tags=["skills"], route_class=GuardedRoute)

    @router.get("", dependencies=[Depends(guard.requires(Permission.SKILLS_READ))])
    async def show_sandbox() -> SandboxOut:
        """What scripts run in here, and what it was seen to keep. 503 where nothing will do."""
        return sandbox_out(await executions.sandbox.report())

    return router
