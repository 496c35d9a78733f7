"""What people do with a run that goes on: cancel it, pause it, let it go on, decide what nobody else can know."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance.decide import Trigger
from atom.governance.evidence.kinds import Stepping
from atom.governance.models import Label
from atom.governance.service import GovernanceService, Wish
from atom.governance.taint import TAINTING
from atom.identity.models import Principal
from atom.infra.db import after_commit
from atom.kit.text import clean, clean_json, shorten
from atom.runs import notes_store, store
from atom.runs.errors import (
    NoteInvalidError,
    ReviewAbortedError,
    ReviewInvalidError,
    ReviewStaleError,
    RunNotFoundError,
)
from atom.runs.family import Family
from atom.runs.models import Run, RunStatus, Step
from atom.runs.rating import of_run
from atom.runs.records import ToolRecord, edited_note, tool_to_json
from atom.runs.transitions import State, answered_for, in_progress, listens, pause, resume, reviewed, taken_over

PAUSE_CHANNEL = "atom_pause"  # its payload is the run's id
MAX_RESULT = 200_000
MAX_NOTE = 2000


class ReviewDecision(StrEnum):
    """Of a call whose outcome nobody knows. `retry`: make it once more. `done`: it happened, with this result."""

    RETRY = "retry"
    DONE = "done"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Review:
    """A person's word on the open call `step`. `result` goes with `done`: what the tool would have said."""

    decision: ReviewDecision
    step: str
    result: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class RunControl:
    """Each of these is one transaction of the caller, and safe to repeat. `pause_here` tells this process's worker."""

    family: Family
    governance: GovernanceService
    outbox: Outbox
    pause_here: Callable[[UUID], None]

    async def cancel(self, session: AsyncSession, by: Principal, id_: UUID, *, hung_up: bool = False) -> None:
        """A run that nobody works on ends here; a worker that has it stops and ends it. So do those it started.

        `hung_up`: whoever waited for it is gone, which says nothing about the agent.
        """
        run, state = await self._locked(session, id_)
        if state.status is RunStatus.CANCELLED:
            return
        worked = in_progress(state, begun=run.started_at is not None) and not hung_up
        descendants = await self.family.locked_descendants(session, id_)
        ended = await self.family.cancel_one(session, run, state, by=by.actor)
        for each, its_state in descendants:
            await self.family.cancel_one(session, each, its_state, by=by.actor)
        if ended:
            await self.family.ended(session, run, RunStatus.CANCELLED, by=by.actor)
        if worked:
            await self._stepped_in(session, run, by, Stepping.CANCEL)

    async def pause(self, session: AsyncSession, by: Principal, id_: UUID) -> None:
        """A run that nobody works on is paused here; a worker that has it stops at its next step boundary."""
        found = [await self._locked(session, id_), *await self.family.locked_descendants(session, id_)]
        first, how_it_stood = found[0]
        worked = in_progress(how_it_stood, begun=first.started_at is not None)
        for run, state in found:
            await self._pause_one(session, run, state, by=by.actor)
        if worked:
            await self._stepped_in(session, first, by, Stepping.PAUSE)

    async def resume(self, session: AsyncSession, by: Principal, id_: UUID) -> None:
        """Let a paused run go on, with those it started that were paused. Raises RunNotPausedError, RunEndedError."""
        run, state = await self._locked(session, id_)
        await self._resume_one(session, run, state, by=by.actor)
        for each, its_state in await self.family.locked_descendants(session, id_):
            if its_state.status is RunStatus.PAUSED or its_state.pause_requested:
                await self._resume_one(session, each, its_state, by=by.actor)

    async def correct(self, session: AsyncSession, by: Principal, id_: UUID, note: str) -> None:
        """The model reads it before its next turn, whatever that would have been. Raises RunEndedError."""
        said = _worded(note, MAX_NOTE, "note")
        run, state = await self._locked(session, id_)
        listens(state)
        if await notes_store.count(session, id_) >= notes_store.MAX_NOTES:
            raise NoteInvalidError(
                f"note: the run has {notes_store.MAX_NOTES} of them.", hint="Cancel it, or take over."
            )
        note_id = await notes_store.add(session, id_, said, by=by.actor)
        data = {"note_id": str(note_id), "note": said}
        await self.outbox.emit(
            session, EventType.RUN_CORRECTED, actor=by.actor, agent_id=run.agent_id, run_id=id_, data=data
        )
        if in_progress(state, begun=run.started_at is not None):
            await self._stepped_in(session, run, by, Stepping.CORRECT)

    async def take_over(self, session: AsyncSession, by: Principal, id_: UUID, answer: str) -> None:
        """A person ends the run with their own answer. Raises RunAtWorkError while a worker has it, RunEndedError."""
        said = _worded(answer, MAX_RESULT, "answer")
        run, state = await self._locked(session, id_)
        after = taken_over(state)
        await self.family.cancel_descendants(session, id_, by=by.actor)
        await store.put(session, id_, after, {"answer": said})
        await self.family.ended(session, run, RunStatus.COMPLETED, by=by.actor)
        if answered_for(state, begun=run.started_at is not None):
            await self._stepped_in(session, run, by, Stepping.TAKE_OVER)
        data = {"answer": said, "sources": [], "taken_over_by": by.actor}
        await self.outbox.emit(
            session, EventType.RUN_COMPLETED, actor=by.actor, agent_id=run.agent_id, run_id=id_, data=data
        )

    async def halted(self, session: AsyncSession) -> bool:
        """Whether the kill switch holds every run."""
        return await self.governance.halted(session)

    async def open_call(self, session: AsyncSession, id_: UUID) -> Step | None:
        """The call that a run in review waits for."""
        return await store.open_call(session, id_)

    async def review(self, session: AsyncSession, by: Principal, id_: UUID, word: Review) -> None:
        """Decide a call of unknown outcome.

        Raises RunNotInReviewError, ReviewStaleError when another call is open than the one that was decided on.
        """
        _check(word)
        run, state = await self._locked(session, id_)
        after = reviewed(state, abort=word.decision is ReviewDecision.ABORT)
        step = await store.open_call(session, id_)
        if step is None or step.key != word.step:
            raise ReviewStaleError(
                f"step: {word.step!r} is not the call that waits for a review.",
                hint=f"It is {step.key!r}." if step else "Let the run go on.",
                field="step",
            )
        await self._record(session, by, run, step, word)
        match word.decision:
            case ReviewDecision.ABORT:
                await self._abort(session, by, run, after, step, note=word.note)
            case ReviewDecision.DONE:
                await self._done(session, by, run, after, step, result=word.result or "")
            case ReviewDecision.RETRY:
                await self._retry(session, by, run, after, step, note=word.note)

    async def _stepped_in(self, session: AsyncSession, run: Run, by: Principal, how: Stepping) -> None:
        """What a person did to a run while its agent worked; what follows for runs that it started is not theirs."""
        await self.governance.evidence.intervened(session, await of_run(session, run), by, how)

    async def _locked(self, session: AsyncSession, id_: UUID) -> tuple[Run, State]:
        """The run, locked, and the one above it before: see `family`."""
        found = await store.get(session, id_)
        if found is None:
            raise RunNotFoundError(str(id_))
        await self.family.hold_parent(session, found)
        return (await store.locked(session, [id_]))[0]

    async def _pause_one(self, session: AsyncSession, run: Run, state: State, *, by: str) -> None:
        after = pause(state)
        if after == state:
            return
        asked: dict[str, Any] = {"pause_requested_at": None, "pause_requested_by": by}
        if after.pause_requested:
            asked["pause_requested_at"] = func.now()
        await store.put(session, run.id, after, asked)
        if after.pause_requested:
            await store.tell_workers(session, PAUSE_CHANNEL, str(run.id))
            after_commit(session, lambda: self.pause_here(run.id))
            return
        await self.outbox.emit(session, EventType.RUN_PAUSED, actor=by, agent_id=run.agent_id, run_id=run.id, data={})

    async def _resume_one(self, session: AsyncSession, run: Run, state: State, *, by: str) -> None:
        after = resume(state)
        if after == state:
            return
        if after.status is state.status:  # it had not stopped yet
            await store.put(session, run.id, after, {"pause_requested_at": None})
            return
        await self.family.queue(session, run, after, by=by)

    async def _record(self, session: AsyncSession, by: Principal, run: Run, step: Step, word: Review) -> None:
        note = clean(word.note) if word.note else None
        said = {"step": step.key, "tool": step.name, "decision": word.decision.value}
        await self.governance.audit_review(
            session,
            by.actor,
            await self._wish(session, run, step),
            decision=word.decision.value,
            data={"step": step.key, "note": note},
        )
        await self.outbox.emit(
            session, EventType.REVIEW_DECIDED, actor=by.actor, agent_id=run.agent_id, run_id=run.id, data=said
        )

    async def _abort(
        self, session: AsyncSession, by: Principal, run: Run, after: State, step: Step, *, note: str | None
    ) -> None:
        error = ReviewAbortedError(
            f"{by.actor} ended the run: nobody knows whether {step.name} took effect." + (f" {note}" if note else "")
        )
        said = clean_json({"code": error.code, "message": error.message, "hint": "Look whether it did."})
        await store.put(session, run.id, after, {"error": said})
        await self.family.ended(session, run, RunStatus.FAILED, by=by.actor)
        await self.outbox.emit(
            session, EventType.RUN_FAILED, actor=by.actor, agent_id=run.agent_id, run_id=run.id, data={"error": said}
        )

    async def _done(
        self, session: AsyncSession, by: Principal, run: Run, after: State, step: Step, *, result: str
    ) -> None:
        edited = step.request.get("edited_from") is not None
        note = f"{edited_note(step.request['arguments'])}\n" if edited else ""
        labels = self._read_by(step.name)
        record = ToolRecord(note + clean(result), None, (), labels)
        document = tool_to_json(record) | {"reviewed_by": by.actor}
        await store.finish_step(session, run.id, step.key, epoch=run.lease_epoch, result=document)
        counts = {"tool_calls": Run.tool_calls + 1, "crashes": 0, "labels": sorted({*run.labels, *labels})}
        await self.family.queue(session, run, after, by=by.actor, **counts)
        data = {"step": step.key, "tool": step.name, "ok": True, "code": None, "summary": shorten(record.content, 2000)}
        await self.outbox.emit(
            session, EventType.TOOL_FINISHED, actor=by.actor, agent_id=run.agent_id, run_id=run.id, data=data
        )

    def _read_by(self, tool: str) -> frozenset[Label]:
        """Of what a person says that a call has answered: it vouches for nothing, and a stranger's words stay a
        stranger's. Of a tool that is gone nobody knows what it read."""
        action = self.governance.actions.get(tool)
        return frozenset({Label.UNTRUSTED}) if action is None else action.reads & TAINTING

    async def _retry(
        self, session: AsyncSession, by: Principal, run: Run, after: State, step: Step, *, note: str | None
    ) -> None:
        """The one more try passes the door again: this word is the approval that the door will find."""
        await store.retried(session, run.id)
        wish = await self._wish(session, run, step)
        await self.governance.grant_once(session, by.actor, wish, step_key=step.key, note=clean(note) if note else None)
        await self.family.queue(session, run, after, by=by.actor)

    async def _wish(self, session: AsyncSession, run: Run, step: Step) -> Wish:
        """`requester`: who asked for the run at the top, as when it was claimed."""
        lineage = await store.lineage(session, run.id) if run.parent_id else ()
        root = await store.get(session, lineage[-1][0]) if lineage else run
        arguments = step.request.get("arguments") or {}
        callers = tuple(agent_id for _, agent_id in lineage[1:])
        requester = root.requested_by if root else None
        return Wish(run.agent_id, run.id, Trigger(run.trigger), step.name, arguments, callers, requester)


def _worded(text: str, limit: int, field: str) -> str:
    if not text.strip() or len(text) > limit:
        raise NoteInvalidError(f"{field}: 1 to {limit} characters.", field=field)
    return clean(text)


def _check(word: Review) -> None:
    if word.decision is ReviewDecision.DONE and not (word.result or "").strip():
        raise ReviewInvalidError(
            "result: it is empty.", hint="Say what the call did: the agent goes on with it.", field="result"
        )
    if word.decision is not ReviewDecision.DONE and word.result is not None:
        raise ReviewInvalidError(
            f"result: {word.decision.value} takes none.", hint="It goes with `done`.", field="result"
        )
    if len(word.result or "") > MAX_RESULT:
        raise ReviewInvalidError(
            f"result: {len(word.result or '')} characters; at most {MAX_RESULT}.", hint="Shorten it.", field="result"
        )
    if len(word.note or "") > MAX_NOTE:
        raise ReviewInvalidError(f"note: {len(word.note or '')} characters; at most {MAX_NOTE}.", field="note")
