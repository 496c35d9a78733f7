"""REST: provider keys, routes, and the rotation of the vault's key. Nothing here ever answers with a secret."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.jobs import JobService
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.llm.budgets.models import Scope, Unit, Window
from atom.llm.budgets.service import MAX_AMOUNT, BudgetService, NewBudget
from atom.llm.keys.models import KeyStatus, ProviderKey
from atom.llm.keys.probe import KeyTester
from atom.llm.keys.rotation import ROTATE_JOB
from atom.llm.keys.service import KeyChanges, KeyService, NewKey, RouteWish
from atom.llm.ports import WaitingRuns
from atom.settings import Provider


class KeyOut(BaseModel):
    id: UUID
    name: str
    provider: Provider
    owner: str | None = Field(description="Only runs of this name may use it; null: every run.")
    priority: int = Field(description="Among the keys of the provider, the lowest is tried first.")
    models: list[str] = Field(description="Names or patterns it may be used for; empty: every model.")
    base_url: str | None
    options: dict[str, str]
    status: KeyStatus
    reason: str | None = Field(description="Why it was refused.")
    fingerprint: str = Field(description="Tells two secrets apart. It says nothing else about them.")
    version: int = Field(description="Counts the secrets it had.")
    created_by: str
    created_at: datetime
    last_used_at: datetime | None


class KeyPage(BaseModel):
    items: list[KeyOut]
    next: str | None


class KeyIn(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    provider: Provider
    name: str
    secret: SecretStr
    owner: str | None = Field(default=None, max_length=100)
    priority: int = 100
    models: list[str] = Field(default_factory=list, max_length=100)
    base_url: str | None = Field(default=None, max_length=2000)
    options: dict[str, str] = Field(default_factory=dict, max_length=10)
    monthly_usd: Decimal | None = Field(
        default=None,
        gt=0,
        lt=MAX_AMOUNT,
        max_digits=19,
        decimal_places=8,
        allow_inf_nan=False,
        description="Most dollars a month through this key: a budget, set together with it.",
    )


class KeyPatch(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    secret: SecretStr | None = Field(default=None, description="A new secret in the place of the present one.")
    owner: str | None = Field(default=None, max_length=100, description="An empty text takes the owner away.")
    priority: int | None = None
    models: list[str] | None = Field(default=None, max_length=100)
    enabled: bool | None = None


class KeyTestOut(BaseModel):
    ok: bool
    seconds: float
    models: list[str] = Field(description="What the provider lists for this key, the first 500.")
    code: str | None
    message: str | None


class RouteBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    provider: Provider
    model: str | None = Field(default=None, max_length=200, description="None: the provider's default.")
    key: str | None = Field(default=None, max_length=100, description="Name or id of a key; none: each in its order.")


class RoutesBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    routes: list[RouteBody] = Field(max_length=50, description="Empty: the order follows from the keys.")


class AcceptedRotationOut(BaseModel):
    job_id: UUID
    status_url: str


def routes(
    keys: KeyService, budgets: BudgetService, waiting: WaitingRuns, sessions: Sessions, guard: Guard
) -> APIRouter:
    router = APIRouter(prefix="/api/keys", tags=["keys"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.MODELS_READ))
    Admin = Annotated[Principal, Depends(guard.requires(Permission.MODELS_ADMIN))]  # noqa: N806 - a type

    @router.get("", dependencies=[reader])
    async def list_keys(limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, after: str | None = None) -> KeyPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await keys.page(session, after=cursor, limit=limit + 1)
            page = to_page(rows, limit, lambda row: row.id)
            return KeyPage(items=await outs(session, page.items), next=page.next)

    async def outs(session: AsyncSession, rows: Sequence[ProviderKey]) -> list[KeyOut]:
        uses = await keys.last_uses(session, [row.id for row in rows])
        return [_out(row, uses.get(row.id)) for row in rows]

    @router.post("", status_code=201)
    async def add_key(body: KeyIn, by: Admin) -> KeyOut:
        """Seal a key in the vault. It is used at once, by every replica."""
        async with unit_of_work(sessions) as session:
            key = await keys.add(session, by.actor, _new(body))
            if body.monthly_usd is not None:  # in one transaction: no key is used without the limit it was given
                limit = NewBudget(Scope.KEY, key.id, Unit.USD, Window.MONTH, body.monthly_usd)
                await budgets.put(session, by.actor, limit)
            await waiting.models_changed(session)
            return _out(key, None)

    @router.get("/{key}", dependencies=[reader])
    async def show_key(key: str) -> KeyOut:
        async with unit_of_work(sessions) as session:
            return (await outs(session, [await keys.get(session, key)]))[0]

    @router.patch("/{key}")
    async def change_key(key: str, body: KeyPatch, by: Admin) -> KeyOut:
        models = None if body.models is None else tuple(body.models)
        changes = KeyChanges(body.secret, body.owner, body.priority, models, body.enabled)
        async with unit_of_work(sessions) as session:
            row = await keys.change(session, by.actor, key, changes)
            await waiting.models_changed(session)
            return (await outs(session, [row]))[0]

    @router.delete("/{key}", status_code=204)
    async def remove_key(key: str, by: Admin) -> None:
        """Its secret is gone at once, and its limits; what it was used for stays in the ledger."""
        async with unit_of_work(sessions) as session:
            gone = await keys.remove(session, by.actor, key)
            await budgets.remove_all_of(session, by.actor, Scope.KEY, gone)

    return router


def care_routes(tester: KeyTester, jobs: JobService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/keys", tags=["keys"], route_class=GuardedRoute)
    Admin = Annotated[Principal, Depends(guard.requires(Permission.MODELS_ADMIN))]  # noqa: N806 - a type

    @router.post("/rotate", status_code=202)
    async def rotate_keys(by: Admin) -> AcceptedRotationOut:
        """Wrap every stored key anew with the vault's current key. Calls go on meanwhile; nothing has to stop."""
        async with unit_of_work(sessions) as session:
            id_ = await jobs.start(session, ROTATE_JOB, {}, actor=by.actor)
        return AcceptedRotationOut(job_id=id_, status_url=f"/api/jobs/{id_}")

    @router.post("/{key}/test", dependencies=[Depends(guard.requires(Permission.MODELS_ADMIN))])
    async def test_key(key: str) -> KeyTestOut:
        """Ask the provider for its models with this key: it costs nothing. A refused key that passes is used again."""
        found = await tester.test(key)
        return KeyTestOut(
            ok=found.ok, seconds=found.seconds, models=found.models, code=found.code, message=found.message
        )

    return router


