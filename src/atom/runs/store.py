"""SQL of runs, their journal and their conversations."""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, case, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.infra.db import take_turn
from atom.kit.ids import new_id
from atom.runs.models import (
    Artefact,
    ContentLabel,
    Conversation,
    IdempotencyKey,
    Priority,
    Run,
    RunStatus,
    Step,
    StepStatus,
    WaitReason,
)
from atom.runs.transitions import State
from atom.runs.turns import Head, Waiting

AS_FOUND = {"synchronize_session": False}  # objects that were read stay as they were read
# Statements of every step are built once: building one costs more than running it.
STEPS = cast(Table, Step.__table__)
NEXT_NUMBER = (
    select(func.coalesce(func.max(STEPS.c.step_no), 0) + 1)
    .where(STEPS.c.execution_id == bindparam("of_run"))
    .scalar_subquery()
)
STEP_BEGUN = insert(STEPS).values(step_no=NEXT_NUMBER)
STEP_DONE = insert(STEPS).values(step_no=NEXT_NUMBER, ended_at=func.now())
STEP_FINISHED = (
    update(STEPS)
    .where(STEPS.c.execution_id == bindparam("of_run"), STEPS.c.key == bindparam("of_key"))
    .values(status=bindparam("status"), epoch=bindparam("epoch"), result=bindparam("result"), ended_at=func.now())
)
CLAIM_LOCK = 0x41544F4D_0006
MAX_HEADS = 5000  # agents with queued work, times priorities
MAX_FAMILY = 1000
WAITING = text("""
WITH RECURSIVE head AS (
    (SELECT agent_id, priority, id FROM agent_execution WHERE status = 'queued' ORDER BY agent_id, priority, id LIMIT 1)
    UNION ALL
    SELECT later.agent_id, later.priority, later.id FROM head CROSS JOIN LATERAL (
        SELECT agent_id, priority, id FROM agent_execution
        WHERE status = 'queued' AND (agent_id, priority) > (head.agent_id, head.priority)
        ORDER BY agent_id, priority, id LIMIT 1) later
), at_work AS (
    SELECT agent_id, count(*) AS n FROM agent_execution WHERE status = 'running' GROUP BY agent_id
), orphan AS (
    SELECT id FROM agent_execution
    WHERE status = 'running' AND (lease_expires_at IS NULL OR lease_expires_at < now()) ORDER BY id LIMIT :orphans
)
SELECT id, NULL::uuid AS agent_id, 0 AS priority, 0::float8 AS waited, 0 AS running, NULL::integer AS max_running,
    0::float8 AS served, (SELECT coalesce(sum(n), 0) FROM at_work)::integer AS total
FROM orphan WHERE NOT EXISTS (SELECT 1 FROM halt)
UNION ALL
SELECT e.id, h.agent_id, h.priority, extract(epoch FROM now() - e.created_at)::float8, coalesce(w.n, 0)::integer,
    a.max_running, coalesce(extract(epoch FROM t.served_at), 0)::float8,
    (SELECT coalesce(sum(n), 0) FROM at_work)::integer
FROM (SELECT * FROM head LIMIT :heads) h
JOIN agent_execution e ON e.id = h.id
JOIN agent a ON a.id = h.agent_id
LEFT JOIN at_work w ON w.agent_id = h.agent_id
LEFT JOIN agent_turn t ON t.agent_id = h.agent_id
WHERE NOT EXISTS (SELECT 1 FROM halt)
""")
QUEUED = text("""
SELECT e.id FROM unnest(cast(:agents AS uuid[]), cast(:rooms AS integer[])) AS wanted (agent_id, room)
CROSS JOIN LATERAL (
    SELECT id FROM agent_execution WHERE status = 'queued' AND agent_id = wanted.agent_id
    ORDER BY priority DESC, id LIMIT wanted.room
) e LIMIT :limit
""")
DUE_NOW = text("""
UPDATE agent_execution SET resume_at = now() WHERE id IN (
    SELECT id FROM agent_execution WHERE status = 'waiting' AND wait_reason = :reason ORDER BY id FOR UPDATE SKIP LOCKED
)
""")
SERVED = text(
    "INSERT INTO agent_turn (agent_id, served_at) VALUES (:agent_id, clock_timestamp())"
    " ON CONFLICT (agent_id) DO UPDATE SET served_at = excluded.served_at"
)
# A call that was refused never began: it has no `verdict` in its request.
PERFORMED = text(
    "SELECT DISTINCT name FROM execution_step"
    " WHERE execution_id = :id AND kind = 'tool' AND request ->> 'verdict' = 'allow' ORDER BY name"
)
DESCENDANTS = text("""
WITH RECURSIVE family AS (
    SELECT id, status FROM agent_execution WHERE parent_id = :id
    UNION ALL
    SELECT e.id, e.status FROM family f JOIN agent_execution e ON e.parent_id = f.id
)
SELECT id FROM family WHERE status NOT IN ('completed', 'failed', 'cancelled') ORDER BY id LIMIT :limit
""")
LINEAGE = text("""
WITH RECURSIVE line AS (
    SELECT id, agent_id, parent_id, 0 AS distance FROM agent_execution WHERE id = :id
    UNION ALL
    SELECT e.id, e.agent_id, e.parent_id, l.distance + 1 FROM line l JOIN agent_execution e ON e.id = l.parent_id
)
SELECT id, agent_id FROM line ORDER BY distance LIMIT :limit
""")


