"""What is said about an episode without a model: title, summary, entities, importance. Pure, and always the same."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from atom.kit.text import shorten
from atom.memory.drafts import Outcome, SegmentKind, Turn
from atom.retrieval.terms import STOP_WORDS

TITLE_CHARS = 120
SUMMARY_CHARS = 600
MAX_ENTITIES = 24
SCANNED_CHARS = 50_000
SAID = frozenset({SegmentKind.TASK, SegmentKind.MESSAGE})
# Texts are hostile: every repetition that something must follow has a bound, and begins only where a word does.
NAMED = re.compile(
    r"https?://[^\s<>\"')\]]+"  # addresses
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{0,190}\w"
    r"|(?<![\w.-])(?:[\w.-]{1,80}/){1,16}[\w-]{1,80}\.\w+"  # paths
    r"|\b[A-Za-z]+(?:_[A-Za-z0-9]+)+\b"  # identifiers
    r"|\b[A-Z][\w'-]*(?: [A-Z][\w'-]*)*"  # names
)
IMPORTANCE = 0.5
OUTCOME_WEIGHT = {Outcome.FAILURE: 0.15, Outcome.PARTIAL: 0.1}
KIND_WEIGHT = {SegmentKind.CORRECTION: 0.15, SegmentKind.APPROVAL: 0.1}


def title_of(turns: Sequence[Turn]) -> str:
    """The first line of what was asked, else of what was said."""
    first = next((turn for turn in turns if turn.kind in SAID), turns[0])
    lines = (line.strip() for line in first.text.splitlines())
    return shorten(next((line for line in lines if line), "(empty)"), TITLE_CHARS)


def summary_of(turns: Sequence[Turn]) -> str:
    """What was asked, and the last word on it."""
    first = next((turn for turn in turns if turn.kind in SAID), turns[0])
    last = next((turn for turn in reversed(turns) if turn.kind is not SegmentKind.CALL), turns[-1])
    half = SUMMARY_CHARS // 2
    asked = shorten(" ".join(first.text.split()), half)
    if last is first:
        return asked
    said = shorten(" ".join(last.text.split()), half)
    return f"{asked} \N{RIGHTWARDS ARROW} {said}"


def entities_of(turns: Iterable[Turn]) -> list[str]:
    """Names, addresses, paths and identifiers, the most frequent first; whoever speaks is one."""
    found: Counter[str] = Counter()
    left = SCANNED_CHARS
    for turn in turns:
        if turn.speaker:
            found[turn.speaker] += 1
        if left > 0:
            found.update(_named(turn.text[:left]))
            left -= len(turn.text)
    return [name for name, _ in found.most_common(MAX_ENTITIES)]


def importance_of(turns: Iterable[Turn], outcome: Outcome) -> float:
    """0 to 1: failures, corrections and approvals are worth more than what went as it always goes."""
    kinds = {turn.kind for turn in turns}
    extra = sum(weight for kind, weight in KIND_WEIGHT.items() if kind in kinds)
    return min(1.0, IMPORTANCE + OUTCOME_WEIGHT.get(outcome, 0.0) + extra)


def importance_with(importance: float, kind: SegmentKind) -> float:
    """What it becomes with a first segment of this kind."""
    return min(1.0, importance + KIND_WEIGHT.get(kind, 0.0))


def after_feedback(importance: float, feedback: float) -> float:
    """A person's word moves importance half of the way to 1, or to 0."""
    goal = 1.0 if feedback > 0 else 0.0
    return importance + (goal - importance) * abs(feedback) / 2


def _named(text: str) -> Iterable[str]:
    for match in NAMED.finditer(text):
        name = match.group().strip("'-.")
        if len(name) > 1 and name.lower() not in STOP_WORDS and len(name) <= 80:
            yield name
