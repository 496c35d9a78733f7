"""SQL of the job table."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.lease import unowned
from atom.durable.models import Job, JobStatus

OPEN = (JobStatus.QUEUED.value, JobStatus.RUNNING.value)


async def add(session: AsyncSession, values: dict[str, Any]) -> None:
    await session.execute(
        insert(Job).values(status=JobStatus.QUEUED, done=0, lease_epoch=0, crashes=0, created_at=func.now(), **values)
    )


async def get(session: AsyncSession, id_: UUID) -> Job | None:
    return await session.get(Job, id_, populate_existing=True)


async def page(session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[Job]:
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    return (await session.scalars(query)).all()


async def waiting(session: AsyncSession, *, limit: int) -> Sequence[UUID]:
    query = select(Job.id).where(Job.status.in_(OPEN), unowned(Job)).order_by(Job.id).limit(limit)
    return (await session.scalars(query)).all()


async def request_cancel(session: AsyncSession, id_: UUID) -> None:
    """A queued job ends at once; a running one is told and ends by itself."""
    await session.execute(update(Job).where(Job.id == id_, Job.status.in_(OPEN)).values(cancel_requested_at=func.now()))
    await session.execute(
        update(Job)
        .where(Job.id == id_, Job.status == JobStatus.QUEUED)
        .values(status=JobStatus.CANCELLED, ended_at=func.now())
    )
