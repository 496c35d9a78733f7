"""REST: triggers, what they led to, and the door for signed deliveries."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from atom.identity.guard import Guard, GuardedRoute, public, signed
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.ids import parse_id
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.triggers.models import AgentTrigger, Outcome, TriggerFiring, TriggerKind
from atom.triggers.service import NewTrigger, Saved, TriggerChanges, TriggerService
from atom.triggers.task import MAX_DATA
from atom.triggers.webhooks import Delivery, WebhookService

MAX_WEBHOOK_BYTES = 256 * 1024
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
DEFINITION = (
    "schedule: `cron` with `timezone`, or `every` (10m), and `jitter` in seconds. event: `types`, `agent`, `where`. "
    "agent: `agent` (whose answers fire it), `where`. webhook: nothing."
)


class TriggerOut(BaseModel):
    id: UUID
    name: str
    agent: str
    agent_id: UUID
    kind: TriggerKind
    definition: dict[str, Any] = Field(description=DEFINITION)
    task: str
    enabled: bool
    version: int
    created_by: str = Field(description="Who made or last changed it: its runs are asked for by them.")
    created_at: datetime
    updated_at: datetime
    next_at: datetime | None = Field(description="When a schedule fires next.")
    last_at: datetime | None
    last_run_id: UUID | None
    webhook_url: str | None = Field(description="Where a webhook is delivered, behind the address of this server.")


class NewTriggerOut(TriggerOut):
    secret: str | None = Field(description="Of a webhook whose secret was just made; it is not shown again.")


class TriggerPage(BaseModel):
    items: list[TriggerOut]
    next: str | None


class TriggerIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    agent: str = Field(description="Name or id of the agent that is to do the task.")
    kind: TriggerKind
    task: str = Field(description="What the agent is to do; may name {{trigger}}, {{at}}, {{date}} and {{data}}.")
    definition: dict[str, Any] = Field(default_factory=dict, max_length=20, description=DEFINITION)


class TriggerPatch(BaseModel):
    model_config = ConfigDict(extra="forbid")
    task: str | None = None
    definition: dict[str, Any] | None = Field(default=None, max_length=20, description=DEFINITION)
    enabled: bool | None = None
    new_secret: bool = Field(default=False, description="A new secret for a webhook; the old one ends at once.")
    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Refuse if it is another by now.")


class FireIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    data: str | None = Field(default=None, max_length=MAX_DATA, description="Stands in the task, marked as untrusted.")


class FiringOut(BaseModel):
    id: UUID
    trigger_id: UUID
    key: str = Field(description="The reason: the same reason never fires twice.")
    outcome: Outcome
    reason: str | None
    run_id: UUID | None
    proposal_id: UUID | None
    training_id: UUID | None
    task: str
    fired_by: str
    at: datetime
    expires_at: datetime | None = Field(description="Until when it waits for an operator.")
    settled_at: datetime | None


class FiringPage(BaseModel):
    items: list[FiringOut]
    next: str | None


class DeliveredOut(BaseModel):
    """What a sender is told, the same for each delivery of a message."""

    firing_id: UUID
    outcome: Outcome
    run_id: UUID | None


def routes(triggers: TriggerService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/triggers", tags=["triggers"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.TRIGGERS_READ))
    Writer = Annotated[Principal, Depends(guard.requires(Permission.TRIGGERS_WRITE))]  # noqa: N806 - a type

    @router.get("", dependencies=[reader])
    async def list_triggers(limit: Limit = 50, after: str | None = None, agent: str | None = None) -> TriggerPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await triggers.page(session, agent=agent, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row[0].id)
        return TriggerPage(items=[_out(*row) for row in page.items], next=page.next)

    @router.post("", status_code=201)
    async def add_trigger(body: TriggerIn, by: Writer) -> NewTriggerOut:
        """A trigger, enabled. A webhook's secret is in this answer and never again."""
        new = NewTrigger(body.name, body.agent, body.kind, body.task, body.definition)
        async with unit_of_work(sessions) as session:
            return _new(await triggers.add(session, by, new))

    @router.get("/{trigger}", dependencies=[reader])
    async def show_trigger(trigger: str) -> TriggerOut:
        async with unit_of_work(sessions) as session:
            found = await triggers.get(session, trigger)
        return _out(found.trigger, found.agent)

    @router.patch("/{trigger}")
    async def change_trigger(trigger: str, body: TriggerPatch, by: Writer) -> NewTriggerOut:
        """What is given is changed. Nothing that was missed while it was disabled is made up for."""
        changes = TriggerChanges(body.task, body.definition, body.enabled, body.new_secret, body.version)
        async with unit_of_work(sessions) as session:
            return _new(await triggers.change(session, by, trigger, changes))

    @router.delete("/{trigger}", status_code=204)
    async def remove_trigger(trigger: str, by: Writer) -> None:
        async with unit_of_work(sessions) as session:
            await triggers.remove(session, by, trigger)

    return router


