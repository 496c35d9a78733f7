"""REST: what a run left in its workspace."""

from datetime import datetime
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT
from atom.runs.artefacts import ArtefactService

MAX_PATH = 1024


class ArtefactOut(BaseModel):
    path: str
    bytes: int
    sha256: str = Field(description="Of the file as the run left it.")
    step: str
    written_at: datetime


class ArtefactPage(BaseModel):
    items: list[ArtefactOut]
    next: str | None


def artefact_routes(artefacts: ArtefactService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/runs/{run_id}/artefacts", tags=["runs"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.RUNS_READ))

    @router.get("", dependencies=[reader])
    async def list_artefacts(
        run_id: UUID,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        after: Annotated[str | None, Query(max_length=MAX_PATH)] = None,
    ) -> ArtefactPage:
        """The files that the run's calls wrote, by path."""
        async with unit_of_work(sessions) as session:
            rows = await artefacts.page(session, run_id, after=after, limit=limit + 1)
        items = [
            ArtefactOut(path=a.path, bytes=a.bytes, sha256=a.sha256, step=a.step_key, written_at=a.written_at)
            for a in rows[:limit]
        ]
        return ArtefactPage(items=items, next=items[-1].path if len(rows) > limit else None)

    @router.get("/{path:path}", dependencies=[reader], response_class=StreamingResponse)
    async def download_artefact(run_id: UUID, path: str) -> StreamingResponse:
        """The file, if it still is as the run left it."""
        async with unit_of_work(sessions) as session:
            found, agent_id = await artefacts.find(session, run_id, path)
        name = quote(found.path.rpartition("/")[2], safe="")
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
            "Content-Length": str(found.bytes),
            "X-Content-Type-Options": "nosniff",
            "ETag": f'"{found.sha256}"',
        }
        content = await artefacts.read(found, agent_id)
        return StreamingResponse(content, media_type="application/octet-stream", headers=headers)

    return router
