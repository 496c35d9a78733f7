"""Runs as evidence: what a person says of a completed one, and what governance is told of any."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import InvalidError
from atom.governance.evidence.kinds import OfRun
from atom.governance.evidence.service import EvidenceService
from atom.governance.evidence.tables import Evidence
from atom.identity.models import Principal
from atom.kit.text import clean
from atom.runs import store
from atom.runs.errors import RunNotFoundError, RunNotRateableError
from atom.runs.models import Run, RunStatus

MAX_NOTE = 2000


class RatingInvalidError(InvalidError):
    code = "rating_invalid"


@dataclass(frozen=True, slots=True)
class Rating:
    """`score`: the part of a success that it was, from 0 to 1."""

    score: float
    note: str | None = None


@dataclass(frozen=True, slots=True)
class RatingService:
    evidence: EvidenceService

    async def rate(self, session: AsyncSession, by: Principal, run_id: UUID, rating: Rating) -> Evidence:
        """The latest word of a person on a completed run. Raises RunNotRateableError, RatingInvalidError."""
        _check(rating)
        found = await store.locked(session, [run_id])
        if not found:
            raise RunNotFoundError(str(run_id))
        run = found[0][0]
        if run.status != RunStatus.COMPLETED:
            raise RunNotRateableError(
                f"Run {run_id} is {run.status}: only a completed one is rated.",
                hint="A failure counts by itself, if it was the agent's own; what you stop counts as an intervention.",
            )
        note = clean(rating.note.strip()) if rating.note else None
        await self.evidence.rated(session, await of_run(session, run), by, rating.score, note or None)
        rated = await self.get(session, run_id)
        assert rated is not None
        return rated

    async def get(self, session: AsyncSession, run_id: UUID) -> Evidence | None:
        return await self.evidence.rating(session, run_id)

    async def scores(self, session: AsyncSession, run_ids: Sequence[UUID]) -> dict[UUID, float]:
        """Of the rated ones among these runs."""
        return await self.evidence.ratings(session, run_ids)


async def of_run(session: AsyncSession, run: Run) -> OfRun:
    """The run as evidence names it. It counts from when its agent began to work."""
    used = await store.performed(session, run.id)
    return OfRun(run.id, run.agent_id, run.agent_version, run.started_at or run.created_at, tuple(used))


def _check(rating: Rating) -> None:
    if math.isnan(rating.score) or not 0 <= rating.score <= 1:
        raise RatingInvalidError(f"score: {rating.score:g} is not from 0 to 1.", field="score")
    if rating.note is not None and len(rating.note) > MAX_NOTE:
        raise RatingInvalidError(f"note: {len(rating.note)} characters; at most {MAX_NOTE}.", field="note")
