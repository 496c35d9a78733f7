"""REST: the registered actions, and what would be decided, with every rule that has a say."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.agents.service import AgentService
from atom.governance.decide import Decision, Reason, Spoken, Trigger, decide
from atom.governance.knowledge import Situation
from atom.governance.models import Action, EffectClass, Eyes, Label, Maturity, Verdict
from atom.governance.policies.judging import NO_RUN
from atom.governance.registry import ActionRegistry
from atom.governance.service import GovernanceService
from atom.governance.wish import Wish
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT
from atom.kit.text import clean


class ActionOut(BaseModel):
    name: str
    risk: int
    effect: EffectClass
    egress: bool = Field(description="It can carry chosen bytes out.")
    reads: list[Label] = Field(description="What is known of what it brings into a run.")


class ActionPage(BaseModel):
    items: list[ActionOut]
    next: str | None


class ExplainIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agent: str = Field(min_length=1, max_length=100, description="Name or id.")
    action: str = Field(min_length=1, max_length=200, description="Any name, also of no action.")
    arguments: dict[str, Any] = Field(default_factory=dict)
    trigger: Trigger = Trigger.MANUAL


class RuleOut(BaseModel):
    rule: str
    reason: Reason
    verdict: Verdict = Field(description="At least this.")
    risk: int | None = Field(description="Judged as if the risk were at least this.")
    eyes: Eyes
    detail: str


class ExplainOut(BaseModel):
    decision: Verdict
    reason: Reason
    explanation: str
    eyes: Eyes = Field(description="Who has to approve, when it is asked.")
    rules: list[RuleOut] = Field(description="Every rule beside the table that spoke.")
    table: Verdict = Field(description="What the table of maturity and risk says without them.")
    table_reason: Reason
    halted: str | None = Field(description="Why everything is halted, if it is: then nothing is authorised at all.")
    agent: str
    agent_version: int
    maturity: Maturity
    trigger: Trigger
    action: ActionOut | None = Field(description="None: no action has exactly this name.")


def explain_routes(
    governance: GovernanceService, actions: ActionRegistry, agents: AgentService, sessions: Sessions, guard: Guard
) -> APIRouter:
    router = APIRouter(prefix="/api/governance", tags=["governance"], route_class=GuardedRoute)
    reader = [Depends(guard.requires(Permission.GOVERNANCE_READ))]

    @router.get("/actions", dependencies=reader)
    async def list_actions(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, after: str | None = None
    ) -> ActionPage:
        """Every registered action, by name. What is not here is denied."""
        found = actions.page(after=after, limit=limit + 1)
        more = found[limit - 1].name if len(found) > limit else None
        return ActionPage(items=[_action(one) for one in found[:limit]], next=more)

    @router.post("/explain", dependencies=reader)
    async def explain_decision(body: ExplainIn) -> ExplainOut:
        """What would be decided now. Nothing is done and nothing is recorded."""
        async with unit_of_work(sessions) as session:
            agent = await agents.get(session, body.agent)
            wish = Wish(agent.id, NO_RUN, body.trigger, body.action, body.arguments)
            situation, decision, halted = await governance.explain(session, wish)
        return _explained(situation, decision, wish, actions.get(body.action), halted)

    return router


def _explained(
    situation: Situation, decision: Decision, wish: Wish, action: Action | None, halted: str | None
) -> ExplainOut:
    known = situation.known
    alone = decide(known.able, action, wish.trigger)
    return ExplainOut(
        decision=decision.verdict,
        reason=decision.reason,
        explanation=clean(decision.text),
        eyes=decision.eyes,
        rules=[_rule(one) for one in decision.rules],
        table=alone.verdict,
        table_reason=alone.reason,
        halted=halted,
        agent=known.agent.name,
        agent_version=known.agent.version,
        maturity=known.able.maturity,
        trigger=wish.trigger,
        action=_action(action) if action is not None else None,
    )


def _rule(one: Spoken) -> RuleOut:
    return RuleOut(
        rule=one.rule, reason=one.reason, verdict=one.verdict, risk=one.risk, eyes=one.eyes, detail=clean(one.detail)
    )


def _action(one: Action) -> ActionOut:
    return ActionOut(
        name=one.name, risk=int(one.risk), effect=one.effect, egress=one.egress, reads=sorted(one.reads, key=str)
    )
