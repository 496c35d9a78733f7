"""REST: ratings of runs."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from atom.errors import NotFoundError
from atom.governance.evidence.tables import Evidence
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.runs.rating import Rating, RatingService


class RatingMissingError(NotFoundError):
    code = "rating_not_found"


class RatingIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    score: float = Field(ge=0, le=1, allow_inf_nan=False, description="1: good, 0: bad, or in between.")
    note: str | None = Field(default=None, max_length=2000, description="Why; kept with the rating.")


class RatingOut(BaseModel):
    run_id: UUID
    score: float
    note: str | None
    by: str
    recorded_at: datetime


def rating_routes(ratings: RatingService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/runs/{run_id}/rating", tags=["runs"], route_class=GuardedRoute)
    Person = Annotated[Principal, Depends(guard.requires(Permission.APPROVALS_WRITE))]  # noqa: N806 - a type

    @router.get("", dependencies=[Depends(guard.requires(Permission.RUNS_READ))])
    async def show_rating(run_id: UUID) -> RatingOut:
        async with unit_of_work(sessions) as session:
            found = await ratings.get(session, run_id)
        if found is None:
            raise RatingMissingError(f"Nobody has rated run {run_id}.", hint="`atom runs rate` does.")
        return rating_out(found)

    @router.post("")
    async def rate_run(run_id: UUID, body: RatingIn, by: Person) -> RatingOut:
        """Say how good a completed run was. It can be said anew: the latest word counts."""
        async with unit_of_work(sessions) as session:
            return rating_out(await ratings.rate(session, by, run_id, Rating(body.score, body.note)))

    return router


def rating_out(row: Evidence) -> RatingOut:
    assert row.run_id is not None
    assert row.score is not None
    note = row.data.get("note")
    return RatingOut(run_id=row.run_id, score=row.score, note=note, by=row.by, recorded_at=row.recorded_at)
