"""The client's side of the model layer: provider keys, routes, budgets, usage, the response cache, the kill switch."""

from dataclasses import dataclass
from typing import Any

from atom.client.models import At, JobRef, Page, Wire
from atom.client.transport import Transport, segment


class ProviderKey(Wire):
    """A stored key. Its secret never leaves the server."""

    id: str
    name: str
    provider: str
    owner: str | None = None
    priority: int = 100
    models: tuple[str, ...] = ()
    base_url: str | None = None
    status: str
    reason: str | None = None
    fingerprint: str = ""
    version: int = 1
    created_at: At | None = None
    last_used_at: At | None = None


class KeyTest(Wire):
    ok: bool
    seconds: float = 0.0
    models: tuple[str, ...] = ()
    code: str | None = None
    message: str | None = None


class Route(Wire):
    provider: str
    model: str | None = None
    key: str | None = None


class RouteList(Wire):
    routes: tuple[Route, ...] = ()


class ModelFacts(Wire):
    """None is what nobody knows. Prices are dollars for a million tokens, as text."""

    provider: str
    model: str
    context_tokens: int | None = None
    tools: bool | None = None
    vision: bool | None = None
    input_usd: str | None = None
    output_usd: str | None = None
    cached_usd: str | None = None


class ModelCatalogue(Wire):
    items: tuple[ModelFacts, ...] = ()


class Budget(Wire):
    """Amounts are decimal numbers as text, so that nothing is rounded on the way."""

    id: str
    scope: str
    subject: str | None = None
    subject_name: str | None = None
    unit: str
    window: str
    amount: str
    used: str | None = None
    reserved: str | None = None


class BudgetPage(Wire):
    items: tuple[Budget, ...] = ()
    next: str | None = None


class UsageGroup(Wire):
    group: str
    name: str | None = None
    calls: int = 0
    failed: int = 0
    cache_hits: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: str | None = None
    unpriced: int = 0
    seconds: float | None = None


class UsageReport(Wire):
    by: str
    since: At
    until: At
    items: tuple[UsageGroup, ...] = ()
    more: bool = False


class CacheStats(Wire):
    place: str
    entries: int = 0
    bytes: int = 0
    max_bytes: int = 0
    away: bool = False


class Cleared(Wire):
    cleared: int = 0


class HaltState(Wire):
    halted: bool
    reason: str | None = None
    halted_by: str | None = None
    halted_at: At | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    transport: Transport

    async def add(self, provider: str, name: str, secret: str, **fields: Any) -> ProviderKey:
        """Fields: owner, priority, models, base_url, options, monthly_usd."""
        body = {"provider": provider, "name": name, "secret": secret, **fields}
        return await self.transport.ask(ProviderKey, "POST", "/api/keys", body=body)

    async def page(self, limit: int, *, after: str | None = None) -> Page[ProviderKey]:
        query = {"limit": limit, "after": after}
        return await self.transport.ask(Page[ProviderKey], "GET", "/api/keys", query=query)

    async def get(self, key: str) -> ProviderKey:
        return await self.transport.ask(ProviderKey, "GET", f"/api/keys/{segment(key)}")

    async def update(self, key: str, **fields: Any) -> ProviderKey:
        """Fields: secret, owner, priority, models, enabled."""
        return await self.transport.ask(ProviderKey, "PATCH", f"/api/keys/{segment(key)}", body=fields)

    async def remove(self, key: str) -> None:
        await self.transport.exchange("DELETE", f"/api/keys/{segment(key)}")

    async def test(self, key: str) -> KeyTest:
        return await self.transport.ask(KeyTest, "POST", f"/api/keys/{segment(key)}/test")

    async def rotate(self) -> JobRef:
        return await self.transport.ask(JobRef, "POST", "/api/keys/rotate")

    async def routes(self) -> RouteList:
        return await self.transport.ask(RouteList, "GET", "/api/routes")

    async def set_routes(self, routes: list[dict[str, Any]]) -> RouteList:
        return await self.transport.ask(RouteList, "PUT", "/api/routes", body={"routes": routes})

    async def models(self, model: str | None = None) -> ModelCatalogue:
        """What is known of `provider/model`; without it: of all that are in use."""
        return await self.transport.ask(ModelCatalogue, "GET", "/api/models/catalogue", query={"model": model})

    async def budgets(self, limit: int, *, after: str | None = None) -> BudgetPage:
        return await self.transport.ask(BudgetPage, "GET", "/api/budgets", query={"limit": limit, "after": after})

    async def put_budget(self, **fields: Any) -> Budget:
        """Fields: scope, subject, unit, window, amount."""
        return await self.transport.ask(Budget, "PUT", "/api/budgets", body=fields)

    async def remove_budget(self, budget_id: str) -> None:
        await self.transport.exchange("DELETE", f"/api/budgets/{segment(budget_id)}")

    async def usage(self, by: str, *, since: str | None = None, limit: int = 100) -> UsageReport:
        query = {"by": by, "since": since, "limit": limit}
        return await self.transport.ask(UsageReport, "GET", "/api/usage", query=query)


@dataclass(frozen=True, slots=True)
class Cache:
    transport: Transport

    async def stats(self) -> CacheStats:
        return await self.transport.ask(CacheStats, "GET", "/api/cache")

    async def clear(self) -> Cleared:
        return await self.transport.ask(Cleared, "DELETE", "/api/cache")


@dataclass(frozen=True, slots=True)
class Halting:
    """The kill switch."""

    transport: Transport

    async def show(self) -> HaltState:
        return await self.transport.ask(HaltState, "GET", "/api/halt")

    async def halt(self, reason: str) -> HaltState:
        return await self.transport.ask(HaltState, "PUT", "/api/halt", body={"reason": reason})

    async def lift(self) -> HaltState:
        return await self.transport.ask(HaltState, "DELETE", "/api/halt")