def firing_routes(triggers: TriggerService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/triggers/{trigger}", tags=["triggers"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.TRIGGERS_READ))
    Starter = Annotated[Principal, Depends(guard.requires(Permission.RUNS_WRITE))]  # noqa: N806 - a type

    @router.get("/firings", dependencies=[reader])
    async def list_firings(trigger: str, limit: Limit = 50, after: str | None = None) -> FiringPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await triggers.history(session, trigger, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.id)
        return FiringPage(items=[_firing(row) for row in page.items], next=page.next)

    @router.post("/fire", status_code=202, dependencies=[Depends(guard.requires(Permission.TRIGGERS_WRITE))])
    async def fire_trigger(
        trigger: str, body: FireIn, by: Starter, idempotency_key: Annotated[str | None, Header()] = None
    ) -> FiringOut:
        """Start its task now, as a run of the person who asks."""
        async with unit_of_work(sessions) as session:
            return _firing(await triggers.fire(session, by, trigger, data=body.data, key=idempotency_key))

    return router


def webhook_routes(webhooks: WebhookService, sessions: Sessions) -> APIRouter:
    router = APIRouter(prefix="/api/triggers", tags=["triggers"], route_class=GuardedRoute)

    proof = [Depends(public), Depends(signed)]

    @router.post("/{trigger}/webhook", dependencies=proof, max_body_size=MAX_WEBHOOK_BYTES)
    async def deliver(trigger: str, request: Request) -> DeliveredOut:
        """A signed delivery (Standard Webhooks). It needs no token: the signature says who sends it."""
        delivery = Delivery(request.headers, await request.body())
        async with unit_of_work(sessions) as session:
            firing = await webhooks.deliver(session, parse_id(trigger), delivery)
        return DeliveredOut(firing_id=firing.id, outcome=Outcome(firing.outcome), run_id=firing.run_id)

    return router


def _out(trigger: AgentTrigger, agent: str) -> TriggerOut:
    return TriggerOut(**_fields(trigger, agent))


def _new(saved: Saved) -> NewTriggerOut:
    return NewTriggerOut(**_fields(saved.trigger, saved.agent), secret=saved.secret)


def _fields(trigger: AgentTrigger, agent: str) -> dict[str, Any]:
    webhook = trigger.kind == TriggerKind.WEBHOOK
    return {
        "id": trigger.id,
        "name": trigger.name,
        "agent": agent,
        "agent_id": trigger.agent_id,
        "kind": trigger.kind,
        "definition": trigger.definition,
        "task": trigger.task,
        "enabled": trigger.enabled,
        "version": trigger.version,
        "created_by": trigger.created_by,
        "created_at": trigger.created_at,
        "updated_at": trigger.updated_at,
        "next_at": trigger.next_at,
        "last_at": trigger.last_at,
        "last_run_id": trigger.last_run_id,
        "webhook_url": f"/api/triggers/{trigger.id}/webhook" if webhook else None,
    }


def _firing(firing: TriggerFiring) -> FiringOut:
    return FiringOut(
        id=firing.id,
        trigger_id=firing.trigger_id,
        key=firing.key,
        outcome=Outcome(firing.outcome),
        reason=firing.reason,
        run_id=firing.run_id,
        proposal_id=firing.proposal_id,
        training_id=firing.training_id,
        task=firing.task,
        fired_by=firing.fired_by,
        at=firing.at,
        expires_at=firing.expires_at,
        settled_at=firing.settled_at,
    )