async def add_conversation(session: AsyncSession, agent_id: UUID) -> UUID:
    id_ = new_id()
    await session.execute(insert(Conversation).values(id=id_, agent_id=agent_id, created_at=func.now()))
    return id_


async def conversation(session: AsyncSession, id_: UUID) -> Conversation | None:
    return await session.get(Conversation, id_)


async def add_run(session: AsyncSession, values: dict[str, Any]) -> None:
    defaults = {"status": RunStatus.QUEUED.value, "sources": [], "model_calls": 0, "tool_calls": 0, "worked_ms": 0}
    defaults |= {"no_cache": False, "labels": [], "origin_labels": [], "origin_said": None}
    lease = {"lease_epoch": 0, "wake_seq": 0, "crashes": 0, "priority": Priority.NORMAL.rank}
    await session.execute(insert(Run).values(created_at=func.now(), **(defaults | lease | values)))


async def get(session: AsyncSession, id_: UUID) -> Run | None:
    return await session.get(Run, id_, populate_existing=True)


async def locked(session: AsyncSession, ids: Sequence[UUID], *, skip_locked: bool = False) -> list[tuple[Run, State]]:
    """The runs, locked, and how they stand by the database's clock. In the order of their ids, as everybody locks."""
    live = func.coalesce(Run.lease_expires_at > func.now(), False)
    query = select(Run, live).where(Run.id.in_(ids)).order_by(Run.id).with_for_update(skip_locked=skip_locked)
    rows = (await session.execute(query.execution_options(populate_existing=True))).all()
    return [(row[0], state_of(row[0], live=row[1])) for row in rows]


def state_of(run: Run, *, live: bool) -> State:
    return State(
        status=RunStatus(run.status),
        wait_reason=WaitReason(run.wait_reason) if run.wait_reason else None,
        epoch=run.lease_epoch,
        owned=run.lease_owner is not None,
        live=live,
        crashes=run.crashes,
        cancel_requested=run.cancel_requested_at is not None,
        pause_requested=run.pause_requested_at is not None,
    )


async def put(session: AsyncSession, id_: UUID, state: State, values: dict[str, Any]) -> None:
    """Write how a run stands now; the caller has it locked. Nobody owns it afterwards, unless it still is at work."""
    free = {} if state.owned else {"lease_owner": None, "lease_expires_at": None}
    ended = {"ended_at": func.now()} if state.status.ended else {}
    written = {"status": state.status.value, "wait_reason": state.wait_reason, **free, **ended, **values}
    await session.execute(update(Run).where(Run.id == id_).values(**written), execution_options=AS_FOUND)


async def with_agent_name(session: AsyncSession, id_: UUID) -> tuple[Run, str] | None:
    query = select(Run, Agent.name).join(Agent, Agent.id == Run.agent_id).where(Run.id == id_)
    row = (await session.execute(query.execution_options(populate_existing=True))).one_or_none()
    return None if row is None else (row[0], row[1])


async def page(
    session: AsyncSession, *, agent_id: UUID | None, status: str | None, before: UUID | None, limit: int
) -> Sequence[tuple[Run, str]]:
    query = select(Run, Agent.name).join(Agent, Agent.id == Run.agent_id).order_by(Run.id.desc()).limit(limit)
    if agent_id is not None:
        query = query.where(Run.agent_id == agent_id)
    if status is not None:
        query = query.where(Run.status == status)
    if before is not None:
        query = query.where(Run.id < before)
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]


async def in_conversation(session: AsyncSession, id_: UUID, *, before: UUID | None, limit: int) -> Sequence[Run]:
    """The newest `limit` runs of a conversation, oldest first; `before` is a run that is left out with all after it."""
    query = select(Run).where(Run.conversation_id == id_).order_by(Run.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Run.id < before)
    return list((await session.scalars(query)).all())[::-1]


