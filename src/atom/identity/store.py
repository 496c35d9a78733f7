"""SQL of users and API keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from atom.identity.models import ApiKey, Role

ADMIN_LOCK = 0x41544F4D_0004


async def add_key(session: AsyncSession, values: dict[str, Any]) -> None:
    await session.execute(insert(ApiKey).values(created_at=func.now(), **values))


async def live_key(session: AsyncSession, key_id: str) -> ApiKey | None:
    """The key if it is neither revoked nor expired, by the database's clock."""
    query = select(ApiKey).where(
        ApiKey.key_id == key_id,
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
    )
    return (await session.scalars(query)).one_or_none()


async def touch(session: AsyncSession, id_: UUID, at: datetime) -> None:
    await session.execute(update(ApiKey).where(ApiKey.id == id_).values(last_used_at=at))


async def get_key(session: AsyncSession, id_: UUID) -> ApiKey | None:
    return await session.get(ApiKey, id_, populate_existing=True)


async def page(session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[ApiKey]:
    query = select(ApiKey).order_by(ApiKey.id.desc()).limit(limit)
    if before is not None:
        query = query.where(ApiKey.id < before)
    return (await session.scalars(query)).all()


async def revoke(session: AsyncSession, id_: UUID) -> bool:
    """True when the key was live until now."""
    statement = update(ApiKey).where(ApiKey.id == id_, ApiKey.revoked_at.is_(None)).values(revoked_at=func.now())
    return cast(CursorResult[Any], await session.execute(statement)).rowcount == 1


async def other_admin(session: AsyncSession, id_: UUID) -> bool:
    """Whether an admin key beside this one works."""
    live = ApiKey.revoked_at.is_(None) & (ApiKey.expires_at.is_(None) | (ApiKey.expires_at > func.now()))
    query = select(ApiKey.id).where(ApiKey.id != id_, ApiKey.role == Role.ADMIN.value, live).limit(1)
    return await session.scalar(query) is not None


async def lock_admin(session: AsyncSession) -> None:
    """One process at a time decides whether an admin is left."""
    await session.execute(select(func.pg_advisory_xact_lock(ADMIN_LOCK)))


async def any_key(session: AsyncSession) -> bool:
    return await session.scalar(select(ApiKey.id).limit(1)) is not None
