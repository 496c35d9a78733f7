"""REST: archive, restore, forgetting, rules of an agent's memory, and export."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.durable.jobs import JobService
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import parse_cursor
from atom.memory import jobs as memory_jobs
from atom.memory import keeping
from atom.memory.archive_store import Away
from atom.memory.exporting import MAX_BYTES, exported
from atom.memory.jobs import ArchiveOrder
from atom.memory.keeping import MAX_REASON, Rules
from atom.memory.layer import MemoryLayer

MAX_IDS = 1_000


class ArchiveIn(BaseModel):
    """Without anything: the whole store, whatever its age."""

    model_config = ConfigDict(extra="forbid")
    agent: str | None = Field(default=None, max_length=64, description="Name or id; null: of all agents.")
    older_than_days: float | None = Field(
        default=None, ge=0, le=36_500, description="Only what ended, and was last recalled, before that."
    )
    dry_run: bool = Field(default=False, description="Only say what would be done: counts, bytes, examples.")


class RestoreIn(BaseModel):
    """Without anything: everything."""

    model_config = ConfigDict(extra="forbid")
    ids: list[UUID] | None = Field(default=None, min_length=1, max_length=MAX_IDS)
    agent: str | None = Field(default=None, max_length=64, description="Name or id; null: of all agents.")
    dry_run: bool = Field(default=False, description="Only say what would be done: counts, bytes, examples.")


WHOLE, EVERYTHING = ArchiveIn(), RestoreIn()


class AcceptedOut(BaseModel):
    job_id: UUID = Field(description="Its report has counts and bytes.")
    status_url: str


class ForgottenOut(BaseModel):
    id: UUID
    cold_pending: bool = Field(
        description="Its encrypted bytes are still in the cold store. Their key is gone; archives delete them."
    )


class RulesIn(BaseModel):
    """In place of all rules before."""

    model_config = ConfigDict(extra="forbid")
    decay_days: int | None = Field(default=None, description="Null: as in the settings.")
    retention_days: int | None = Field(default=None, description="What is older is forgotten; null: never.")
    legal_hold: bool = Field(default=False, description="Nothing is deleted as long as it holds.")
    hold_reason: str | None = Field(default=None, max_length=2_000)


class RulesOut(RulesIn):
    agent: str
    agent_id: UUID


class ExportOut(BaseModel):
    items: list[dict[str, Any]] = Field(description="Whole episodes, as `POST /api/episodes` takes them.")
    next: str | None


def archive_routes(memory: MemoryLayer, jobs: JobService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/episodes", tags=["episodes"], route_class=GuardedRoute)
    Writer = Annotated[Principal, Depends(guard.requires(Permission.MEMORY_WRITE))]  # noqa: N806 - a type
    agents = memory.service.agents

    @router.post("/archive", status_code=202)
    async def archive_episodes(by: Writer, body: ArchiveIn = WHOLE) -> AcceptedOut:
        """Texts go to the cold store; what finds them stays. Without a body: the whole store."""
        async with unit_of_work(sessions) as session:
            agent_id = None if body.agent is None else (await agents.get(session, body.agent)).id
            order = ArchiveOrder(agent_id, body.older_than_days, dry_run=body.dry_run)
            id_ = await memory_jobs.start_archive(session, jobs, order, actor=by.actor)
        return AcceptedOut(job_id=id_, status_url=f"/api/jobs/{id_}")

    @router.post("/restore", status_code=202)
    async def restore_episodes(by: Writer, body: RestoreIn = EVERYTHING) -> AcceptedOut:
        """Texts come back into the database. Without a body: all of them. An id of no episode restores nothing: 404."""
        async with unit_of_work(sessions) as session:
            await memory.service.require(session, body.ids or ())
            agent_id = None if body.agent is None else (await agents.get(session, body.agent)).id
            away = Away(None if body.ids is None else tuple(body.ids), agent_id)
            id_ = await memory_jobs.start_restore(session, jobs, away, dry_run=body.dry_run, actor=by.actor)
        return AcceptedOut(job_id=id_, status_url=f"/api/jobs/{id_}")

    return router


def keeping_routes(memory: MemoryLayer, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/episodes", tags=["episodes"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.MEMORY_READ))
    Writer = Annotated[Principal, Depends(guard.requires(Permission.MEMORY_WRITE))]  # noqa: N806 - a type
    agents = memory.service.agents

    @router.get("/export", dependencies=[reader])
    async def export_episodes(
        agent: str | None = None, after: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
    ) -> ExportOut:
        """Whole episodes, the oldest first; a page ends at the limit or at some megabytes."""
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            agent_id = None if agent is None else (await agents.get(session, agent)).id
        page = await exported(memory.reading.bodies, agent_id, after=cursor, limit=limit, most=MAX_BYTES)
        return ExportOut(items=page.items, next=page.next)

    @router.get("/policies/{agent}", dependencies=[reader])
    async def show_policy(agent: str) -> RulesOut:
        async with unit_of_work(sessions) as session:
            found = await agents.get(session, agent)
            return _rules(found.name, found.id, await keeping.rules_of(session, found.id))

    @router.put("/policies/{agent}")
    async def set_policy(agent: str, body: RulesIn, by: Writer) -> RulesOut:
        """How long an agent's memory is kept; audited. In place of all rules before."""
        async with unit_of_work(sessions) as session:
            found = await agents.get(session, agent)
            rules = await keeping.set_rules(session, by.actor, found.id, Rules(**body.model_dump()))
            return _rules(found.name, found.id, rules)

    @router.delete("/{episode_id}")
    async def forget_episode(
        episode_id: UUID, by: Writer, reason: Annotated[str, Query(min_length=1, max_length=MAX_REASON)]
    ) -> ForgottenOut:
        """For good, wherever it lies; audited. 409 under a legal hold."""
        async with unit_of_work(sessions) as session:
            await keeping.forget(session, by.actor, episode_id, reason=reason)
            return ForgottenOut(id=episode_id, cold_pending=await keeping.pending(session, episode_id))

    return router


def _rules(agent: str, agent_id: UUID, rules: Rules) -> RulesOut:
    return RulesOut(
        agent=agent,
        agent_id=agent_id,
        decay_days=rules.decay_days,
        retention_days=rules.retention_days,
        legal_hold=rules.legal_hold,
        hold_reason=rules.hold_reason,
    )
