"""What models are saying at this moment, so that a viewer who comes in the middle reads it from its beginning."""

from dataclasses import dataclass, field
from uuid import UUID

from atom.runs.ports import Delta

MAX_CHARS = 200_000  # of one draft; behind that a late viewer waits for the journaled reply
MAX_DRAFTS = 1000


@dataclass(slots=True)
class Draft:
    step: str
    attempt: int
    parts: list[str] = field(default_factory=list)
    chars: int = 0


@dataclass(slots=True)
class Drafts:
    """One for each run that is being answered in this process. A journaled reply replaces it."""

    _drafts: dict[UUID, Draft] = field(default_factory=dict)

    def add(self, delta: Delta) -> None:
        draft = self._drafts.get(delta.run_id)
        if draft is None or (draft.step, draft.attempt) != (delta.step, delta.attempt):
            draft = self._begin(delta)
        if draft.chars != delta.offset or draft.chars + len(delta.text) > MAX_CHARS:
            return  # it has a gap from here on: no longer a beginning
        draft.parts.append(delta.text)
        draft.chars += len(delta.text)

    def end(self, run_id: UUID | None, step: object) -> None:
        """The reply of `step` is journaled. None: the run has ended or waits."""
        if run_id is not None and run_id in self._drafts and step in {None, self._drafts[run_id].step}:
            del self._drafts[run_id]

    def of(self, run_id: UUID | None) -> list[Delta]:
        """What the models of this run, or of all runs, have said so far: a delta each."""
        wanted = self._drafts if run_id is None else {run_id} & self._drafts.keys()
        return [_whole(one, self._drafts[one]) for one in wanted if self._drafts[one].chars]

    def _begin(self, delta: Delta) -> Draft:
        self._drafts.pop(delta.run_id, None)
        if len(self._drafts) >= MAX_DRAFTS:
            del self._drafts[next(iter(self._drafts))]
        draft = self._drafts[delta.run_id] = Draft(delta.step, delta.attempt)
        return draft


def _whole(run_id: UUID, draft: Draft) -> Delta:
    draft.parts[:] = ["".join(draft.parts)]
    return Delta(run_id, draft.step, draft.attempt, 0, draft.parts[0])
