"""REST: the decision cache."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from atom.governance.warming import WarmingService
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission
from atom.infra.db import Sessions, unit_of_work

MAX_AGENTS = 1_000
Ref = Annotated[str, Field(min_length=1, max_length=100)]


class WarmIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agent_ids: list[Ref] = Field(min_length=1, max_length=MAX_AGENTS, description="Ids or names.")


class WarmOut(BaseModel):
    warmed: int = Field(description="Agents whose decisions are in the cache now.")
    decisions: int = Field(description="Decisions that were not in it before.")
    unknown: list[str] = Field(description="What names no agent.")


class ClearedDecisionsOut(BaseModel):
    cleared: int = Field(description="Decisions that the process that was asked let go of; the others follow.")


def decision_cache_routes(warming: WarmingService, sessions: Sessions, guard: Guard) -> APIRouter:
    admin = [Depends(guard.requires(Permission.OPS_ADMIN))]
    router = APIRouter(prefix="/api/admin/cache", tags=["governance"], route_class=GuardedRoute, dependencies=admin)

    @router.post("/warm")
    async def warm_decisions(body: WarmIn) -> WarmOut:
        """Decide beforehand what these agents may do, on every replica."""
        async with unit_of_work(sessions) as session:
            found = await warming.warm(session, body.agent_ids)
        return WarmOut(warmed=len(found.agents), decisions=found.decisions, unknown=list(found.unknown))

    @router.post("/clear")
    async def clear_decisions() -> ClearedDecisionsOut:
        """Forget every decision, on every replica. Nothing but speed depends on the cache."""
        async with unit_of_work(sessions) as session:
            return ClearedDecisionsOut(cleared=await warming.clear(session))

    return router