async def steps(session: AsyncSession, id_: UUID, *, after: int = 0, limit: int) -> Sequence[Step]:
    query = select(Step).where(Step.execution_id == id_, Step.step_no > after).order_by(Step.step_no).limit(limit)
    return (await session.scalars(query)).all()


async def take_turns(session: AsyncSession) -> None:
    """From here to the end of the transaction nobody else of the deployment claims a run."""
    await take_turn(session, CLAIM_LOCK)


async def waiting(session: AsyncSession, *, orphans: int) -> Waiting:
    """Everything that waits for a worker, as far as a choice needs it: up to `orphans` abandoned ones, and heads."""
    lost: list[UUID] = []
    heads: list[Head] = []
    running = 0
    for row in (await session.execute(WAITING, {"orphans": orphans, "heads": MAX_HEADS})).all():
        running = row.total
        if row.agent_id is None:
            lost.append(row.id)
        else:
            heads.append(Head(row.id, row.agent_id, row.priority, row.waited, row.running, row.max_running, row.served))
    return Waiting(lost, heads, running)


async def queued(session: AsyncSession, rooms: Mapping[UUID, int], *, limit: int) -> Sequence[UUID]:
    """Queued runs of these agents, of each as many as it has room for."""
    if not rooms:
        return []
    values = {"agents": list(rooms), "rooms": list(rooms.values()), "limit": limit}
    return list((await session.scalars(QUEUED, values)).all())


async def take(session: AsyncSession, run: Run, state: State, *, owner: str, seconds: float) -> None:
    """Write a claim: `state` is what the rule has made of the locked row. The agent has had its turn."""
    values = {
        "status": state.status.value,
        "lease_owner": owner,
        "lease_epoch": state.epoch,
        "lease_expires_at": func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds),
        "crashes": state.crashes,
        "started_at": func.coalesce(Run.started_at, func.now()),
    }
    await session.execute(update(Run).where(Run.id == run.id).values(**values), execution_options=AS_FOUND)
    await session.execute(SERVED, {"agent_id": run.agent_id})


async def add_step(session: AsyncSession, values: dict[str, Any]) -> None:
    """A new row of the journal, numbered after the last. The run's row is locked by the caller's fenced write."""
    statement = STEP_BEGUN if values.get("result") is None else STEP_DONE
    await session.execute(statement, {"of_run": values["execution_id"], **values})


async def finish_step(session: AsyncSession, run_id: UUID, key: str, *, epoch: int, result: dict[str, Any]) -> None:
    values = {"of_run": run_id, "of_key": key, "status": StepStatus.DONE.value, "epoch": epoch, "result": result}
    await session.execute(STEP_FINISHED, values)


async def wake(session: AsyncSession, id_: UUID, state: State, values: dict[str, Any]) -> None:
    """Back into the queue; the caller has it locked."""
    free = {"pause_requested_at": None, "resume_at": None, "wait_detail": None}
    await put(session, id_, state, {"wake_seq": Run.wake_seq + 1, **free, **values})


async def due(session: AsyncSession, *, limit: int) -> Sequence[UUID]:
    """Runs whose wait for a provider or a budget is over by the clock."""
    query = select(Run.id).where(Run.status == RunStatus.WAITING.value, Run.resume_at <= func.now())
    return list((await session.scalars(query.order_by(Run.resume_at).limit(limit))).all())


async def due_now(session: AsyncSession, reason: WaitReason) -> None:
    """Their wait is over. Rows that others hold are left: whoever holds them changes them anyway."""
    await session.execute(DUE_NOW, {"reason": reason.value})


async def descendants(session: AsyncSession, id_: UUID) -> Sequence[UUID]:
    """Runs that a run has started, and theirs, that have not ended."""
    return list((await session.scalars(DESCENDANTS, {"id": id_, "limit": MAX_FAMILY})).all())


async def lineage(session: AsyncSession, id_: UUID) -> Sequence[tuple[UUID, UUID]]:
    """The run itself and those it belongs to, nearest first: run, agent."""
    return [(row.id, row.agent_id) for row in (await session.execute(LINEAGE, {"id": id_, "limit": MAX_FAMILY})).all()]


async def child(session: AsyncSession, parent: UUID, step: str) -> Run | None:
    query = select(Run).where(Run.parent_id == parent, Run.parent_step == step)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def is_done(session: AsyncSession, id_: UUID, key: str) -> bool:
    query = select(Step.status).where(Step.execution_id == id_, Step.key == key)
    return await session.scalar(query) == StepStatus.DONE


