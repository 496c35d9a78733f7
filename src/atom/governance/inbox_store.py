"""SQL of the inbox: approvals by what people look for, and standing delegations."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Select,
    all_,
    and_,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.governance.eyes import ROLE
from atom.governance.tables import Approval, ApprovalDelegation, ApprovalStatus
from atom.kit.ids import new_id, parse_id


@dataclass(frozen=True, slots=True)
class Decider:
    """Somebody who may decide, if their role `may` at all: by name as names are compared."""

    name: str
    role: str
    admin: bool
    may: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for; None is anything. `agent`: name or id. `mine`: open ones that this person may decide now."""

    status: ApprovalStatus | None = None
    agent: str | None = None
    action: str | None = None
    run_id: UUID | None = None
    requested_by: str | None = None
    assignee: str | None = None
    digest: str | None = None
    expires_before: datetime | None = None
    mine: Decider | None = None


async def page(
    session: AsyncSession, wanted: Wanted, *, before: UUID | None, limit: int
) -> Sequence[tuple[Approval, str]]:
    query = select(Approval, Agent.name).join(Agent, Agent.id == Approval.agent_id).where(*_conditions(wanted))
    if before is not None:
        query = query.where(Approval.id < before)
    query = query.order_by(Approval.id.desc()).limit(limit).execution_options(populate_existing=True)
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]


async def counts(session: AsyncSession) -> dict[str, int]:
    rows = await session.execute(select(Approval.status, func.count()).group_by(Approval.status))
    return {row[0]: row[1] for row in rows.all()}


async def count(session: AsyncSession, wanted: Wanted) -> int:
    query = select(func.count()).select_from(Approval).join(Agent, Agent.id == Approval.agent_id)
    return await session.scalar(query.where(*_conditions(wanted))) or 0


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    exact = {
        Approval.status: wanted.status and wanted.status.value,
        Approval.action: wanted.action,
        Approval.execution_id: wanted.run_id,
        Approval.requested_by: wanted.requested_by,
        Approval.assignee: wanted.assignee,
        Approval.digest: wanted.digest,
    }
    found: list[ColumnElement[bool]] = [column == value for column, value in exact.items() if value is not None]
    if wanted.agent is not None:
        id_ = parse_id(wanted.agent)
        found.append(Agent.name == wanted.agent if id_ is None else Agent.id == id_)
    if wanted.expires_before is not None:
        found.append(Approval.expires_at < wanted.expires_before)
    if wanted.mine is not None:
        found.append(_decidable(wanted.mine))
    return found


def _decidable(by: Decider) -> ColumnElement[bool]:
    """The same rule as `ApprovalService` follows when somebody decides."""
    if not by.may:
        return false()
    open_now = and_(Approval.status == ApprovalStatus.PENDING, Approval.expires_at > func.now())
    theirs = or_(
        Approval.assignee.is_(None),
        Approval.assignee.in_((by.name, f"{ROLE}{by.role}")),
        Approval.assignee.in_(_deputised(by.name)),
    )
    seen = and_(open_now, literal(by.name) != all_(Approval.withheld))
    return seen if by.admin else and_(seen, theirs)


def _deputised(name: str) -> Select[str]:
    """The people for whom `name` may decide now."""
    return select(ApprovalDelegation.from_person).where(
        ApprovalDelegation.to_person == name,
        ApprovalDelegation.revoked_at.is_(None),
        ApprovalDelegation.until > func.now(),
    )


async def is_deputy(session: AsyncSession, name: str, of: str) -> bool:
    query = _deputised(name).where(ApprovalDelegation.from_person == of).limit(1)
    return await session.scalar(query) is not None


async def add_delegation(session: AsyncSession, values: dict[str, Any]) -> UUID:
    id_ = new_id()
    await session.execute(insert(ApprovalDelegation).values(id=id_, created_at=func.now(), **values))
    return id_


async def delegation(session: AsyncSession, id_: UUID) -> ApprovalDelegation | None:
    return await session.get(ApprovalDelegation, id_, populate_existing=True)


async def delegations(session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[ApprovalDelegation]:
    query = select(ApprovalDelegation).order_by(ApprovalDelegation.id.desc()).limit(limit)
    if before is not None:
        query = query.where(ApprovalDelegation.id < before)
    return (await session.scalars(query)).all()


async def revoke_delegation(session: AsyncSession, id_: UUID, *, by: str) -> bool:
    statement = (
        update(ApprovalDelegation)
        .where(ApprovalDelegation.id == id_, ApprovalDelegation.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_by=by)
    )
    return cast(CursorResult[Any], await session.execute(statement)).rowcount == 1
