"""SQL of triggers, their firings, proposals and the presence of operators."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent, AgentStatus
from atom.governance.models import Label, Maturity
from atom.kit.ids import new_id
from atom.runs.models import Run
from atom.training.models import TrainingSession, TrainingStatus
from atom.triggers.models import (
    AgentTrigger,
    OperatorPresence,
    Outcome,
    Proposal,
    ProposalStatus,
    TriggerFiring,
)

CHAINS = text("""
WITH RECURSIVE line AS (
    SELECT id, parent_id, retry_of FROM agent_execution WHERE id = :run_id
    UNION
    SELECT e.id, e.parent_id, e.retry_of FROM agent_execution e JOIN line ON e.id IN (line.parent_id, line.retry_of)
)
SELECT f.chain FROM trigger_firing f JOIN line ON f.run_id = line.id
UNION ALL
SELECT f.chain FROM line JOIN training_session s ON s.run_id = line.id JOIN trigger_firing f ON f.training_id = s.id
LIMIT 100
""")
LISTENERS = ("event", "agent")
AS_FOUND = {"synchronize_session": False}  # objects that were read stay as they were read


async def now(session: AsyncSession) -> datetime:
    """The database's time: the same for every process of the cluster."""
    found: datetime = (await session.execute(select(func.now()))).scalar_one()
    return found


async def add(session: AsyncSession, values: dict[str, Any]) -> bool:
    """False when the name is taken."""
    statement = pg_insert(AgentTrigger).values(
        created_at=func.now(), updated_at=func.now(), enabled=True, version=1, **values
    )
    done = await session.execute(statement.on_conflict_do_nothing().returning(AgentTrigger.id))
    return done.scalar_one_or_none() is not None


async def get(session: AsyncSession, id_: UUID, *, lock: bool = False) -> AgentTrigger | None:
    return await _one(session, AgentTrigger.id == id_, lock=lock)


async def by_name(session: AsyncSession, name: str, *, lock: bool = False) -> AgentTrigger | None:
    return await _one(session, func.lower(AgentTrigger.name) == name.lower(), lock=lock)


async def _one(session: AsyncSession, which: Any, *, lock: bool) -> AgentTrigger | None:
    query = select(AgentTrigger).where(which, AgentTrigger.removed_at.is_(None))
    if lock:
        query = query.with_for_update(key_share=True)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def page(
    session: AsyncSession, *, agent_id: UUID | None, before: UUID | None, limit: int
) -> Sequence[tuple[AgentTrigger, str]]:
    query = select(AgentTrigger, Agent.name).join(Agent, Agent.id == AgentTrigger.agent_id)
    query = query.where(AgentTrigger.removed_at.is_(None)).order_by(AgentTrigger.id.desc()).limit(limit)
    if agent_id is not None:
        query = query.where(AgentTrigger.agent_id == agent_id)
    if before is not None:
        query = query.where(AgentTrigger.id < before)
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]


