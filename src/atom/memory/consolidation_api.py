"""REST: consolidation of memory, and the way back."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from atom.durable.jobs import JobService
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.memory.archive_api import AcceptedOut
from atom.memory.consolidation_jobs import start_consolidation
from atom.memory.layer import MemoryLayer


class ConsolidateIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agent: str | None = Field(default=None, max_length=64, description="Name or id; without it, every agent.")
    dry_run: bool = Field(default=False, description="Only count what would be done.")


WHOLE = ConsolidateIn()


class SplitOut(BaseModel):
    id: UUID = Field(description="Of the consolidated episode, which is gone.")
    sources: list[UUID] = Field(description="They are hot, and are not consolidated again.")


def routes(memory: MemoryLayer, jobs: JobService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/episodes", tags=["episodes"], route_class=GuardedRoute)
    Writer = Annotated[Principal, Depends(guard.requires(Permission.MEMORY_WRITE))]  # noqa: N806 - a type

    @router.post("/consolidate", status_code=202)
    async def consolidate(by: Writer, body: ConsolidateIn = WHOLE) -> AcceptedOut:
        """Sum up old episodes that are alike, of agents with more hot ones than `memory.consolidation_threshold`. The
        job's report has the counts and the bytes freed; nothing is lost."""
        async with unit_of_work(sessions) as session:
            agent = None if body.agent is None else await memory.service.agents.get(session, body.agent)
            agent_id = None if agent is None else agent.id
            id_ = await start_consolidation(session, jobs, actor=by.actor, agent_id=agent_id, dry_run=body.dry_run)
        return AcceptedOut(job_id=id_, status_url=f"/api/jobs/{id_}")

    @router.post("/{episode_id}/split")
    async def split_episode(episode_id: UUID, by: Writer) -> SplitOut:
        """Bring the sources of a consolidated episode back, and remove what sums them up."""
        split = await memory.splitter.split(by.actor, episode_id)
        return SplitOut(id=split.id, sources=list(split.sources))

    return router
