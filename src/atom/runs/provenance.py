"""Whose words a task is. Pure."""

from dataclasses import dataclass
from typing import Any

from atom.governance.models import Label
from atom.governance.taint import TAINTING, Read, Reading
from atom.kit.text import clean


@dataclass(frozen=True, slots=True)
class Provenance:
    """`labels` of what stands in a task from elsewhere; without any, every word is that of whoever ordered it.

    `said`: with labels, what whoever ordered it wrote themselves, if that is known.
    """

    labels: frozenset[Label] = frozenset()
    said: str | None = None

    def heard(self, reading: Reading, task: str, *, what: str) -> None:
        """A run that reads the task has read this. `what` names it for the person who is asked."""
        if self.labels.isdisjoint(TAINTING):
            reading.user_said(task)
            return
        if self.said:
            reading.user_said(self.said)
        reading.read(Read(what, task, self.labels & TAINTING))

    def columns(self) -> dict[str, Any]:
        """As rows keep it: `origin_labels` and `origin_said`."""
        return {"origin_labels": sorted(self.labels), "origin_said": clean(self.said) if self.said else None}


OWN_WORDS = Provenance()


def from_columns(labels: list[Any], said: str | None) -> Provenance:
    return Provenance(frozenset(Label(label) for label in labels), said)
