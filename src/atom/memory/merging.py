"""What a consolidated episode says, by rule: an overview, what was said differently at different times, and a line for
each source. Pure, and always the same for the same sources."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from atom.governance.models import Label
from atom.kit.text import shorten
from atom.memory.describing import MAX_ENTITIES, SUMMARY_CHARS, TITLE_CHARS
from atom.memory.drafts import Draft, Outcome, SegmentKind, Source, Turn

REF = "consolidated"  # of its segments; behind a colon, the source that a line is of
SHARE = 5  # its texts are a fifth of those of its sources at most
LEAST_CHARS = 600
MOST_CHARS = 8_000
TOPICS = 4
MAX_DIFFERENT = 10
MAX_SAID = 6
LONGEST = 240  # of a statement
SCANNED = 200_000  # characters of a source that are searched for statements
BREAK = re.compile(r"(?<=[.!?;])\s+|\n+")
STATEMENT = re.compile(
    r"(?P<about>[^\W_][\w' /-]{1,78}?)\s*(?:\s(?:is|are|was|were|means|costs)(?: now)?\s|[=:]\s|=)"
    r"\s*(?P<value>\S.{0,118}\S|\S)"
)
ARTICLES = frozenset(
    {"the", "a", "an", "my", "our", "your", "his", "her", "its", "their", "that", "this", "and", "but"}
)
NOBODY = frozenset(
    {"it", "he", "she", "they", "there", "what", "who", "we", "i", "you", "that", "this", "which", "here"}
)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A source, with its texts in order."""

    id: UUID
    title: str
    summary: str
    outcome: Outcome
    labels: frozenset[Label]
    entities: Sequence[str]
    importance: float
    started_at: datetime
    ended_at: datetime
    bytes: int
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Statement:
    at: datetime
    value: str


def consolidated(agent_id: UUID, sources: Sequence[Remembered], *, ref: str, told: str | None = None) -> Draft:
    """The episode of these sources, at least two. `told`: what a model made of them, in place of the overview."""
    ordered = sorted(sources, key=lambda one: (one.started_at, one.id))
    began, ended = ordered[0].started_at, max(one.ended_at for one in ordered)
    overview = _overview(ordered, ended)
    room = min(MOST_CHARS, max(LEAST_CHARS, sum(one.bytes for one in ordered) // SHARE))
    lines = [(f"{REF}:{one.id}", _line(one, max(80, room // (2 * len(ordered))))) for one in ordered]
    left = room - sum(len(line) for _, line in lines) - len(told or overview)
    different = list(_fitting(_different(ordered), max(left, room // 4)))
    turns = [Turn(SegmentKind.NOTE, "", text, began, REF) for text in (told or overview, *different)]
    turns += [
        Turn(SegmentKind.NOTE, "", line, one.started_at, name) for one, (name, line) in zip(ordered, lines, strict=True)
    ]
    turns[-1] = replace(turns[-1], at=ended)
    return Draft(
        agent_id=agent_id,
        source=Source.CONSOLIDATION,
        turns=turns,
        created_by="system:consolidation",
        labels=frozenset(label for one in ordered for label in one.labels),
        outcome=outcome_of([one.outcome for one in ordered]),
        title=shorten(_title(ordered, began, ended), TITLE_CHARS),
        summary=shorten(told or overview, SUMMARY_CHARS),
        importance=max(one.importance for one in ordered),
        ref=ref,
        entities=entities_of(ordered),
        provenance={"sources": [str(one.id) for one in ordered], "summary": "rule" if told is None else "model"},
    )


def outcome_of(outcomes: Sequence[Outcome]) -> Outcome:
    """What all those agree on that say anything; else it went partly well."""
    known = {one for one in outcomes if one is not Outcome.UNKNOWN}
    if not known:
        return Outcome.UNKNOWN
    return known.pop() if len(known) == 1 else Outcome.PARTIAL


def entities_of(sources: Sequence[Remembered]) -> list[str]:
    counted = Counter(name for one in sources for name in one.entities)
    return [name for name, _ in sorted(counted.items(), key=lambda found: (-found[1], found[0]))[:MAX_ENTITIES]]


def statements(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is said of what: `the backup is on cobalt`, `port: 8000`, `region=eu`. The first without its article and in
    small letters."""
    for text in texts:
        for sentence in BREAK.split(text[:SCANNED]):
            match = STATEMENT.fullmatch(sentence.strip().rstrip(".!;,")) if len(sentence) <= LONGEST else None
            if match is None:
                continue
            words = match["about"].lower().split()
            while words and words[0] in ARTICLES:
                words.pop(0)
            if words and not (len(words) == 1 and words[0] in NOBODY):
                yield " ".join(words), match["value"].strip()


def _different(sources: Sequence[Remembered]) -> Iterator[str]:
    """Where sources say different things of the same: each of them with its day. Which is right, no rule knows."""
    found: dict[str, list[Statement]] = defaultdict(list)
    for one in sources:
        for about, value in statements(one.texts):
            if all(_same(value) != _same(known.value) for known in found[about]):
                found[about].append(Statement(one.started_at, value))
    for about, said in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(said) > 1 and len({known.at for known in said}) > 1:
            told = [said[0], *said[1:][-(MAX_SAID - 1) :]]
            yield f"Said differently of {about}: " + "; ".join(f"{_day(one.at)}: {one.value}" for one in told)


def _fitting(lines: Iterator[str], room: int) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == MAX_DIFFERENT or (number and len(line) > room):
            return
        room -= len(line)
        yield line


def _overview(sources: Sequence[Remembered], ended: datetime) -> str:
    outcomes = Counter(one.outcome.value for one in sources)
    ways = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    about = ", ".join(entities_of(sources)[:TOPICS])
    when = f"{_day(sources[0].started_at)} to {_day(ended)}"
    return f"{len(sources)} episodes, {when} ({ways})" + (f", about {about}" if about else "") + "."


def _title(sources: Sequence[Remembered], began: datetime, ended: datetime) -> str:
    strongest = max(sources, key=lambda one: (one.importance, one.started_at, one.id))
    return f"{len(sources)} episodes, {_day(began)} to {_day(ended)}: {strongest.title}"


def _line(one: Remembered, room: int) -> str:
    summary = " ".join((one.summary or one.title).split())
    return shorten(f"{_day(one.started_at)} ({one.outcome.value}): {summary}", room)


def _same(value: str) -> str:
    return " ".join(value.lower().split())


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