def route_routes(keys: KeyService, waiting: WaitingRuns, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/routes", tags=["keys"], route_class=GuardedRoute)
    Admin = Annotated[Principal, Depends(guard.requires(Permission.MODELS_ADMIN))]  # noqa: N806 - a type

    @router.get("", dependencies=[Depends(guard.requires(Permission.MODELS_READ))])
    async def show_routes() -> RoutesBody:
        """The ordered list of routes. LLM_PROVIDER, where it is set, comes before it."""
        async with unit_of_work(sessions) as session:
            return await listed(session)

    @router.put("")
    async def set_routes(body: RoutesBody, by: Admin) -> RoutesBody:
        """The whole list anew. It is in force within a second, everywhere, without a restart."""
        wishes = [RouteWish(route.provider, route.model, route.key) for route in body.routes]
        async with unit_of_work(sessions) as session:
            await keys.set_routes(session, by.actor, wishes)
            await waiting.models_changed(session)
            return await listed(session)

    async def listed(session: AsyncSession) -> RoutesBody:
        rows = await keys.routes(session)
        names = {id_: (await keys.get(session, str(id_))).name for id_ in {row.key_id for row in rows} if id_}
        return RoutesBody(
            routes=[
                RouteBody(
                    provider=Provider(row.provider), model=row.model, key=names[row.key_id] if row.key_id else None
                )
                for row in rows
            ]
        )

    return router


def _new(body: KeyIn) -> NewKey:
    return NewKey(
        provider=body.provider,
        name=body.name,
        secret=body.secret,
        owner=body.owner,
        priority=body.priority,
        models=tuple(body.models),
        base_url=body.base_url,
        options=body.options,
    )


def _out(row: ProviderKey, used: datetime | None) -> KeyOut:
    return KeyOut(
        id=row.id,
        name=row.name,
        provider=Provider(row.provider),
        owner=row.owner,
        priority=row.priority,
        models=list(row.models),
        base_url=row.base_url,
        options=row.options,
        status=KeyStatus(row.status),
        reason=row.reason,
        fingerprint=row.fingerprint,
        version=row.version,
        created_by=row.created_by,
        created_at=row.created_at,
        last_used_at=used,
    )
