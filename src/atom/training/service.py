"""Training: a task that an agent may not do on its own is proposed, done under a person's eyes, corrected and rated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.events.models import EventType
from atom.governance.evidence.kinds import Stepping
from atom.identity.models import Principal
from atom.kit.text import clean, shorten
from atom.runs.models import Run, RunStatus
from atom.runs.provenance import from_columns
from atom.runs.rating import Rating, RatingService, of_run
from atom.runs.service import Order, RunService
from atom.training import store
from atom.training.errors import TrainingInvalidError, TrainingNotFoundError, TrainingStateError
from atom.training.models import Origin, TrainingSession, TrainingStatus

MAX_PROPOSED = 200
EVENT_TASK = 2000
MAX_NOTE = 2000
CROWDED_OUT = "Newer proposals took its place."
SYSTEM = "system:training"


@dataclass(frozen=True, slots=True)
class TrainingService:
    """Whoever opens, corrects, rates or dismisses a session is a person: the edges see to that.

    `max_proposed`: open proposals of an agent; a trigger that fires for ever crowds out its own oldest.
    """

    runs: RunService
    ratings: RatingService
    max_proposed: int = MAX_PROPOSED

    async def propose(self, session: AsyncSession, agent: Agent, task: str, origin: Origin) -> UUID:
        """A task for somebody to work on with the agent. The same origin, or an open proposal of the same task, is the
        same session. Raises TrainingInvalidError."""
        said = clean(task.strip())
        if not said:
            raise TrainingInvalidError("task: it is empty.", field="task")
        most = self.runs.settings.max_task_chars
        if len(said) > most:
            raise TrainingInvalidError(f"task: {len(said)} characters; at most {most}.", field="task")
        fresh, id_ = await self._proposed(session, agent, said, origin)
        if not fresh:
            return id_
        data = {"task": shorten(said, EVENT_TASK), "origin": origin.kind}
        await self._tell(session, id_, agent.id, TrainingStatus.PROPOSED, by=origin.by, **data)
        for old in await store.beyond(session, agent.id, keep=self.max_proposed):
            await self._close(session, await self._locked(session, old), TrainingStatus.DISMISSED, SYSTEM, CROWDED_OUT)
        return id_

    async def _proposed(self, session: AsyncSession, agent: Agent, said: str, origin: Origin) -> tuple[bool, UUID]:
        values = {"agent_id": agent.id, "task": said, "origin": origin.kind, "origin_ref": origin.ref}
        values |= {"proposed_by": origin.by, **origin.words.columns()}
        for _ in range(3):  # the twin may be opened or dismissed between the two looks
            id_ = await store.add(session, values)
            if id_ is not None:
                return True, id_
            known = await store.twin(session, agent.id, said, origin.ref)
            if known is not None:
                return False, known
        raise TrainingStateError("This proposal is being decided just now.", hint="Try again.")

    async def get(self, session: AsyncSession, id_: UUID) -> tuple[TrainingSession, str]:
        """The session and its agent's name."""
        found = await store.get(session, id_)
        if found is None:
            raise TrainingNotFoundError(str(id_))
        return found

    async def page(
        self,
        session: AsyncSession,
        *,
        agent: str | None,
        status: TrainingStatus | None,
        before: UUID | None,
        limit: int,
    ) -> Sequence[tuple[TrainingSession, str]]:
        agent_id = (await self.runs.agents.get(session, agent)).id if agent is not None else None
        return await store.page(session, agent_id=agent_id, status=status and status.value, before=before, limit=limit)

    async def scores(self, session: AsyncSession, found: Sequence[TrainingSession]) -> dict[UUID, float]:
        """How the runs of these sessions were rated, by run."""
        return await self.ratings.scores(session, [one.run_id for one in found if one.run_id])

    async def open(self, session: AsyncSession, by: Principal, id_: UUID) -> UUID:
        """Start a run of the task by this person: effects ask as always. Returns the run.

        An open session whose run came to no answer is started anew. Raises TrainingStateError.
        """
        found = await self._locked(session, id_)
        if found.status == TrainingStatus.OPEN:
            run = await self._run(session, found)
            if run.status not in {RunStatus.FAILED, RunStatus.CANCELLED}:
                raise TrainingStateError(f"It is open: its run {run.id} is {run.status}.", hint="Work on that run.")
        elif found.status != TrainingStatus.PROPOSED:
            raise TrainingStateError(f"The session is {found.status}.", hint="Propose the task anew.")
        run_id = await self.runs.start(
            session,
            by,
            str(found.agent_id),
            Order(found.task, origin=from_columns(found.origin_labels, found.origin_said)),
        )
        await self._opened(session, found, by, run_id)
        return run_id

    async def correct(self, session: AsyncSession, by: Principal, id_: UUID, text: str) -> UUID:
        """Tell the agent what was wrong, and have it go on in the same conversation. Returns the new run.

        It is an intervention in the run that is corrected. Raises TrainingInvalidError, TrainingStateError.
        """
        most = self.runs.settings.max_task_chars
        if not text.strip() or len(text) > most:
            raise TrainingInvalidError(f"text: 1 to {most} characters.", field="text")
        found = await self._open(session, id_)
        run = await self._run(session, found)
        if not RunStatus(run.status).ended:
            raise TrainingStateError(
                f"Run {run.id} goes on ({run.status}).", hint="Wait for its end, or cancel it, and say what was wrong."
            )
        run_id = await self.runs.start(
            session, by, str(found.agent_id), Order(text, conversation_id=run.conversation_id)
        )
        await self.ratings.evidence.intervened(session, await of_run(session, run), by, Stepping.CORRECT)
        await self._opened(session, found, by, run_id, corrected=True)
        return run_id

    async def rate(self, session: AsyncSession, by: Principal, id_: UUID, rating: Rating) -> None:
        """How well the agent did in the end; it can be said anew. Raises RunNotRateableError, TrainingStateError."""
        found = await self._locked(session, id_)
        if found.status not in {TrainingStatus.OPEN, TrainingStatus.RATED}:
            raise TrainingStateError(f"The session is {found.status}.", hint="`atom training open` starts it.")
        run = await self._run(session, found)
        await self.ratings.rate(session, by, run.id, rating)
        await self._close(session, found, TrainingStatus.RATED, by.actor, rating.note)

    async def dismiss(self, session: AsyncSession, by: Principal, id_: UUID, note: str | None) -> None:
        """It will not be trained. An open session's run goes on as the run that it is. Raises TrainingStateError."""
        if note is not None and len(note) > MAX_NOTE:
            raise TrainingInvalidError(f"note: {len(note)} characters; at most {MAX_NOTE}.", field="note")
        found = await self._locked(session, id_)
        if found.status not in {TrainingStatus.PROPOSED, TrainingStatus.OPEN}:
            raise TrainingStateError(f"The session is {found.status}.")
        await self._close(session, found, TrainingStatus.DISMISSED, by.actor, note)

    async def _locked(self, session: AsyncSession, id_: UUID) -> TrainingSession:
        found = await store.lock(session, id_)
        if found is None:
            raise TrainingNotFoundError(str(id_))
        return found

    async def _open(self, session: AsyncSession, id_: UUID) -> TrainingSession:
        found = await self._locked(session, id_)
        if found.status != TrainingStatus.OPEN:
            raise TrainingStateError(f"The session is {found.status}.", hint="`atom training open` starts it.")
        return found

    async def _run(self, session: AsyncSession, found: TrainingSession) -> Run:
        assert found.run_id is not None
        return (await self.runs.get(session, found.run_id))[0]

    async def _opened(
        self, session: AsyncSession, found: TrainingSession, by: Principal, run_id: UUID, **said: Any
    ) -> None:
        values = {"status": TrainingStatus.OPEN.value, "run_id": run_id, "opened_by": by.actor}
        opened = func.coalesce(TrainingSession.opened_at, func.now())
        await store.put(session, found.id, {**values, "opened_at": opened})
        await self._tell(
            session, found.id, found.agent_id, TrainingStatus.OPEN, by=by.actor, run_id=str(run_id), **said
        )

    async def _close(
        self, session: AsyncSession, found: TrainingSession, status: TrainingStatus, by: str, note: str | None
    ) -> None:
        values = {"status": status.value, "closed_by": by, "closed_at": func.now()}
        await store.put(session, found.id, {**values, "note": clean(note) if note else None})
        run = {"run_id": str(found.run_id)} if found.run_id else {}
        await self._tell(session, found.id, found.agent_id, status, by=by, **run)

    async def _tell(
        self, session: AsyncSession, id_: UUID, agent_id: UUID, status: TrainingStatus, *, by: str, **said: Any
    ) -> None:
        data = {"training_id": str(id_), "status": status.value, **said}
        run_id = UUID(said["run_id"]) if "run_id" in said else None
        await self.ratings.evidence.audit_training(session, by, agent_id, run_id, data)
        await self.runs.outbox.emit(
            session, EventType.TRAINING_CHANGED, actor=by, agent_id=agent_id, run_id=run_id, data=data
        )