async def performed(session: AsyncSession, id_: UUID) -> Sequence[str]:
    """Names of the tools that the run has called, those only whose calls began."""
    return list((await session.scalars(PERFORMED, {"id": id_})).all())


async def open_call(session: AsyncSession, id_: UUID) -> Step | None:
    """The call that began and has no recorded end."""
    query = select(Step).where(Step.execution_id == id_, Step.status == StepStatus.STARTED).order_by(Step.step_no)
    return (await session.scalars(query.limit(1).execution_options(populate_existing=True))).one_or_none()


async def retried(session: AsyncSession, id_: UUID) -> None:
    """A person lets the open call be made once more."""
    await session.execute(
        update(Step)
        .where(Step.execution_id == id_, Step.status == StepStatus.STARTED)
        .values(status=StepStatus.RETRY.value)
    )


async def begin_again(
    session: AsyncSession, id_: UUID, key: str, *, epoch: int, request: dict[str, Any] | None
) -> None:
    """`request`: what it is made with now, when that has changed."""
    changed = {} if request is None else {"request": request}
    await session.execute(
        update(Step)
        .where(Step.execution_id == id_, Step.key == key)
        .values(status=StepStatus.STARTED.value, epoch=epoch, **changed)
    )


async def add_artefacts(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """A file that is written again is as it was written last."""
    statement = pg_insert(Artefact).values(list(rows))
    columns = {name: statement.excluded[name] for name in ("bytes", "sha256", "step_key")} | {"written_at": func.now()}
    await session.execute(statement.on_conflict_do_update(index_elements=["execution_id", "path"], set_=columns))


async def artefacts(session: AsyncSession, id_: UUID, *, after: str | None, limit: int) -> Sequence[Artefact]:
    query = select(Artefact).where(Artefact.execution_id == id_).order_by(Artefact.path).limit(limit)
    if after is not None:
        query = query.where(Artefact.path > after)
    return (await session.scalars(query)).all()


async def artefact(session: AsyncSession, id_: UUID, path: str) -> Artefact | None:
    return await session.get(Artefact, (id_, path), populate_existing=True)


async def label_files(
    session: AsyncSession, agent_id: UUID, run_id: UUID, files: Mapping[str, str], labels: Sequence[str]
) -> None:
    """Files by path and digest, as a run has written them whole. Without labels they are anybody's trusted ones."""
    if not labels:
        gone = ContentLabel.path.in_(files)
        await session.execute(delete(ContentLabel).where(ContentLabel.agent_id == agent_id, gone))
        return
    same = {"agent_id": agent_id, "execution_id": run_id, "labels": list(labels)}
    statement = pg_insert(ContentLabel).values([{**same, "path": path, "sha256": sha} for path, sha in files.items()])
    columns = {name: statement.excluded[name] for name in ("sha256", "labels", "execution_id")} | {
        "written_at": func.now()
    }
    await session.execute(statement.on_conflict_do_update(index_elements=["agent_id", "path"], set_=columns))


async def file_labels(session: AsyncSession, agent_id: UUID, paths: Sequence[str]) -> Sequence[str]:
    query = select(ContentLabel.labels).where(ContentLabel.agent_id == agent_id, ContentLabel.path.in_(paths))
    return sorted({label for labels in (await session.scalars(query)).all() for label in labels})


async def said_tasks(session: AsyncSession, ids: Sequence[UUID]) -> Sequence[str]:
    """What people said in the tasks of these runs."""
    if not ids:
        return []
    own = case((Run.origin_labels == [], Run.task), else_=Run.origin_said)
    query = select(own).where(Run.id.in_(ids), own.is_not(None)).order_by(Run.id).limit(MAX_FAMILY)
    return [said for said in (await session.scalars(query)).all() if said is not None]


async def tell_workers(session: AsyncSession, channel: str, payload: str) -> None:
    await session.execute(select(func.pg_notify(channel, payload)))


async def remember_key(session: AsyncSession, values: dict[str, Any]) -> bool:
    """False when this principal has used the key before."""
    statement = pg_insert(IdempotencyKey).values(created_at=func.now(), **values).on_conflict_do_nothing()
    return await session.scalar(statement.returning(IdempotencyKey.key)) is not None


async def remembered_key(session: AsyncSession, principal: str, key: str) -> IdempotencyKey | None:
    return await session.get(IdempotencyKey, (principal, key))
