"""A lease with a fencing epoch: who may write to a row now, by the database's clock.

Claiming is a compare-and-set that raises the epoch by one. Each later write of the owner names its epoch and touches no
row once another has claimed, so that a worker that was away too long can never write.
"""

from datetime import datetime
from functools import cache
from typing import Any, cast
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import ColumnElement, CursorResult, Float, Table, Update, bindparam, func, inspect, or_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from atom.errors import ConflictError
from atom.infra.db import BigInt


class FencedError(ConflictError):
    """Another worker owns the row now: stop at once, write nothing."""

    code = "fenced"


class Leased:
    """Columns of a table whose rows one worker at a time works on."""

    id: Mapped[UUID]
    lease_owner: Mapped[str | None] = mapped_column(sort_order=90)
    lease_epoch: Mapped[BigInt] = mapped_column(sort_order=91)
    lease_expires_at: Mapped[datetime | None] = mapped_column(sort_order=92)
    crashes: Mapped[int] = mapped_column(sort_order=93)


def _until(seconds: float) -> ColumnElement[datetime]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def unowned(table: type[Leased]) -> ColumnElement[bool]:
    """No worker holds it, or its worker has been silent for too long."""
    return or_(table.lease_expires_at.is_(None), table.lease_expires_at < func.now())


async def claim(
    session: AsyncSession, table: type[Leased], id_: UUID, *, owner: str, seconds: float, also: ColumnElement[bool]
) -> int | None:
    """Take the row if nobody holds it and `also` is true. Returns the new epoch, None when it is not to be had.

    A lease that ran out without being released is the trace of a crash, and counted in `crashes`.
    """
    statement = (
        update(table)
        .where(table.id == id_, unowned(table), also)
        .values(
            lease_owner=owner,
            lease_epoch=table.lease_epoch + 1,
            lease_expires_at=_until(seconds),
            crashes=table.crashes + func.num_nonnulls(table.lease_expires_at),
        )
        .returning(table.lease_epoch)
    )
    return cast(int | None, await session.scalar(statement))


@cache
def _owned(rows: Table) -> Update:
    """The row, if it is still this owner's. Built once for a table: every step writes it."""
    mine = (rows.c.id == bindparam("of_row"), rows.c.lease_epoch == bindparam("of_epoch"))
    return update(rows).where(*mine, rows.c.lease_owner.is_not(None))


@cache
def _renewal(rows: Table) -> Update:
    seconds: ColumnElement[float] = bindparam("for_seconds", type_=Float)
    return _owned(rows).values(lease_expires_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds))


async def write(
    session: AsyncSession, table: type[Leased], id_: UUID, *, epoch: int, seconds: float | None, values: dict[str, Any]
) -> None:
    """Write `values` as owner of `epoch` and extend the lease by `seconds`; None releases it. Raises FencedError."""
    rows: Table = inspect(table).local_table
    bound: dict[str, Any] = {"of_row": id_, "of_epoch": epoch}
    if seconds is None:
        statement = _owned(rows).values(lease_owner=None, lease_expires_at=None, **values)
    else:
        bound["for_seconds"] = seconds
        statement = _renewal(rows)
        if values:
            statement = statement.values(**values)
    result = cast(CursorResult[Any], await session.execute(statement, bound))
    if result.rowcount != 1:
        raise FencedError("Another worker has taken this over; this write was refused.", epoch=epoch)


def fenced_counter(registry: CollectorRegistry) -> Counter:
    return Counter("atom_fenced_writes_total", "Writes refused because another worker owns the row.", registry=registry)
