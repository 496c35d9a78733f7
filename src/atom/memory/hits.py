"""What a recall finds, and which of it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from atom.governance.models import Label
from atom.memory.drafts import Outcome, SegmentKind
from atom.memory.models import Tier
from atom.memory.ranking import Why


class Reason(StrEnum):
    """Why a hit is one."""

    SIMILAR = "similar"
    RECENT = "recent"
    WENT_WRONG = "went_wrong"
    IN_TIME = "in_time"
    IN_ORDER = "in_order"


@dataclass(frozen=True, slots=True)
class Hit:
    """A segment, verbatim, with its episode's title, outcome and labels. `score` compares hits of one recall only.

    `terms`: words of the question that stand in it, as they are indexed. `away`: why its text is not to be had just now
    (a code of an error); `text` is the summary of its episode then.
    """

    segment_id: UUID
    episode_id: UUID
    position: int
    kind: SegmentKind
    speaker: str
    ref: str
    text: str
    at: datetime
    title: str
    outcome: Outcome
    labels: frozenset[Label]
    tier: Tier
    reason: Reason
    score: float | None = None
    why: Why | None = None
    terms: tuple[str, ...] = ()
    away: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Hits of one kind, best first, and how many of them are wanted. `once`: the same words are one hit."""

    hits: Sequence[Hit]
    limit: int
    once: bool = True


def chosen(parts: Sequence[Part], limit: int) -> list[Hit]:
    """Of each part what is wanted of it, all together each once."""
    if len(parts) == 1 and not parts[0].once:
        return list(parts[0].hits[:limit])
    return _each_once([hit for part in parts for hit in _each_once(part.hits)[: part.limit]])[:limit]


def _each_once(hits: Sequence[Hit]) -> list[Hit]:
    """The same words of the same speaker are one hit, at its best place. What stands for a text that is away is not
    known to be the same as anything."""
    kept: dict[tuple[str, str], Hit] = {}
    for hit in hits:
        words = " ".join(hit.text.split()).lower() if hit.away is None else str(hit.segment_id)
        kept.setdefault((hit.speaker.lower(), words), hit)
    return list(kept.values())
