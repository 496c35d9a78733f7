"""An ended run as what its agent remembers of it: the turns, verbatim, and how it came out. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from atom.governance.models import Label
from atom.governance.tables import Approval, ApprovalStatus
from atom.kit.text import canonical_json
from atom.memory.drafts import Draft, Outcome, SegmentKind, Source, Turn
from atom.runs.models import Run, RunNote, RunStatus, Step, StepKind
from atom.runs.transcript import with_files

SYSTEM = "system:memory"
UNKNOWN_END = "Nobody knows how this call ended."
YES = frozenset({ApprovalStatus.APPROVED, ApprovalStatus.USED})


@dataclass(frozen=True, slots=True)
class Told:
    """Everything on record about an ended run. `agent` is its agent's name; steps are in their order."""

    run: Run
    agent: str
    steps: Sequence[Step]
    notes: Sequence[RunNote] = ()
    approvals: Sequence[Approval] = ()


def draft_of(told: Told) -> Draft:
    """Its labels are those of everything that the run has read, its task included."""
    run = told.run
    labels = frozenset(Label(label) for label in (*run.labels, *run.origin_labels))
    said = {"model": run.model, "provider": run.provider, "trigger": run.trigger, "requested_by": run.requested_by}
    return Draft(
        agent_id=run.agent_id,
        source=Source.RUN,
        turns=_in_order(told),
        created_by=SYSTEM,
        labels=labels,
        outcome=outcome_of(told),
        ref=str(run.id),
        run_id=run.id,
        conversation_id=run.conversation_id,
        provenance={name: value for name, value in said.items() if value is not None},
    )


def outcome_of(told: Told) -> Outcome:
    """Partial: a person gave the answer, the last call failed and nothing was done about it, or it was stopped after
    it had done something."""
    ends = [step.result or {} for step in told.steps if step.kind == StepKind.TOOL]
    status = RunStatus(told.run.status)
    if status is RunStatus.FAILED:
        return Outcome.FAILURE
    if status is RunStatus.CANCELLED:
        return Outcome.PARTIAL if any(end.get("ok") for end in ends) else Outcome.UNKNOWN
    unfinished = bool(ends) and not ends[-1].get("ok")
    return Outcome.PARTIAL if unfinished or taken_over(told) else Outcome.SUCCESS


def taken_over(told: Told) -> bool:
    """A run that its agent completes has a last reply that calls no tool."""
    replies = [step.result or {} for step in told.steps if step.kind == StepKind.MODEL]
    return told.run.answer is not None and (not replies or bool(replies[-1].get("tool_calls")))


def _in_order(told: Told) -> list[Turn]:
    """A person's word may be older than the turn that it was shown before: times never run backwards."""
    turns: list[Turn] = []
    for turn in _turns(told):
        turns.append(replace(turn, at=max(turn.at, turns[-1].at)) if turns else turn)
    return turns


def _turns(told: Told) -> Iterator[Turn]:
    run = told.run
    yield Turn(SegmentKind.TASK, run.requested_by, with_files(run.task, run.files), run.created_at, "task")
    notes: dict[int, list[RunNote]] = defaultdict(list)
    for note in told.notes:
        notes[note.turn or 0].append(note)
    approvals: dict[str, list[Approval]] = defaultdict(list)
    for approval in told.approvals:
        approvals[approval.step_key].append(approval)
    for step in told.steps:
        if step.kind == StepKind.MODEL:
            yield from _corrections(notes.pop(_turn_number(step.key), ()))
            yield from _reply(told, step)
        else:
            yield from _call(step, approvals.pop(step.key, ()))
    for left in notes.values():
        yield from _corrections(left)
    for unused in approvals.values():  # of calls that never began
        yield from map(_approval, unused)
    yield from _end(told)


def _reply(told: Told, step: Step) -> Iterator[Turn]:
    text = str((step.result or {}).get("text", ""))
    if text.strip():
        yield Turn(SegmentKind.REPLY, told.agent, text, step.ended_at or step.started_at, step.key)


def _call(step: Step, approvals: Sequence[Approval]) -> Iterator[Turn]:
    arguments = step.request.get("arguments", {})
    shown = arguments if isinstance(arguments, str) else canonical_json(arguments)
    yield Turn(SegmentKind.CALL, step.name, shown, step.started_at, step.key)
    yield from map(_approval, approvals)
    result: Mapping[str, Any] | None = step.result
    text = UNKNOWN_END if result is None else str(result.get("content", ""))
    yield Turn(SegmentKind.RESULT, step.name, text, step.ended_at or step.started_at, step.key)


def _corrections(notes: Sequence[RunNote]) -> Iterator[Turn]:
    for note in notes:
        yield Turn(SegmentKind.CORRECTION, note.written_by, note.note, note.written_at, f"turn-{note.turn}")


def _approval(approval: Approval) -> Turn:
    verb = "approved" if approval.status in YES else approval.status
    said = f"{verb} {approval.action} {canonical_json(approval.arguments)}"
    text = f"{said}: {approval.note}" if approval.note else said
    who = approval.decided_by or "nobody"
    return Turn(SegmentKind.APPROVAL, who, text, approval.decided_at or approval.requested_at, approval.step_key)


def _end(told: Told) -> Iterator[Turn]:
    run = told.run
    at = run.ended_at or run.created_at
    if run.answer is not None and not _was_said(told, run.answer):
        speaker = "person" if taken_over(told) else told.agent
        kind = SegmentKind.CORRECTION if taken_over(told) else SegmentKind.REPLY
        yield Turn(kind, speaker, run.answer, at, "answer")
    if run.error is not None:
        yield Turn(SegmentKind.NOTE, SYSTEM, f"{run.error.get('code')}: {run.error.get('message')}", at, "error")
    if run.status == RunStatus.CANCELLED:
        yield Turn(SegmentKind.NOTE, SYSTEM, f"cancelled by {run.cancel_requested_by or 'somebody'}", at, "cancelled")


def _was_said(told: Told, answer: str) -> bool:
    said = [str((step.result or {}).get("text", "")) for step in told.steps if step.kind == StepKind.MODEL]
    return bool(said) and said[-1].strip() == answer.strip()


def _turn_number(key: str) -> int:
    return int(key.removeprefix("turn-").partition(".")[0])
