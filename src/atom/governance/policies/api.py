"""REST: policies."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from atom.errors import InvalidError
from atom.governance.policies.document import MAX_BYTES
from atom.governance.policies.models import Policy
from atom.governance.policies.service import Applied, PolicyService, diff
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT

MAX_VERSION = 2**31 - 1


class PolicyIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    source: str = Field(max_length=MAX_BYTES, description="One YAML document; its field `policy` is its name.")
    dry_run: bool = Field(default=False, description="Check and compare it; change nothing.")


class RollBackIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: int = Field(ge=1, le=MAX_VERSION)


class AppliedOut(BaseModel):
    name: str
    version: int
    changed: bool = Field(description="False: this text is in force already.")
    rules: int
    warnings: list[str] = Field(description="Names in it that nothing and nobody has.")
    diff: str = Field(description="Against the version before, in the unified format.")


class PolicyOut(BaseModel):
    name: str
    version: int
    removed: bool
    source: str | None
    document: dict[str, Any] | None
    applied_by: str
    applied_at: datetime


class PolicyPage(BaseModel):
    items: list[PolicyOut]
    next: str | None


class PolicyDiffOut(BaseModel):
    name: str
    before: int
    after: int
    diff: str


class RemovedPolicyOut(BaseModel):
    name: str
    version: int = Field(description="The version that removes it.")


Name = Annotated[str, Field(max_length=100)]


def policy_routes(policies: PolicyService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/governance/policies", tags=["governance"], route_class=GuardedRoute)
    Admin = Annotated[Principal, Depends(guard.requires(Permission.GOVERNANCE_ADMIN))]  # noqa: N806 - a type

    @router.post("")
    async def apply_policy(body: PolicyIn, by: Admin) -> AppliedOut:
        """Put a policy in force, on every replica with the next decision. The same text again changes nothing."""
        async with unit_of_work(sessions) as session:
            return _applied(await policies.apply(session, by.actor, body.source, dry_run=body.dry_run))

    @router.post("/{policy}/rollback")
    async def roll_back_policy(policy: Name, body: RollBackIn, by: Admin) -> AppliedOut:
        """Apply an older version anew, as a new version."""
        async with unit_of_work(sessions) as session:
            return _applied(await policies.roll_back(session, by.actor, policy, body.version))

    @router.delete("/{policy}")
    async def remove_policy(policy: Name, by: Admin) -> RemovedPolicyOut:
        """Take it out of force. Its versions stay."""
        async with unit_of_work(sessions) as session:
            return RemovedPolicyOut(name=policy, version=await policies.remove(session, by.actor, policy))

    _reading(router, policies, sessions, guard)
    return router


def _reading(router: APIRouter, policies: PolicyService, sessions: Sessions, guard: Guard) -> None:
    reader = [Depends(guard.requires(Permission.GOVERNANCE_READ))]

    @router.get("", dependencies=reader)
    async def list_policies(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, after: str | None = None
    ) -> PolicyPage:
        """Those in force, by name."""
        async with unit_of_work(sessions) as session:
            rows = await policies.page(session, after=_plain(after), limit=limit + 1)
        return PolicyPage(
            items=[_out(row) for row in rows[:limit]], next=rows[limit - 1].name if len(rows) > limit else None
        )

    @router.get("/{policy}", dependencies=reader)
    async def show_policy(
        policy: Name, version: Annotated[int | None, Query(ge=1, le=MAX_VERSION)] = None
    ) -> PolicyOut:
        """The version in force, or another one."""
        async with unit_of_work(sessions) as session:
            return _out(await policies.get(session, _plain(policy) or "", version))

    @router.get("/{policy}/versions", dependencies=reader)
    async def list_policy_versions(
        policy: Name, limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, after: str | None = None
    ) -> PolicyPage:
        """Every version, the newest first, the removals among them."""
        below = _number(after)
        async with unit_of_work(sessions) as session:
            rows = await policies.versions(session, _plain(policy) or "", below=below, limit=limit + 1)
        more = str(rows[limit - 1].version) if len(rows) > limit else None
        return PolicyPage(items=[_out(row) for row in rows[:limit]], next=more)

    @router.get("/{policy}/diff", dependencies=reader)
    async def compare_policy(
        policy: Name,
        before: Annotated[int, Query(ge=1, le=MAX_VERSION)],
        after_version: Annotated[int | None, Query(alias="version", ge=1, le=MAX_VERSION)] = None,
    ) -> PolicyDiffOut:
        """What changed from one version to another one, or to the one in force."""
        async with unit_of_work(sessions) as session:
            old = await policies.get(session, _plain(policy) or "", before)
            new = await policies.get(session, old.name, after_version)
        compared = diff(old.source or "", new.source or "", old.name, old.version, new.version)
        return PolicyDiffOut(name=old.name, before=old.version, after=new.version, diff=compared)


def _plain(text: str | None) -> str | None:
    """What PostgreSQL can compare."""
    return None if text is None else text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _number(after: str | None) -> int | None:
    if after is None:
        return None
    if not (after.isascii() and after.isdecimal() and int(after[:20]) <= MAX_VERSION):
        raise InvalidError("after: this is not a cursor.", hint="Take the value of `next` of the page before.")
    return int(after)


def _applied(applied: Applied) -> AppliedOut:
    return AppliedOut(
        name=applied.name,
        version=applied.version,
        changed=applied.changed,
        rules=applied.rules,
        warnings=list(applied.warnings),
        diff=applied.diff,
    )


def _out(row: Policy) -> PolicyOut:
    return PolicyOut(
        name=row.name,
        version=row.version,
        removed=row.source is None,
        source=row.source,
        document=row.document,
        applied_by=row.applied_by,
        applied_at=row.applied_at,
    )
