"""Health, metrics and jobs over HTTP."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel

from atom.durable.jobs import JobService
from atom.durable.models import Job
from atom.identity.guard import Guard, GuardedRoute, public
from atom.identity.models import Permission
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.ops.health import HealthService

RETRY_AFTER_SECONDS = "2"


class HealthOut(BaseModel):
    status: str
    version: str
    timestamp: str
    checks: dict[str, str]


class JobOut(BaseModel):
    id: UUID
    kind: str
    status: str
    done: int
    total: int | None
    report: dict[str, Any] | None
    error: dict[str, Any] | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class JobPage(BaseModel):
    items: list[JobOut]
    next: str | None


def health_routes(health: HealthService, registry: CollectorRegistry, metrics_access: Any) -> APIRouter:
    """`metrics_access` is the dependency of the metrics routes: public, or one that requires a permission."""
    router = APIRouter(tags=["health"], route_class=GuardedRoute)

    @router.get("/health/live", dependencies=[Depends(public)])
    async def live() -> dict[str, str]:
        """The event loop turns. Depends on nothing else."""
        return {"status": "healthy", "version": health.version}

    @router.get(
        "/health/ready", dependencies=[Depends(public)], response_model=HealthOut, responses={503: {"model": HealthOut}}
    )
    async def ready() -> JSONResponse:
        """Whether this process may get traffic. The same body with 200 and with 503; no cause is told to strangers."""
        report = await health.report()
        headers = {"Cache-Control": "no-store"}
        if not report.ready:
            headers["Retry-After"] = RETRY_AFTER_SECONDS
        if report.draining:
            headers["X-Atom-Draining"] = "true"  # all checks may be healthy then
        return JSONResponse(report.body, status_code=200 if report.ready else 503, headers=headers)

    @router.get("/metrics", dependencies=[Depends(metrics_access)], response_class=Response)
    @router.get("/health/metrics", dependencies=[Depends(metrics_access)], response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


def schema_routes(guard: Guard) -> APIRouter:
    router = APIRouter(tags=["health"], route_class=GuardedRoute)

    @router.get("/api/openapi.json", dependencies=[Depends(guard.requires(Permission.OPS_READ))])
    async def describe_api(request: Request) -> dict[str, Any]:
        """This API, as OpenAPI."""
        schema: dict[str, Any] = request.app.openapi()
        return schema

    return router


def job_routes(jobs: JobService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/jobs", tags=["jobs"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.JOBS_READ))
    writer = Depends(guard.requires(Permission.JOBS_WRITE))

    @router.get("", dependencies=[reader])
    async def list_jobs(limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, after: str | None = None) -> JobPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await jobs.page(session, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return JobPage(items=[_out(row) for row in page.items], next=page.next)

    @router.get("/{job_id}", dependencies=[reader])
    async def show_job(job_id: UUID) -> JobOut:
        async with unit_of_work(sessions) as session:
            return _out(await jobs.get(session, job_id))

    @router.post("/{job_id}/cancel", dependencies=[writer])
    async def cancel_job(job_id: UUID) -> JobOut:
        async with unit_of_work(sessions) as session:
            return _out(await jobs.cancel(session, job_id))

    return router


def _out(job: Job) -> JobOut:
    return JobOut(
        id=job.id,
        kind=job.kind,
        status=job.status,
        done=job.done,
        total=job.total,
        report=job.report,
        error=job.error,
        created_by=job.created_by,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )
