"""REST: agents."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.agents.models import Agent, AgentStatus
from atom.agents.service import AgentService, Changes
from atom.errors import InvalidError
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page


class AgentOut(BaseModel):
    id: UUID
    name: str
    instructions: str
    tools: list[str]
    model: str | None
    maturity: str
    class_maturity: dict[str, str] = Field(description="Classes of actions in which it may do less than that.")
    status: str
    version: int
    max_running: int | None
    created_at: datetime
    updated_at: datetime


class AgentPage(BaseModel):
    items: list[AgentOut]
    next: str | None


class AgentPatch(BaseModel):
    model_config = ConfigDict(extra="forbid")
    instructions: str | None = None
    tools: list[str] | None = Field(default=None, max_length=200)
    model: str | None = Field(default=None, max_length=200, description="An empty text takes the preference away.")
    maturity: str | None = None
    max_running: int | None = Field(
        default=None, description="Most of its runs at work at one time; 0: the deployment's limit for every agent."
    )

    def changes(self) -> Changes:
        tools = None if self.tools is None else tuple(dict.fromkeys(self.tools))
        return Changes(
            instructions=self.instructions,
            tools=tools,
            model=self.model,
            maturity=self.maturity,
            max_running=self.max_running,
        )


class AgentIn(AgentPatch):
    name: str


class VersionOut(BaseModel):
    version: int
    definition: dict[str, Any]
    changed_by: str
    created_at: datetime


class VersionPage(BaseModel):
    items: list[VersionOut]
    next: str | None


Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


def routes(agents: AgentService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/agents", tags=["agents"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.AGENTS_READ))
    Writer = Annotated[Principal, Depends(guard.requires(Permission.AGENTS_WRITE))]  # noqa: N806 - a type

    @router.get("", dependencies=[reader])
    async def list_agents(limit: Limit = 50, after: str | None = None, status: AgentStatus | None = None) -> AgentPage:
        async with unit_of_work(sessions) as session:
            rows = await agents.page(session, status=status, before=parse_cursor(after), limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return AgentPage(items=[_out(row) for row in page.items], next=page.next)

    @router.post("", status_code=201)
    async def create_agent(body: AgentIn, by: Writer) -> AgentOut:
        async with unit_of_work(sessions) as session:
            return _out(await agents.create(session, by, body.name, body.changes()))

    @router.get("/{agent}", dependencies=[reader])
    async def show_agent(agent: str) -> AgentOut:
        async with unit_of_work(sessions) as session:
            return _out(await agents.get(session, agent))

    @router.patch("/{agent}")
    async def update_agent(agent: str, body: AgentPatch, by: Writer) -> AgentOut:
        async with unit_of_work(sessions) as session:
            return _out(await agents.update(session, by, agent, body.changes()))

    @router.get("/{agent}/versions", dependencies=[reader])
    async def list_versions(agent: str, limit: Limit = 50, after: str | None = None) -> VersionPage:
        below = _version_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await agents.versions(session, agent, below=below, limit=limit + 1)
        items = [
            VersionOut(version=r.version, definition=r.definition, changed_by=r.changed_by, created_at=r.created_at)
            for r in rows[:limit]
        ]
        return VersionPage(items=items, next=str(items[-1].version) if len(rows) > limit else None)

    async def set_status(agent: str, by: Principal, status: AgentStatus) -> AgentOut:
        async with unit_of_work(sessions) as session:
            return _out(await agents.set_status(session, by, agent, status))

    @router.post("/{agent}/pause")
    async def pause_agent(agent: str, by: Writer) -> AgentOut:
        return await set_status(agent, by, AgentStatus.PAUSED)

    @router.post("/{agent}/resume")
    async def resume_agent(agent: str, by: Writer) -> AgentOut:
        return await set_status(agent, by, AgentStatus.ACTIVE)

    @router.post("/{agent}/retire")
    async def retire_agent(agent: str, by: Writer) -> AgentOut:
        return await set_status(agent, by, AgentStatus.RETIRED)

    return router


def _version_cursor(after: str | None) -> int | None:
    if after is None:
        return None
    if not after.isdecimal() or len(after) > 9:
        raise InvalidError(
            "after: this is not a cursor.", hint="Take the value of `next` of the page before.", field="after"
        )
    return int(after)


def _out(agent: Agent) -> AgentOut:
    return AgentOut(
        id=agent.id,
        name=agent.name,
        instructions=agent.instructions,
        tools=list(agent.tools),
        model=agent.model,
        maturity=agent.maturity,
        class_maturity=dict(agent.class_maturity),
        status=agent.status,
        version=agent.version,
        max_running=agent.max_running,
        created_at=agent.created_at,
        updated_at=agent.updated_at,
    )
