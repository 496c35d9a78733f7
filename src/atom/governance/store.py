"""SQL of audit entries, approvals and the kill switch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CursorResult,
    Float,
    Row,
    Table,
    Text,
    func,
    insert,
    literal_column,
    select,
    text,
    true,
    update,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.governance.tables import Approval, ApprovalStatus, AuditEntry
from atom.kit.ids import new_id

AGENT = cast(Table, Agent.__table__)
AUDIT = insert(cast(Table, AuditEntry.__table__))
HALT = text("SELECT reason, halted_by, halted_at FROM halt")
SET_HALT = text("INSERT INTO halt (reason, halted_by) VALUES (:reason, :by) ON CONFLICT DO NOTHING RETURNING single")
LIFT_HALT = text("DELETE FROM halt RETURNING single")

# The version of a row and the transaction that wrote it: no two states of it have the same stamp, also when one of them
# was rolled back.
AGENT_STAMP = "agent.id || ':' || agent.version || ':' || agent.xmin"
DOOR = text("""
SELECT (SELECT reason FROM halt) AS halted, e.version || ':' || e.xmin AS policies,
    EXISTS (
        SELECT FROM approval
        WHERE execution_id = CAST(:run_id AS uuid) AND step_key = CAST(:step_key AS text)
            AND status IN ('approved', 'rejected')
    ) AS answered,
    agent.id, agent.id || ':' || agent.version || ':' || agent.xmin AS stamp
FROM policy_epoch e LEFT JOIN agent ON agent.id = ANY(:ids)
""")
POLICY_STAMP = text("SELECT version || ':' || xmin FROM policy_epoch")
GRANTED = (
    text("""
SELECT array_agg(g.action) AS actions, min(extract(epoch FROM g.expires_at - clock_timestamp())) AS seconds_left
FROM action_grant g
WHERE g.agent_id = agent.id AND g.revoked_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > clock_timestamp())
""")
    .columns(actions=ARRAY(Text), seconds_left=Float)
    .lateral("granted")
)
STANDINGS = (  # made once: it is part of every look at an agent that is not known
    select(AGENT, literal_column(AGENT_STAMP).label("stamp"), GRANTED.c.actions, GRANTED.c.seconds_left)
    .join(GRANTED, true())
    .where(text("(agent.id = ANY(CAST(:ids AS uuid[])) OR lower(agent.name) = ANY(CAST(:names AS text[])))"))
)


@dataclass(frozen=True, slots=True)
class Door:
    """How things stand when somebody comes: `halted` is why, when everything is. `ids`: the agent, then its callers.

    `answered`: a person has said something to the call of this very step, which nothing has used yet.
    """

    halted: str | None
    policies: str
    ids: tuple[UUID, ...]
    stamp: str
    answered: bool = False


@dataclass(frozen=True, slots=True)
class StandingRow:
    """An agent as it is now, as an object that belongs to no session, with its grants that are in force."""

    agent: Agent
    stamp: str
    grants: frozenset[str]
    seconds_left: float | None


async def door(session: AsyncSession, ids: Iterable[UUID], step: tuple[UUID, str] | None = None) -> Door:
    """One statement for all. An agent that is not there has no stamp. `step`: of a run, the call that is to be made."""
    wanted, (run_id, step_key) = tuple(dict.fromkeys(ids)), step or (None, None)
    named = {"ids": list(wanted), "run_id": run_id, "step_key": step_key}
    rows = (await session.execute(DOOR, named)).all()
    stamps = {row.id: row.stamp for row in rows}
    stamp = joined(stamps.get(id_, "") for id_ in wanted)
    return Door(rows[0].halted, rows[0].policies, wanted, stamp, rows[0].answered)


def joined(stamps: Iterable[str]) -> str:
    return ",".join(stamps)


async def policy_stamp(session: AsyncSession) -> str:
    return str(await session.scalar(POLICY_STAMP))


async def standings(session: AsyncSession, ids: Sequence[UUID], names: Sequence[str]) -> list[StandingRow]:
    """By id, or by name in lower case. Stamp and grants are of one statement: they belong together."""
    rows = [row._asdict() for row in (await session.execute(STANDINGS, {"ids": [*ids], "names": [*names]})).all()]
    return [_standing_row(row) for row in rows]


def _standing_row(row: dict[str, Any]) -> StandingRow:
    stamp, actions, seconds_left = row.pop("stamp"), row.pop("actions"), row.pop("seconds_left")
    return StandingRow(Agent(**row), stamp, frozenset(actions or ()), seconds_left)


async def audit(session: AsyncSession, values: dict[str, Any]) -> None:
    """`at` is the database's time."""
    await session.execute(AUDIT, {"id": new_id(), **values})


async def add_approval(session: AsyncSession, values: dict[str, Any], *, seconds: float) -> UUID:
    id_ = new_id()
    expires = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    await session.execute(
        insert(Approval).values(id=id_, status="pending", requested_at=func.now(), expires_at=expires, **values)
    )
    return id_