async def change(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    await session.execute(
        update(AgentTrigger).where(AgentTrigger.id == id_).values(**values), execution_options=AS_FOUND
    )


async def due(session: AsyncSession, *, limit: int) -> Sequence[AgentTrigger]:
    """Schedules whose time has come, locked; those that somebody else has at this moment are passed over."""
    query = select(AgentTrigger).where(AgentTrigger.next_at <= func.now(), AgentTrigger.enabled)
    query = query.where(AgentTrigger.removed_at.is_(None)).order_by(AgentTrigger.next_at).limit(limit)
    query = query.with_for_update(skip_locked=True, key_share=True).execution_options(populate_existing=True)
    return (await session.scalars(query)).all()


async def listening(session: AsyncSession, *, below: int, limit: int) -> Sequence[AgentTrigger]:
    """Event triggers that have not looked at every event below this number, locked as in `due`."""
    query = select(AgentTrigger).where(AgentTrigger.kind.in_(LISTENERS), AgentTrigger.enabled)
    query = query.where(AgentTrigger.removed_at.is_(None), AgentTrigger.seen_seq < below)
    query = query.order_by(AgentTrigger.seen_seq).limit(limit)
    query = query.with_for_update(skip_locked=True, key_share=True).execution_options(populate_existing=True)
    return (await session.scalars(query)).all()


async def sealed_otherwise(session: AsyncSession, kek_id: str, *, after: UUID, limit: int) -> Sequence[UUID]:
    """Webhooks whose secret is wrapped by another key-encryption key."""
    query = select(AgentTrigger.id).where(AgentTrigger.kek_id != kek_id, AgentTrigger.removed_at.is_(None))
    return (await session.scalars(query.where(AgentTrigger.id > after).order_by(AgentTrigger.id).limit(limit))).all()


async def begin(session: AsyncSession, values: dict[str, Any]) -> bool:
    """Put a firing on record. False when this reason has fired before; a twin that is being written is waited for."""
    statement = pg_insert(TriggerFiring).values(outcome=Outcome.QUEUED.value, at=func.now(), **values)
    done = await session.execute(statement.on_conflict_do_nothing().returning(TriggerFiring.id))
    return done.scalar_one_or_none() is not None


async def settle(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    await session.execute(
        update(TriggerFiring).where(TriggerFiring.id == id_).values(**values), execution_options=AS_FOUND
    )


async def firing(session: AsyncSession, id_: UUID) -> TriggerFiring:
    found = await session.get(TriggerFiring, id_, populate_existing=True)
    assert found is not None
    return found


async def firing_of(session: AsyncSession, trigger_id: UUID, key: str) -> TriggerFiring | None:
    query = select(TriggerFiring).where(TriggerFiring.trigger_id == trigger_id, TriggerFiring.key == key)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def firings(
    session: AsyncSession, trigger_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[TriggerFiring]:
    query = select(TriggerFiring).where(TriggerFiring.trigger_id == trigger_id)
    if before is not None:
        query = query.where(TriggerFiring.id < before)
    return (await session.scalars(query.order_by(TriggerFiring.id.desc()).limit(limit))).all()


async def count_queued(session: AsyncSession, trigger_id: UUID, *, besides: UUID) -> int:
    query = select(func.count()).where(TriggerFiring.trigger_id == trigger_id, TriggerFiring.id != besides)
    return await session.scalar(query.where(TriggerFiring.outcome == Outcome.QUEUED.value)) or 0


async def queued(session: AsyncSession, *, operator_present: bool, limit: int) -> Sequence[TriggerFiring]:
    """Those whose time is over, or that may go on now, locked as in `due`: the oldest first. Of a trigger that is
    disabled nothing goes on."""
    goes_on = or_(
        TriggerFiring.expires_at <= func.now(),
        AgentTrigger.removed_at.is_not(None),
        Agent.maturity != Maturity.SUPERVISED.value,
        Agent.status != AgentStatus.ACTIVE.value,
    )
    query = (
        select(TriggerFiring)
        .join(AgentTrigger, AgentTrigger.id == TriggerFiring.trigger_id)
        .join(Agent, Agent.id == AgentTrigger.agent_id)
        .where(TriggerFiring.outcome == Outcome.QUEUED.value)
        .where(or_(AgentTrigger.enabled, AgentTrigger.removed_at.is_not(None), TriggerFiring.expires_at <= func.now()))
        .order_by(TriggerFiring.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=TriggerFiring)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(query if operator_present else query.where(goes_on))).all()


async def chains(session: AsyncSession, run_id: UUID) -> Sequence[Sequence[UUID]]:
    """The chains of triggers behind a run: also behind the runs that called it or that it does anew, and behind the
    training in which it is worked on."""
    return [row[0] for row in (await session.execute(CHAINS, {"run_id": run_id})).all()]


async def labels(session: AsyncSession, run_id: UUID) -> frozenset[Label] | None:
    """Of what the run has read by now. None: there is no such run."""
    found = await session.scalar(select(Run.labels).where(Run.id == run_id))
    return None if found is None else frozenset(Label(label) for label in found)


async def add_proposal(session: AsyncSession, values: dict[str, Any]) -> UUID:
    id_ = new_id()
    await session.execute(
        insert(Proposal).values(id=id_, status=ProposalStatus.OPEN.value, created_at=func.now(), **values)
    )
    return id_


async def open_proposals(session: AsyncSession, trigger_id: UUID) -> tuple[int, UUID | None]:
    """How many are open, and the newest."""
    query = select(func.count()).where(Proposal.trigger_id == trigger_id, Proposal.status == ProposalStatus.OPEN.value)
    newest = select(Proposal.id).where(Proposal.trigger_id == trigger_id, Proposal.status == ProposalStatus.OPEN.value)
    count = await session.scalar(query) or 0
    return count, await session.scalar(newest.order_by(Proposal.id.desc()).limit(1))


async def open_training(session: AsyncSession, trigger_id: UUID) -> tuple[int, UUID | None]:
    """How many sessions that it proposed nobody has opened yet, and the newest."""
    own = select(TriggerFiring.training_id).where(TriggerFiring.trigger_id == trigger_id)
    query = select(TrainingSession.id).where(TrainingSession.status == TrainingStatus.PROPOSED.value)
    found = (await session.scalars(query.where(TrainingSession.id.in_(own)).order_by(TrainingSession.id.desc()))).all()
    return len(found), found[0] if found else None


async def proposal(session: AsyncSession, id_: UUID, *, lock: bool = False) -> tuple[Proposal, str] | None:
    """The proposal and its agent's name."""
    query = select(Proposal, Agent.name).join(Agent, Agent.id == Proposal.agent_id).where(Proposal.id == id_)
    if lock:
        query = query.with_for_update(of=Proposal)
    row = (await session.execute(query.execution_options(populate_existing=True))).one_or_none()
    return None if row is None else (row[0], row[1])


async def proposals(
    session: AsyncSession, *, status: str | None, before: UUID | None, limit: int
) -> Sequence[tuple[Proposal, str]]:
    query = select(Proposal, Agent.name).join(Agent, Agent.id == Proposal.agent_id)
    query = query.order_by(Proposal.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Proposal.status == status)
    if before is not None:
        query = query.where(Proposal.id < before)
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]


async def decide_proposal(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    statement = update(Proposal).where(Proposal.id == id_).values(decided_at=func.now(), **values)
    await session.execute(statement, execution_options=AS_FOUND)


async def end_proposals(session: AsyncSession, status: ProposalStatus, which: Any, *, limit: int) -> Sequence[Proposal]:
    """Settle open proposals that nobody decides any more."""
    some = select(Proposal.id).where(Proposal.status == ProposalStatus.OPEN.value, which).order_by(Proposal.id)
    some = some.limit(limit).with_for_update(skip_locked=True)
    statement = update(Proposal).where(Proposal.id.in_(some)).values(status=status.value, decided_at=func.now())
    done = await session.scalars(statement.returning(Proposal).execution_options(**AS_FOUND, populate_existing=True))
    return done.all()


async def seen(session: AsyncSession, key_id: UUID, actor: str, *, at_most_every: float) -> None:
    """Note that an operator is there, unless that was noted just now."""
    statement = pg_insert(OperatorPresence).values(key_id=key_id, actor=actor, seen_at=func.now())
    fresh = OperatorPresence.seen_at > _ago(at_most_every)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[OperatorPresence.key_id],
            set_={"seen_at": func.now(), "actor": actor},
            where=~fresh,
        )
    )


async def anybody_since(session: AsyncSession, seconds: float) -> bool:
    query = select(OperatorPresence.key_id).where(OperatorPresence.seen_at > _ago(seconds)).limit(1)
    return await session.scalar(query) is not None


async def rewrap(session: AsyncSession, id_: UUID, envelope: dict[str, Any], *, was: str) -> None:
    """Compare-and-set on the key-encryption key: nothing when somebody was faster."""
    statement = update(AgentTrigger).where(AgentTrigger.id == id_, AgentTrigger.kek_id == was)
    await session.execute(statement.values(envelope=envelope, kek_id=envelope["kek_id"]), execution_options=AS_FOUND)


def ahead(seconds: float) -> Any:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _ago(seconds: float) -> Any:
    return func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)
