"""Puts the text of a run's replies together from deltas and journaled replies: no gap, and nothing said twice. Pure."""

from dataclasses import dataclass, field

from atom.client.models import Delta

FINISHED_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Piece:
    """Text to show next for a step. `restarted`: what was shown of this step so far is void, this begins it anew."""

    step: str
    text: str
    restarted: bool = False


@dataclass(slots=True)
class Shown:
    attempt: int
    text: str = ""


@dataclass(slots=True)
class Transcript:
    """What was shown of each step whose reply is not yet journaled."""

    open: dict[str, Shown] = field(default_factory=dict)
    finished: dict[str, None] = field(default_factory=dict)

    def delta(self, delta: Delta) -> Piece | None:
        """What a delta adds. None when it is late, known already, or behind a gap (the journaled reply fills that)."""
        if delta.step in self.finished:
            return None
        shown = self.open.get(delta.step)
        if shown is not None and delta.attempt < shown.attempt:
            return None
        if shown is None or delta.attempt > shown.attempt:
            return self._begin(delta, shown)
        return self._extend(shown, delta, restarted=False)

    def _begin(self, delta: Delta, before: Shown | None) -> Piece | None:
        shown = self.open[delta.step] = Shown(delta.attempt)
        return self._extend(shown, delta, restarted=before is not None and before.text != "")

    def _extend(self, shown: Shown, delta: Delta, *, restarted: bool) -> Piece | None:
        known = len(shown.text) - delta.offset
        new = delta.text[known:] if known >= 0 else ""
        shown.text += new
        return Piece(delta.step, new, restarted) if new or restarted else None

    def reply(self, step: str, text: str) -> Piece | None:
        """What the journaled reply adds to what was shown; the whole of it where the two differ."""
        if step in self.finished:
            return None
        shown = self.open.pop(step, None)
        self._finish(step)
        before = shown.text if shown else ""
        if not text.startswith(before):
            return Piece(step, text, restarted=True)
        return Piece(step, text[len(before) :]) if len(text) > len(before) else None

    def _finish(self, step: str) -> None:
        self.finished[step] = None
        if len(self.finished) > FINISHED_KEPT:
            del self.finished[next(iter(self.finished))]
