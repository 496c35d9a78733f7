"""REST: the kill switch."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from atom.governance.halt import Halt, HaltService
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work


class HaltIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(max_length=500, description="Why, for whoever finds it.")


class HaltOut(BaseModel):
    halted: bool
    reason: str | None
    halted_by: str | None
    halted_at: datetime | None


def halt_routes(halt: HaltService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/halt", tags=["halt"], route_class=GuardedRoute)
    Admin = Annotated[Principal, Depends(guard.requires(Permission.OPS_ADMIN))]  # noqa: N806 - a type

    @router.get("", dependencies=[Depends(guard.requires(Permission.OPS_READ))])
    async def show_halt() -> HaltOut:
        async with unit_of_work(sessions) as session:
            return _out(await halt.standing(session))

    @router.put("")
    async def halt_all(body: HaltIn, by: Admin) -> HaltOut:
        """Stop every claim and every effect, on all replicas within a second. Runs are kept as they are."""
        async with unit_of_work(sessions) as session:
            return _out(await halt.halt(session, by.actor, body.reason))

    @router.delete("")
    async def lift_halt(by: Admin) -> HaltOut:
        """Let work go on."""
        async with unit_of_work(sessions) as session:
            await halt.lift(session, by.actor)
        return _out(None)

    return router


def _out(found: Halt | None) -> HaltOut:
    if found is None:
        return HaltOut(halted=False, reason=None, halted_by=None, halted_at=None)
    return HaltOut(halted=True, reason=found.reason, halted_by=found.halted_by, halted_at=found.halted_at)
