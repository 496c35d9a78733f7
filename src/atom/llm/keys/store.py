"""SQL of provider keys and routes."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.llm.keys.models import KeyStatus, LlmConfig, LlmRoute, ProviderKey

MAX_KEYS = 10_000
ONE_VIEW = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
LAST_USES = text("SELECT key_id, max(at) AS at FROM llm_call WHERE key_id = ANY(:ids) GROUP BY key_id")
COUNT_TO_REWRAP = text("SELECT count(*) FROM vault_use WHERE kek_id <> :kek_id")
TO_REWRAP = text(
    "SELECT id FROM provider_key WHERE kek_id <> :kek_id AND removed_at IS NULL AND id > :after"
    " ORDER BY id LIMIT :limit"
)


async def one_view(session: AsyncSession) -> None:
    """The first statement of a transaction whose reads belong together."""
    await session.execute(ONE_VIEW)


async def version(session: AsyncSession) -> int:
    return await session.scalar(select(LlmConfig.version)) or 0


async def add(session: AsyncSession, values: dict[str, Any]) -> bool:
    """False when the name is taken."""
    statement = pg_insert(ProviderKey).values(**values).on_conflict_do_nothing().returning(ProviderKey.id)
    return await session.scalar(statement) is not None


async def get(session: AsyncSession, id_: UUID) -> ProviderKey | None:
    query = select(ProviderKey).where(ProviderKey.id == id_, ProviderKey.removed_at.is_(None))
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def by_name(session: AsyncSession, name: str) -> ProviderKey | None:
    query = select(ProviderKey).where(func.lower(ProviderKey.name) == name.lower(), ProviderKey.removed_at.is_(None))
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def names(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, str]:
    """Of removed ones too."""
    rows = await session.execute(select(ProviderKey.id, ProviderKey.name).where(ProviderKey.id.in_(ids)))
    return {row.id: row.name for row in rows.all()}


async def locked(session: AsyncSession, id_: UUID) -> ProviderKey | None:
    query = select(ProviderKey).where(ProviderKey.id == id_, ProviderKey.removed_at.is_(None)).with_for_update()
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def page(session: AsyncSession, *, after: UUID | None, limit: int) -> Sequence[ProviderKey]:
    query = select(ProviderKey).where(ProviderKey.removed_at.is_(None)).order_by(ProviderKey.id).limit(limit)
    if after is not None:
        query = query.where(ProviderKey.id > after)
    return (await session.scalars(query)).all()


async def usable(session: AsyncSession) -> Sequence[ProviderKey]:
    """For routing: in the order in which they are tried."""
    query = select(ProviderKey).where(ProviderKey.removed_at.is_(None), ProviderKey.status != KeyStatus.DISABLED.value)
    ordered = query.order_by(ProviderKey.priority, ProviderKey.id).limit(MAX_KEYS)
    return (await session.scalars(ordered.execution_options(populate_existing=True))).all()


async def change(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    await session.execute(update(ProviderKey).where(ProviderKey.id == id_).values(**values))


async def mark(
    session: AsyncSession, id_: UUID, *, version: int, status: KeyStatus, was: KeyStatus, reason: str | None
) -> bool:
    """False when the key has changed meanwhile: what was learnt is about another secret."""
    statement = (
        update(ProviderKey)
        .where(
            ProviderKey.id == id_,
            ProviderKey.version == version,
            ProviderKey.status == was.value,
            ProviderKey.removed_at.is_(None),
        )
        .values(status=status.value, reason=reason)
        .returning(ProviderKey.id)
    )
    return await session.scalar(statement) is not None


async def to_rewrap(session: AsyncSession, kek_id: str, *, after: UUID, limit: int) -> Sequence[UUID]:
    return list((await session.scalars(TO_REWRAP, {"kek_id": kek_id, "after": after, "limit": limit})).all())


async def count_to_rewrap(session: AsyncSession, kek_id: str) -> int:
    """Of everything that is sealed, provider keys or not."""
    return await session.scalar(COUNT_TO_REWRAP, {"kek_id": kek_id}) or 0


async def last_uses(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, datetime]:
    rows = (await session.execute(LAST_USES, {"ids": list(ids)})).all()
    return {row.key_id: row.at for row in rows}


async def routes(session: AsyncSession) -> Sequence[LlmRoute]:
    query = select(LlmRoute).order_by(LlmRoute.position).limit(50)
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def set_routes(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    await session.execute(delete(LlmRoute))
    if rows:
        await session.execute(insert(LlmRoute), list(rows))


async def drop_routes_of(session: AsyncSession, key_id: UUID) -> None:
    await session.execute(delete(LlmRoute).where(LlmRoute.key_id == key_id))
