"""The client's side of triggers and proposals."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from atom.client.models import At, Page, Wire
from atom.client.transport import Transport, segment
from atom.kit.ids import new_id


class Trigger(Wire):
    """`secret` comes once: when a webhook was made, or got a new one."""

    id: str
    name: str
    agent: str
    kind: str
    definition: dict[str, Any] = Field(default_factory=dict)
    task: str = ""
    enabled: bool = True
    version: int = 1
    created_by: str = ""
    next_at: At | None = None
    last_at: At | None = None
    last_run_id: str | None = None
    webhook_url: str | None = None
    secret: str | None = None


class Firing(Wire):
    """`outcome`: run, proposal, blocked, queued or expired; `reason` says why, where it is no run."""

    id: str
    key: str = ""
    outcome: str
    reason: str | None = None
    run_id: str | None = None
    proposal_id: str | None = None
    training_id: str | None = None
    task: str = ""
    fired_by: str = ""
    at: At | None = None
    expires_at: At | None = None


class Proposal(Wire):
    id: str
    agent: str
    trigger_id: str | None = None
    origin: str = ""
    task: str = ""
    status: str
    run_id: str | None = None
    created_at: At | None = None
    expires_at: At | None = None
    decided_at: At | None = None
    decided_by: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Triggers:
    transport: Transport

    async def add(self, name: str, agent: str, kind: str, task: str, definition: dict[str, Any]) -> Trigger:
        body = {"name": name, "agent": agent, "kind": kind, "task": task, "definition": definition}
        return await self.transport.ask(Trigger, "POST", "/api/triggers", body=body)

    async def page(self, limit: int, *, agent: str | None = None, after: str | None = None) -> Page[Trigger]:
        query = {"limit": limit, "after": after, "agent": agent}
        return await self.transport.ask(Page[Trigger], "GET", "/api/triggers", query=query)

    async def get(self, trigger: str) -> Trigger:
        return await self.transport.ask(Trigger, "GET", _trigger(trigger))

    async def update(self, trigger: str, **fields: Any) -> Trigger:
        """Fields: task, definition, enabled, new_secret, version."""
        return await self.transport.ask(Trigger, "PATCH", _trigger(trigger), body=fields)

    async def remove(self, trigger: str) -> None:
        await self.transport.exchange("DELETE", _trigger(trigger))

    async def fire(self, trigger: str, *, data: str | None = None, key: str | None = None) -> Firing:
        """Start its task now. `key` (made up when not given) lets a cut request be repeated without a second run."""
        body = {} if data is None else {"data": data}
        path = f"{_trigger(trigger)}/fire"
        return await self.transport.ask(Firing, "POST", path, body=body, key=key or str(new_id()))

    async def firings(self, trigger: str, limit: int, *, after: str | None = None) -> Page[Firing]:
        query = {"limit": limit, "after": after}
        return await self.transport.ask(Page[Firing], "GET", f"{_trigger(trigger)}/firings", query=query)

    async def proposals(self, limit: int, *, status: str | None = None, after: str | None = None) -> Page[Proposal]:
        query = {"limit": limit, "after": after, "status": status}
        return await self.transport.ask(Page[Proposal], "GET", "/api/proposals", query=query)

    async def proposal(self, proposal_id: str) -> Proposal:
        return await self.transport.ask(Proposal, "GET", f"/api/proposals/{segment(proposal_id)}")

    async def decide(self, proposal_id: str, *, approve: bool, note: str | None = None) -> Proposal:
        body = {} if note is None else {"note": note}
        path = f"/api/proposals/{segment(proposal_id)}/{'approve' if approve else 'reject'}"
        return await self.transport.ask(Proposal, "POST", path, body=body)


def _trigger(trigger: str) -> str:
    return f"/api/triggers/{segment(trigger)}"
