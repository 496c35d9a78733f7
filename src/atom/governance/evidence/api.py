"""REST: readiness, evidence, promotion and demotion of agents."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.governance.evidence.kinds import Kind
from atom.governance.evidence.ladder import Criterion
from atom.governance.evidence.promotion import MAX_REASON, MaturityService, Report, Wanted
from atom.governance.evidence.tables import Evidence, MaturityChange
from atom.governance.models import ActionClass, Maturity
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page


class CriterionOut(BaseModel):
    name: str
    value: float | None = Field(description="Null: there is nothing to measure yet, so it is not met.")
    needed: float
    at_least: bool = Field(description="The value has to be at least what is needed; else at most.")
    met: bool


class CountsOut(BaseModel):
    """Evidence that counts, by kind. `judged`: runs with an outcome or an intervention."""

    episodes: int
    successes: float
    approved: int
    edited: int
    rejected: int
    violations: int
    judged: int
    intervened: int


class ChangeOut(BaseModel):
    before: Maturity
    after: Maturity
    how: str
    reason: str
    by: str
    at: datetime


class ReadinessOut(BaseModel):
    agent: str
    agent_id: UUID
    agent_version: int
    action_class: ActionClass | None
    maturity: Maturity
    target: Maturity | None = Field(description="The next maturity; null at the top.")
    ready: bool
    criteria: list[CriterionOut]
    counts: CountsOut
    since: ChangeOut | None = Field(description="The change of maturity after which evidence counts; null: all does.")
    classes: dict[str, Maturity] = Field(description="What the agent may do by class of actions.")
    evidence_url: str


class EvidenceOut(BaseModel):
    id: UUID
    kind: Kind
    agent_version: int
    action_class: ActionClass | None
    run_id: UUID | None
    run_url: str | None
    approval_id: UUID | None
    score: float | None
    at: datetime = Field(description="When it happened; of a rating, when the rated run began.")
    recorded_at: datetime
    by: str
    counts: bool = Field(description="False: something later about the same source took its place.")
    data: dict[str, Any]


class EvidencePage(BaseModel):
    items: list[EvidenceOut]
    next: str | None


class DemotionIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(max_length=MAX_REASON, description="Why; kept with the change.")
    action_class: ActionClass | None = Field(default=None, description="Only of this class of actions.")


class PromotionIn(DemotionIn):
    override: bool = Field(default=False, description="Although the evidence does not reach. It is recorded as such.")


class MaturityOut(BaseModel):
    agent: str
    agent_id: UUID
    agent_version: int
    maturity: Maturity
    classes: dict[str, Maturity]


Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


def maturity_routes(maturity: MaturityService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/agents/{agent}", tags=["agents"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.AGENTS_READ))
    Writer = Annotated[Principal, Depends(guard.requires(Permission.AGENTS_WRITE))]  # noqa: N806 - a type
    Admin = Annotated[Principal, Depends(guard.requires(Permission.AGENTS_ADMIN))]  # noqa: N806 - a type

    @router.get("/readiness", dependencies=[reader])
    async def show_readiness(agent: str, action_class: ActionClass | None = None) -> ReadinessOut:
        """What the evidence says about the next maturity, criterion by criterion."""
        async with unit_of_work(sessions) as session:
            return _report(await maturity.report(session, agent, action_class))

    @router.get("/evidence", dependencies=[reader])
    async def list_evidence(
        agent: str, limit: Limit = 50, after: str | None = None, kind: Kind | None = None
    ) -> EvidencePage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await maturity.evidence(session, agent, kind=kind, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return EvidencePage(items=[_evidence(row) for row in page.items], next=page.next)

    @router.post("/promote")
    async def promote_agent(agent: str, body: PromotionIn, by: Admin) -> MaturityOut:
        """One rung up, if the evidence reaches, or by an override."""
        wanted = Wanted(body.reason, body.action_class, body.override)
        async with unit_of_work(sessions) as session:
            saved = await maturity.promote(session, by, agent, wanted)
            return _maturity(await maturity.report(session, str(saved.id)))

    @router.post("/demote")
    async def demote_agent(agent: str, body: DemotionIn, by: Writer) -> MaturityOut:
        """One rung down, at once, on every replica."""
        async with unit_of_work(sessions) as session:
            saved = await maturity.demote(session, by, agent, body.reason, body.action_class)
            return _maturity(await maturity.report(session, str(saved.id)))

    return router


def _report(report: Report) -> ReadinessOut:
    found, tally = report.readiness, report.tally
    return ReadinessOut(
        agent=report.agent.name,
        agent_id=report.agent.id,
        agent_version=report.agent.version,
        action_class=report.action_class,
        maturity=found.maturity,
        target=found.target,
        ready=found.ready,
        criteria=[_criterion(one) for one in found.criteria],
        counts=CountsOut(
            episodes=tally.episodes,
            successes=tally.successes,
            approved=tally.approved,
            edited=tally.edited,
            rejected=tally.rejected,
            violations=tally.violations,
            judged=tally.judged,
            intervened=tally.intervened,
        ),
        since=_change(report.since) if report.since else None,
        classes={one.value: level for one, level in report.classes},
        evidence_url=f"/api/agents/{report.agent.id}/evidence",
    )


def _criterion(one: Criterion) -> CriterionOut:
    return CriterionOut(name=one.name.value, value=one.value, needed=one.needed, at_least=one.at_least, met=one.met)


def _change(row: MaturityChange) -> ChangeOut:
    return ChangeOut(
        before=Maturity(row.before), after=Maturity(row.after), how=row.how, reason=row.reason, by=row.by, at=row.at
    )


def _maturity(report: Report) -> MaturityOut:
    return MaturityOut(
        agent=report.agent.name,
        agent_id=report.agent.id,
        agent_version=report.agent.version,
        maturity=report.readiness.maturity,
        classes={one.value: level for one, level in report.classes},
    )


def _evidence(row: Evidence) -> EvidenceOut:
    return EvidenceOut(
        id=row.id,
        kind=Kind(row.kind),
        agent_version=row.agent_version,
        action_class=ActionClass(row.action_class) if row.action_class else None,
        run_id=row.run_id,
        run_url=f"/api/runs/{row.run_id}" if row.run_id else None,
        approval_id=row.approval_id,
        score=row.score,
        at=row.at,
        recorded_at=row.recorded_at,
        by=row.by,
        counts=row.counts,
        data=row.data,
    )
