"""SQL of webhooks: endpoints, the outbox of deliveries, and who has which of them at work."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, func, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.webhooks.models import DeliveryStatus, EndpointStatus, WebhookDelivery, WebhookEndpoint
from atom.kit.ids import new_id, parse_id

# One delivery of an endpoint at a time: one that does not answer must not keep all senders busy.
TAKE = text(
    "UPDATE webhook_delivery SET attempts = attempts + 1, leased_until = now() + make_interval(secs => :seconds)"
    " WHERE id = (SELECT d.id FROM webhook_delivery d WHERE d.status = 'pending' AND d.next_at <= now()"
    " AND (d.leased_until IS NULL OR d.leased_until <= now()) AND NOT EXISTS (SELECT 1 FROM webhook_delivery o"
    " WHERE o.endpoint_id = d.endpoint_id AND o.id <> d.id AND o.leased_until > now())"
    " ORDER BY d.next_at, d.id LIMIT 1 FOR UPDATE OF d SKIP LOCKED)"
    " RETURNING id, endpoint_id, attempts, body, created_at < now() - make_interval(secs => :give_up) AS old"
)
TIDY = text(
    "DELETE FROM webhook_delivery WHERE id IN (SELECT id FROM webhook_delivery"
    " WHERE ended_at < now() - make_interval(secs => :seconds) LIMIT :limit)"
)


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that this sender has, until its lease ends. `old`: this try is the last one."""

    id: UUID
    endpoint_id: UUID
    attempts: int
    body: str
    old: bool


async def add(session: AsyncSession, values: dict[str, Any]) -> bool:
    """False when the name is taken."""
    statement = pg_insert(WebhookEndpoint).values(created_at=func.now(), status="active", **values)
    return await session.scalar(statement.on_conflict_do_nothing().returning(WebhookEndpoint.id)) is not None


async def named(session: AsyncSession, ref: str) -> WebhookEndpoint | None:
    """By name or id; not what was removed."""
    id_ = parse_id(ref)
    which = func.lower(WebhookEndpoint.name) == ref.lower() if id_ is None else WebhookEndpoint.id == id_
    query = select(WebhookEndpoint).where(which, WebhookEndpoint.removed_at.is_(None))
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def by_id(session: AsyncSession, id_: UUID) -> WebhookEndpoint | None:
    return await session.get(WebhookEndpoint, id_, populate_existing=True)


async def page(session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[WebhookEndpoint]:
    query = select(WebhookEndpoint).where(WebhookEndpoint.removed_at.is_(None))
    if before is not None:
        query = query.where(WebhookEndpoint.id < before)
    return (await session.scalars(query.order_by(WebhookEndpoint.id.desc()).limit(limit))).all()


async def listening(session: AsyncSession, type_: str, *, limit: int) -> Sequence[UUID]:
    query = select(WebhookEndpoint.id).where(
        WebhookEndpoint.removed_at.is_(None),
        WebhookEndpoint.status == EndpointStatus.ACTIVE,
        literal(type_) == func.any(WebhookEndpoint.types),
    )
    return (await session.scalars(query.order_by(WebhookEndpoint.id).limit(limit))).all()


async def change(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    await session.execute(update(WebhookEndpoint).where(WebhookEndpoint.id == id_).values(**values))


async def remove(session: AsyncSession, id_: UUID) -> None:
    """What is left to send to it is given up."""
    await change(session, id_, {"removed_at": func.now()})
    await give_up_all(session, id_, "The webhook was removed.")


async def give_up_all(session: AsyncSession, endpoint_id: UUID, reason: str) -> None:
    ended = {"status": DeliveryStatus.FAILED.value, "ended_at": func.now(), "last_error": reason, "leased_until": None}
    await session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.status == DeliveryStatus.PENDING)
        .values(**ended)
    )


async def enqueue(session: AsyncSession, endpoint_id: UUID, type_: str, body: str) -> UUID:
    id_ = new_id()
    values = {"id": id_, "endpoint_id": endpoint_id, "type": type_, "body": body, "status": "pending", "attempts": 0}
    await session.execute(insert(WebhookDelivery).values(created_at=func.now(), next_at=func.now(), **values))
    return id_


async def take(session: AsyncSession, *, seconds: float, give_up: float) -> Taken | None:
    row = (await session.execute(TAKE, {"seconds": seconds, "give_up": give_up})).one_or_none()
    return None if row is None else Taken(*row)


async def record(session: AsyncSession, taken: Taken, values: dict[str, Any], *, again_in: float | None) -> bool:
    """The end of a try. False when another sender has taken it since. `again_in`: seconds to the next one."""
    later = {} if again_in is None else {"next_at": func.now() + func.make_interval(0, 0, 0, 0, 0, 0, again_in)}
    ended = {"ended_at": func.now()} if again_in is None else {}
    statement = (
        update(WebhookDelivery)
        .where(
            WebhookDelivery.id == taken.id,
            WebhookDelivery.attempts == taken.attempts,
            WebhookDelivery.status == DeliveryStatus.PENDING,
        )
        .values(leased_until=None, **later, **ended, **values)
    )
    return cast(CursorResult[Any], await session.execute(statement)).rowcount == 1


async def deliveries(
    session: AsyncSession, endpoint_id: UUID, *, status: DeliveryStatus | None, before: UUID | None, limit: int
) -> Sequence[WebhookDelivery]:
    query = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    if status is not None:
        query = query.where(WebhookDelivery.status == status.value)
    if before is not None:
        query = query.where(WebhookDelivery.id < before)
    query = query.order_by(WebhookDelivery.id.desc()).limit(limit).execution_options(populate_existing=True)
    return (await session.scalars(query)).all()


async def tidy(session: AsyncSession, *, seconds: float, limit: int) -> None:
    await session.execute(TIDY, {"seconds": seconds, "limit": limit})


async def sealed_otherwise(session: AsyncSession, kek_id: str, *, after: UUID, limit: int) -> Sequence[UUID]:
    """Those whose secret is wrapped by another key-encryption key."""
    query = select(WebhookEndpoint.id).where(WebhookEndpoint.kek_id != kek_id, WebhookEndpoint.removed_at.is_(None))
    query = query.where(WebhookEndpoint.id > after).order_by(WebhookEndpoint.id).limit(limit)
    return (await session.scalars(query)).all()


async def locked(session: AsyncSession, id_: UUID) -> WebhookEndpoint | None:
    query = select(WebhookEndpoint).where(WebhookEndpoint.id == id_, WebhookEndpoint.removed_at.is_(None))
    return (await session.scalars(query.with_for_update().execution_options(populate_existing=True))).one_or_none()
