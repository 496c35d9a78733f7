"""SQL of named grants."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.governance.grants.models import ActionGrant
from atom.kit.ids import new_id


async def add(session: AsyncSession, values: dict[str, Any], *, days: int | None) -> UUID:
    id_ = new_id()
    expires = None if days is None else func.now() + func.make_interval(0, 0, 0, days)
    await session.execute(insert(ActionGrant).values(id=id_, granted_at=func.now(), expires_at=expires, **values))
    return id_


async def revoke(session: AsyncSession, agent_id: UUID, action: str, *, by: str) -> bool:
    """Also one whose time is over, so that another can be given. True when one was in force."""
    live = or_(ActionGrant.expires_at.is_(None), ActionGrant.expires_at > func.now())
    statement = (
        update(ActionGrant)
        .where(ActionGrant.agent_id == agent_id, ActionGrant.action == action, ActionGrant.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_by=by)
        .returning(live)
    )
    return bool(await session.scalar(statement))


async def get(session: AsyncSession, id_: UUID) -> tuple[ActionGrant, str]:
    """With its agent's name."""
    query = select(ActionGrant, Agent.name).join(Agent, Agent.id == ActionGrant.agent_id).where(ActionGrant.id == id_)
    row = (await session.execute(query)).one()
    return row[0], row[1]


async def page(
    session: AsyncSession, *, agent_id: UUID | None, ended: bool, before: UUID | None, limit: int
) -> Sequence[tuple[ActionGrant, str]]:
    """The newest first. `ended`: also those that expired or were taken back."""
    query = select(ActionGrant, Agent.name).join(Agent, Agent.id == ActionGrant.agent_id)
    query = query.order_by(ActionGrant.id.desc()).limit(limit)
    if not ended:
        live = or_(ActionGrant.expires_at.is_(None), ActionGrant.expires_at > func.now())
        query = query.where(ActionGrant.revoked_at.is_(None), live)
    if agent_id is not None:
        query = query.where(ActionGrant.agent_id == agent_id)
    if before is not None:
        query = query.where(ActionGrant.id < before)
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]