async def latest_approval(session: AsyncSession, run_id: UUID, step_key: str) -> Approval | None:
    query = select(Approval).where(Approval.execution_id == run_id, Approval.step_key == step_key)
    query = query.order_by(Approval.id.desc()).limit(1).execution_options(populate_existing=True)
    return (await session.scalars(query)).one_or_none()


async def approval(session: AsyncSession, id_: UUID) -> tuple[Approval, str] | None:
    """The approval and its agent's name."""
    query = select(Approval, Agent.name).join(Agent, Agent.id == Approval.agent_id).where(Approval.id == id_)
    row = (await session.execute(query.execution_options(populate_existing=True))).one_or_none()
    return None if row is None else (row[0], row[1])


async def settle(session: AsyncSession, id_: UUID, status: ApprovalStatus, *, by: str, note: str | None) -> bool:
    """Decide by compare-and-set: false when it is not open any more, or its time is over."""
    values = {"status": status.value, "decided_at": func.now(), "decided_by": by, "note": note}
    return await _write_open(session, id_, values)


async def say_yes(
    session: AsyncSession, id_: UUID, *, by: str, note: str | None, alone: bool, values: dict[str, Any]
) -> bool:
    """Add a yes, with what follows from it in `values`. `alone`: what others said before was about something else."""
    said = func.jsonb_build_object(
        cast_to("by", Text), cast_to(by, Text), cast_to("at", Text), func.now(), cast_to("note", Text),
        cast_to(note, Text),
    )  # fmt: skip
    before = cast_to([], JSONB) if alone else Approval.approvals
    return await _write_open(session, id_, {"approvals": before.op("||")(func.jsonb_build_array(said)), **values})


async def reopen(session: AsyncSession, id_: UUID, *, seconds: float, values: dict[str, Any]) -> None:
    """Ask once more about what was approved: more people have to say yes."""
    open_again = {"status": ApprovalStatus.PENDING.value, "decided_at": None, "decided_by": None}
    expires = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    await session.execute(update(Approval).where(Approval.id == id_).values(**open_again, expires_at=expires, **values))


async def assign(session: AsyncSession, id_: UUID, assignee: str | None) -> bool:
    return await _write_open(session, id_, {"assignee": assignee})


async def _write_open(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> bool:
    statement = (
        update(Approval)
        .where(Approval.id == id_, Approval.status == ApprovalStatus.PENDING, Approval.expires_at > func.now())
        .values(**values)
    )
    return cast(CursorResult[Any], await session.execute(statement)).rowcount == 1


async def use(session: AsyncSession, id_: UUID) -> bool:
    """Consume an approval: true once, and never after its time."""
    statement = (
        update(Approval)
        .where(Approval.id == id_, Approval.status == ApprovalStatus.APPROVED, Approval.expires_at > func.now())
        .values(status=ApprovalStatus.USED.value)
    )
    return cast(CursorResult[Any], await session.execute(statement)).rowcount == 1


async def withdraw(session: AsyncSession, id_: UUID) -> None:
    await session.execute(update(Approval).where(Approval.id == id_).values(status=ApprovalStatus.CANCELLED.value))


async def due(session: AsyncSession, *, limit: int) -> Sequence[tuple[UUID, UUID]]:
    """Open approvals whose time is over: their ids and runs, in the order in which runs are locked."""
    query = select(Approval.id, Approval.execution_id).order_by(Approval.execution_id, Approval.id).limit(limit)
    rows = await session.execute(
        query.where(Approval.status == ApprovalStatus.PENDING, Approval.expires_at <= func.now())
    )
    return [(row[0], row[1]) for row in rows.all()]


async def expire(session: AsyncSession, id_: UUID) -> bool:
    """False when somebody was faster."""
    statement = (
        update(Approval)
        .where(Approval.id == id_, Approval.status == ApprovalStatus.PENDING, Approval.expires_at <= func.now())
        .values(status=ApprovalStatus.EXPIRED.value, decided_at=func.now())
    )
    return cast(CursorResult[Any], await session.execute(statement)).rowcount == 1


async def cancel_approvals(session: AsyncSession, execution_id: UUID) -> None:
    """A run that ended asks nothing any more."""
    await session.execute(
        update(Approval)
        .where(Approval.execution_id == execution_id, Approval.status.in_(("pending", "approved")))
        .values(status=ApprovalStatus.CANCELLED.value, decided_at=func.coalesce(Approval.decided_at, func.now()))
    )


async def halt(session: AsyncSession) -> Row[Any] | None:
    return (await session.execute(HALT)).one_or_none()


async def set_halt(session: AsyncSession, *, reason: str, by: str) -> bool:
    """False when it stands already."""
    return await session.scalar(SET_HALT, {"reason": reason, "by": by}) is not None


async def lift_halt(session: AsyncSession) -> bool:
    return await session.scalar(LIFT_HALT) is not None


async def tell(session: AsyncSession, channel: str, payload: str) -> None:
    """Other processes, when this transaction commits."""
    await session.execute(select(func.pg_notify(channel, payload)))
