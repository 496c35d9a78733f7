"""REST: training sessions."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.runs.rating import Rating
from atom.runs.rating_api import RatingIn
from atom.training.models import Origin, TrainingSession, TrainingStatus
from atom.training.service import MAX_NOTE, TrainingService


class TrainingIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agent: str = Field(max_length=64, description="Name or id.")
    task: str


class CorrectionIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(description="What was wrong, and how to go on.")


class DismissalIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    note: str | None = Field(default=None, max_length=MAX_NOTE, description="Why; kept with the session.")


class TrainingOut(BaseModel):
    id: UUID
    agent: str
    agent_id: UUID
    task: str
    origin: str = Field(description="manual, or the trigger that the agent was not mature enough for.")
    status: TrainingStatus
    run_id: UUID | None = Field(description="The run that is worked on, or was rated.")
    score: float | None
    proposed_by: str
    opened_by: str | None
    closed_by: str | None
    note: str | None
    created_at: datetime
    opened_at: datetime | None
    closed_at: datetime | None


class TrainingPage(BaseModel):
    items: list[TrainingOut]
    next: str | None


def training_routes(training: TrainingService, sessions: Sessions, guard: Guard) -> APIRouter:
    """The list and its sessions."""
    router = APIRouter(prefix="/api/training", tags=["training"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.RUNS_READ))
    Person = Annotated[Principal, Depends(guard.requires(Permission.APPROVALS_WRITE))]  # noqa: N806 - a type

    @router.get("", dependencies=[reader])
    async def list_training(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        after: str | None = None,
        agent: str | None = None,
        status: TrainingStatus | None = None,
    ) -> TrainingPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await training.page(session, agent=agent, status=status, before=cursor, limit=limit + 1)
            scores = await training.scores(session, [row[0] for row in rows])
        page = to_page(rows, limit, lambda row: row[0].id)
        items = [_out(found, name, scores.get(found.run_id) if found.run_id else None) for found, name in page.items]
        return TrainingPage(items=items, next=page.next)

    @router.post("", status_code=201)
    async def propose_training(body: TrainingIn, by: Person) -> TrainingOut:
        """A task for somebody to work on with an agent."""
        async with unit_of_work(sessions) as session:
            agent = await training.runs.agents.get(session, body.agent)
            id_ = await training.propose(session, agent, body.task, Origin("manual", by.actor))
        return await _now(training, sessions, id_)

    @router.get("/{training_id}", dependencies=[reader])
    async def show_training(training_id: UUID) -> TrainingOut:
        return await _now(training, sessions, training_id)

    return router


def session_routes(training: TrainingService, sessions: Sessions, guard: Guard) -> APIRouter:
    """What a person does with a session."""
    router = APIRouter(prefix="/api/training", tags=["training"], route_class=GuardedRoute)
    Person = Annotated[Principal, Depends(guard.requires(Permission.APPROVALS_WRITE))]  # noqa: N806 - a type

    @router.post("/{training_id}/open")
    async def open_training(training_id: UUID, by: Person) -> TrainingOut:
        """Start the task as a run of yours: the agent's effects ask as always."""
        async with unit_of_work(sessions) as session:
            await training.open(session, by, training_id)
        return await _now(training, sessions, training_id)

    @router.post("/{training_id}/correct")
    async def correct_training(training_id: UUID, body: CorrectionIn, by: Person) -> TrainingOut:
        """Say what was wrong; the agent goes on in the same conversation."""
        async with unit_of_work(sessions) as session:
            await training.correct(session, by, training_id, body.text)
        return await _now(training, sessions, training_id)

    @router.post("/{training_id}/rate")
    async def rate_training(training_id: UUID, body: RatingIn, by: Person) -> TrainingOut:
        """Say how well the agent did: that is the evidence of the session."""
        async with unit_of_work(sessions) as session:
            await training.rate(session, by, training_id, Rating(body.score, body.note))
        return await _now(training, sessions, training_id)

    @router.post("/{training_id}/dismiss")
    async def dismiss_training(training_id: UUID, body: DismissalIn, by: Person) -> TrainingOut:
        async with unit_of_work(sessions) as session:
            await training.dismiss(session, by, training_id, body.note)
        return await _now(training, sessions, training_id)

    return router


async def _now(training: TrainingService, sessions: Sessions, id_: UUID) -> TrainingOut:
    async with unit_of_work(sessions) as session:
        found, agent = await training.get(session, id_)
        rating = await training.ratings.get(session, found.run_id) if found.run_id else None
    return _out(found, agent, rating.score if rating else None)


def _out(found: TrainingSession, agent: str, score: float | None) -> TrainingOut:
    return TrainingOut(
        id=found.id,
        agent=agent,
        agent_id=found.agent_id,
        task=found.task,
        origin=found.origin,
        status=TrainingStatus(found.status),
        run_id=found.run_id,
        score=score,
        proposed_by=found.proposed_by,
        opened_by=found.opened_by,
        closed_by=found.closed_by,
        note=found.note,
        created_at=found.created_at,
        opened_at=found.opened_at,
        closed_at=found.closed_at,
    )
