"""The client's side of governance: actions, policies, named grants, explanations, the decision cache."""

from dataclasses import dataclass
from typing import Any

from atom.client.models import At, Page, Wire
from atom.client.transport import Transport, segment


class Action(Wire):
    name: str
    risk: int
    effect: str
    egress: bool = False
    reads: tuple[str, ...] = ()


class Policy(Wire):
    """One version of a policy; `removed`: the one that takes it out of force."""

    name: str
    version: int
    removed: bool = False
    source: str | None = None
    document: dict[str, Any] | None = None
    applied_by: str = ""
    applied_at: At | None = None


class AppliedPolicy(Wire):
    name: str
    version: int
    changed: bool = True
    rules: int = 0
    warnings: tuple[str, ...] = ()
    diff: str = ""


class RemovedPolicy(Wire):
    name: str
    version: int


class PolicyDiff(Wire):
    name: str
    before: int
    after: int
    diff: str = ""


class Grant(Wire):
    id: str
    agent: str
    agent_id: str = ""
    action: str
    reason: str = ""
    granted_by: str = ""
    granted_at: At | None = None
    expires_at: At | None = None
    revoked_at: At | None = None
    revoked_by: str | None = None


class Rule(Wire):
    """One that spoke: at least this verdict, judged as if the risk were at least this."""

    rule: str
    reason: str
    verdict: str = ""
    risk: int | None = None
    eyes: str = ""
    detail: str = ""


class Explanation(Wire):
    decision: str
    reason: str
    explanation: str = ""
    eyes: str = ""
    rules: tuple[Rule, ...] = ()
    table: str = ""
    table_reason: str = ""
    halted: str | None = None
    agent: str = ""
    agent_version: int = 0
    maturity: str = ""
    trigger: str = ""
    action: Action | None = None


class Warmed(Wire):
    warmed: int = 0
    decisions: int = 0
    unknown: tuple[str, ...] = ()


class ClearedDecisions(Wire):
    cleared: int = 0


@dataclass(frozen=True, slots=True)
class Governance:
    transport: Transport

    async def actions(self, limit: int, *, after: str | None = None) -> Page[Action]:
        query = {"limit": limit, "after": after}
        return await self.transport.ask(Page[Action], "GET", "/api/governance/actions", query=query)

    async def explain(
        self, agent: str, action: str, *, arguments: dict[str, Any] | None = None, trigger: str = "manual"
    ) -> Explanation:
        body = {"agent": agent, "action": action, "arguments": arguments or {}, "trigger": trigger}
        return await self.transport.ask(Explanation, "POST", "/api/governance/explain", body=body)

    async def apply(self, source: str, *, dry_run: bool = False) -> AppliedPolicy:
        body = {"source": source, "dry_run": dry_run}
        return await self.transport.ask(AppliedPolicy, "POST", "/api/governance/policies", body=body)

    async def policies(self, limit: int, *, after: str | None = None) -> Page[Policy]:
        query = {"limit": limit, "after": after}
        return await self.transport.ask(Page[Policy], "GET", "/api/governance/policies", query=query)

    async def policy(self, name: str, *, version: int | None = None) -> Policy:
        return await self.transport.ask(Policy, "GET", _policy(name), query={"version": version})

    async def policy_versions(self, name: str, limit: int, *, after: str | None = None) -> Page[Policy]:
        query = {"limit": limit, "after": after}
        return await self.transport.ask(Page[Policy], "GET", f"{_policy(name)}/versions", query=query)

    async def policy_diff(self, name: str, before: int, *, version: int | None = None) -> PolicyDiff:
        query = {"before": before, "version": version}
        return await self.transport.ask(PolicyDiff, "GET", f"{_policy(name)}/diff", query=query)

    async def roll_back(self, name: str, version: int) -> AppliedPolicy:
        body = {"version": version}
        return await self.transport.ask(AppliedPolicy, "POST", f"{_policy(name)}/rollback", body=body)

    async def remove_policy(self, name: str) -> RemovedPolicy:
        return await self.transport.ask(RemovedPolicy, "DELETE", _policy(name))

    async def grants(
        self, limit: int, *, after: str | None = None, agent: str | None = None, ended: bool = False
    ) -> Page[Grant]:
        query = {"limit": limit, "after": after, "agent": agent, "ended": "true" if ended else None}
        return await self.transport.ask(Page[Grant], "GET", "/api/governance/grants", query=query)

    async def grant(self, agent: str, action: str, reason: str, *, expires_in_days: int | None = None) -> Grant:
        body = {"agent": agent, "action": action, "reason": reason, "expires_in_days": expires_in_days}
        return await self.transport.ask(Grant, "POST", "/api/governance/grants", body=body)

    async def ungrant(self, agent: str, action: str) -> None:
        await self.transport.exchange("DELETE", f"/api/governance/grants/{segment(agent)}/{segment(action)}")

    async def warm(self, agents: list[str]) -> Warmed:
        return await self.transport.ask(Warmed, "POST", "/api/admin/cache/warm", body={"agent_ids": agents})

    async def clear(self) -> ClearedDecisions:
        return await self.transport.ask(ClearedDecisions, "POST", "/api/admin/cache/clear")


def _policy(name: str) -> str:
    return f"/api/governance/policies/{segment(name)}"
