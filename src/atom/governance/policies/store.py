"""SQL of policies."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, null, select
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.policies.models import Policy, PolicyEpoch

LOCK = select(PolicyEpoch.version).with_for_update()  # applies are one after the other: a version is given once
IN_FORCE = sql("""
SELECT e.version || ':' || e.xmin AS stamp, p.name, p.document
FROM policy_epoch e LEFT JOIN (
    SELECT DISTINCT ON (name) name, source, document FROM policy ORDER BY name, version DESC
) p ON p.source IS NOT NULL
ORDER BY p.name
""")


async def lock(session: AsyncSession) -> None:
    await session.execute(LOCK)


async def in_force(session: AsyncSession) -> tuple[str, list[tuple[str, Any]]]:
    """The stamp of the epoch, and what was in force at it: one statement, so that they belong together."""
    rows = (await session.execute(IN_FORCE)).all()
    return rows[0].stamp, [(row.name, row.document) for row in rows if row.name is not None]


async def add(session: AsyncSession, *, name: str, version: int, text: tuple[str, Any] | None, by: str) -> None:
    """`text`: the source and what it says; None: the version that removes the policy."""
    source, document = text if text is not None else (None, null())  # JSON's null would be a document
    statement = insert(Policy).values(name=name, version=version, source=source, document=document, applied_by=by)
    await session.execute(statement.values(applied_at=func.now()))


async def latest(session: AsyncSession, name: str) -> Policy | None:
    query = select(Policy).where(Policy.name == name).order_by(Policy.version.desc()).limit(1)
    return (await session.scalars(query)).one_or_none()


async def version(session: AsyncSession, name: str, number: int) -> Policy | None:
    return await session.get(Policy, (name, number))


async def versions(session: AsyncSession, name: str, *, below: int | None, limit: int) -> Sequence[Policy]:
    query = select(Policy).where(Policy.name == name).order_by(Policy.version.desc()).limit(limit)
    if below is not None:
        query = query.where(Policy.version < below)
    return (await session.scalars(query)).all()


async def page(session: AsyncSession, *, after: str | None, limit: int) -> Sequence[Policy]:
    """The present version of each policy that is in force, by name."""
    newest = select(Policy).ext(distinct_on(Policy.name)).order_by(Policy.name, Policy.version.desc())
    if after is not None:
        newest = newest.where(Policy.name > after)
    found = newest.subquery()
    query = select(Policy).join(found, (Policy.name == found.c.name) & (Policy.version == found.c.version))
    query = query.where(Policy.source.is_not(None)).order_by(Policy.name).limit(limit)
    return (await session.scalars(query)).all()
