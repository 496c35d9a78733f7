"""SQL of people's corrections of runs."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from atom.kit.ids import new_id
from atom.runs.models import RunNote

MAX_NOTES = 100  # of one run


async def add(session: AsyncSession, run_id: UUID, note: str, *, by: str) -> UUID:
    id_ = new_id()
    values = {"id": id_, "execution_id": run_id, "note": note, "written_by": by, "written_at": func.now()}
    await session.execute(insert(RunNote).values(**values))
    return id_


async def count(session: AsyncSession, run_id: UUID) -> int:
    return await session.scalar(select(func.count()).where(RunNote.execution_id == run_id)) or 0


async def shown(session: AsyncSession, run_id: UUID) -> dict[int, tuple[str, ...]]:
    """What the model was shown, by the turn before which it was, in the order in which it was written."""
    query = select(RunNote).where(RunNote.execution_id == run_id, RunNote.turn.is_not(None))
    found: dict[int, tuple[str, ...]] = {}
    for row in (await session.scalars(query.order_by(RunNote.id).limit(MAX_NOTES))).all():
        assert row.turn is not None
        found[row.turn] = (*found.get(row.turn, ()), row.note)
    return found


async def unread(session: AsyncSession, run_id: UUID) -> bool:
    query = select(RunNote.id).where(RunNote.execution_id == run_id, RunNote.turn.is_(None)).limit(1)
    return await session.scalar(query) is not None


async def take(session: AsyncSession, run_id: UUID, turn: int) -> Sequence[str]:
    """From now on these belong before that turn, in every replay."""
    statement = update(RunNote).where(RunNote.execution_id == run_id, RunNote.turn.is_(None)).values(turn=turn)
    rows = (await session.execute(statement.returning(RunNote.id, RunNote.note))).all()
    return [note for _, note in sorted((row[0], row[1]) for row in rows)]
