"""Recall: what an agent remembers of a question, a time, an episode or the task at hand, and why each hit is one."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.models import Label
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import Clock
from atom.kit.text import clean
from atom.memory import recall_store, store
from atom.memory.asking import QuestionVectors, WordsOnly
from atom.memory.cues import Cues, cues
from atom.memory.decay import half_life, retrievability
from atom.memory.drafts import Outcome, SegmentKind, Source
from atom.memory.errors import RecallInvalidError
from atom.memory.hit_texts import HitTexts
from atom.memory.hits import Hit, Part, Reason, chosen
from atom.memory.metrics import MemoryMetrics
from atom.memory.models import Tier
from atom.memory.ranking import Candidate, Ranked, rank, tokens_of
from atom.memory.recall_store import Asked, Matching, Vector
from atom.memory.twins import without_twins
from atom.settings import MemorySettings

LEG = 200  # candidates of each of the two legs; with 100, turn R@5 of LoCoMo goes from 66.2 to 65.8
BOUND = 2_000  # segments that are scored by words: as many as the question's rarest words have
MAX_QUERY = 4_000
RECENT = 3  # episodes, of a contextual recall
FAILURES = 3  # segments of it


class Mode(StrEnum):
    """`semantic`: by words and meaning. `temporal`: by time. `sequential`: an episode in order. `contextual`: for a
    task: similar, recent, and what went wrong before."""

    SEMANTIC = "semantic"
    TEMPORAL = "temporal"
    SEQUENTIAL = "sequential"
    CONTEXTUAL = "contextual"


@dataclass(frozen=True, slots=True)
class Filters:
    """None lets everything through. `since` (included) and `until` (excluded) are of the segments' times."""

    outcomes: Sequence[Outcome] | None = None
    sources: Sequence[Source] | None = None
    tiers: Sequence[Tier] | None = None
    kinds: Sequence[SegmentKind] | None = None
    speakers: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    importance: float | None = None
    conversation_id: UUID | None = None
    episode_id: UUID | None = None

    def matching(self, agent_id: UUID) -> Matching:
        return Matching(
            agent_id,
            outcomes=_values(self.outcomes),
            sources=_values(self.sources),
            tiers=_values(self.tiers),
            kinds=_values(self.kinds),
            speakers=None if self.speakers is None else [speaker.lower() for speaker in self.speakers],
            since=self.since,
            until=self.until,
            importance=self.importance,
            conversation_id=self.conversation_id,
            episode_id=self.episode_id,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one agent's memory. `tokens`: most of them, by estimate, in all hits together.

    `around`: of a temporal recall, the nearest to it first. `after`: of a sequential one, the position it goes on from.
    """

    agent_id: UUID
    query: str = ""
    mode: Mode = Mode.SEMANTIC
    filters: Filters = field(default_factory=Filters)
    limit: int | None = None
    tokens: int | None = None
    around: datetime | None = None
    after: int = -1


@dataclass(frozen=True, slots=True)
class Recalled:
    """`words_only` says why nothing was compared by meaning; `cut`: there was more than the limit or the tokens let in.

    `model`: whose vectors were compared. `re_embedding`: another model is on its way, or those of this one are not all
    there yet: some segments were found by words only. `labels`: of all hits together.
    """

    hits: tuple[Hit, ...]
    tokens: int
    cut: bool
    words_only: WordsOnly | None
    seconds: float
    model: str | None = None
    re_embedding: bool = False

    @property
    def labels(self) -> frozenset[Label]:
        return frozenset(label for hit in self.hits for label in hit.labels)


@dataclass(frozen=True, slots=True)
class RecallService:
    """Each recall is of one agent. Nothing is open while the question's vector is made."""

    sessions: Sessions
    questions: QuestionVectors
    settings: MemorySettings
    metrics: MemoryMetrics
    clock: Clock
    texts: HitTexts

    async def recall(self, question: Question) -> Recalled:
        """Raises RecallInvalidError for a question that its mode cannot answer."""
        began = time.perf_counter()
        _check(question)
        wanted = replace(question, query=clean(question.query[:MAX_QUERY]))
        meaning = await self.questions.of(wanted.query)
        async with unit_of_work(self.sessions) as session:
            parts = await without_twins(session, await self._parts(session, wanted, meaning.vector))
        hits = chosen(await self.texts.filled(parts), self._limit(wanted) + 1)
        kept, tokens, cut = self._fitting(hits, wanted)
        async with unit_of_work(self.sessions) as session:
            await store.touch(session, sorted({hit.episode_id for hit in kept}))
        seconds = time.perf_counter() - began
        self.metrics.recall.labels(mode=wanted.mode.value).observe(seconds)
        model = meaning.vector.model if meaning.vector else None
        return Recalled(tuple(kept), tokens, cut, meaning.words_only, seconds, model, meaning.re_embedding)

    async def _parts(self, session: AsyncSession, question: Question, vector: Vector | None) -> list[Part]:
        """One more than the limit, where there are more."""
        most = self._limit(question) + 1
        matching = question.filters.matching(question.agent_id)
        if question.mode is Mode.SEQUENTIAL:
            rows = await recall_store.in_order(session, matching, after=question.after, limit=most)
            return [Part([_hit(row, Reason.IN_ORDER) for row in rows], most, once=False)]
        if question.mode is Mode.TEMPORAL and not question.query.strip():
            rows = await recall_store.by_time(session, matching, around=question.around, limit=most)
            return [Part([_hit(row, Reason.IN_TIME) for row in rows], most, once=False)]
        told = await self._told(session, question)
        similar = Part(await self._similar(session, question, told, vector, most), most)
        if question.mode is not Mode.CONTEXTUAL:
            return [similar]
        wrong = replace(question.filters, outcomes=(Outcome.FAILURE, Outcome.PARTIAL))
        failed = await self._similar(session, replace(question, filters=wrong), told, vector, FAILURES)
        recent = await recall_store.latest(session, question.agent_id, episodes=RECENT)
        warned = Part([replace(hit, reason=Reason.WENT_WRONG) for hit in failed], FAILURES)
        return [warned, Part([_hit(row, Reason.RECENT) for row in recent], RECENT), similar]

    async def _similar(
        self, session: AsyncSession, question: Question, told: "Told", vector: Vector | None, limit: int
    ) -> list[Hit]:
        """Twice the limit: the same words are one hit."""
        matching = question.filters.matching(question.agent_id)
        asked = told.asked
        rows = await recall_store.scored(session, matching, asked, vector, leg=LEG)
        now = self.clock.now()
        ranked = rank(_candidates(rows, now, told.days, cues(question.query, now)))[: 2 * limit]
        found = await recall_store.by_id(session, [one.id for one in ranked])
        return [_hit(found[one.id], Reason.SIMILAR, ranked=one, asked=asked) for one in ranked if one.id in found]

    async def _told(self, session: AsyncSession, question: Question) -> "Told":
        size = await recall_store.size(session, question.agent_id, leg=LEG)
        terms = [term for term in await recall_store.terms(session, question.agent_id, question.query) if term.holders]
        weights = {term.term: _weight(size.segments, term.holders) for term in terms}
        days = size.decay_days or self.settings.episode_decay_days
        return Told(Asked(weights, size.mean, _rarest(terms)), days)

    def _limit(self, question: Question) -> int:
        return min(question.limit or self.settings.recall_limit, 200)

    def _fitting(self, hits: Sequence[Hit], question: Question) -> tuple[list[Hit], int, bool]:
        """The first is always in; what is too long for what is left makes room for shorter ones behind it."""
        budget = question.tokens or self.settings.recall_tokens
        kept: list[Hit] = []
        used = 0
        for hit in hits[: self._limit(question)]:
            cost = tokens_of(hit.text)
            if kept and used + cost > budget:
                continue
            kept.append(hit)
            used += cost
        return kept, used, len(kept) < len(hits)


@dataclass(frozen=True, slots=True)
class Told:
    """What a question's words are worth in an agent's memory, and the days of it."""

    asked: Asked
    days: float


def _check(question: Question) -> None:
    if question.mode in {Mode.SEMANTIC, Mode.CONTEXTUAL} and not question.query.strip():
        raise RecallInvalidError(f"query: a {question.mode} recall needs one.", field="query")
    if question.mode is Mode.SEQUENTIAL and question.filters.episode_id is None:
        raise RecallInvalidError("episode_id: a sequential recall needs one.", field="episode_id")
    given = (question.filters.since, question.filters.until, question.around)
    if question.mode is Mode.TEMPORAL and not any(given):
        raise RecallInvalidError("A temporal recall needs since, until or around.", field="since")
    if any(one is not None and one.tzinfo is None for one in given):
        raise RecallInvalidError("Times need a time zone.", hint="As in 2026-05-04T09:00:00Z.", field="since")


def _weight(count: int, holders: int) -> float:
    """The inverse document frequency, never negative."""
    return math.log(1 + max(0.0, count - holders + 0.5) / (holders + 0.5))


def _rarest(terms: Sequence[recall_store.Term]) -> list[str]:
    """What bounds the work: the rarest words, as far as not too many segments hold them."""
    if not terms:
        return []
    ordered = sorted(terms, key=lambda term: (term.holders, term.term))
    chosen, held = [ordered[0].word], ordered[0].holders
    for term in ordered[1:]:
        held += term.holders
        if held > BOUND:
            break
        chosen.append(term.word)
    return chosen


def _candidates(rows: Sequence[Row[Any]], now: datetime, days: float, named: Cues) -> list[Candidate]:
    """What an episode's memory is worth is reckoned once for all of its segments."""
    strengths: dict[str, float] = {}
    spoke: dict[str, bool] = {}
    found = []
    for row in rows:
        values: tuple[Any, ...] = tuple(row)
        id_, episode_id, position, eligible, lexical, cosine = values[:6]
        if episode_id not in strengths:
            ended_at, importance, feedback, accesses = values[6:10]
            lasting = half_life(days, importance=importance, feedback=feedback, accesses=accesses)
            strengths[episode_id] = retrievability(now, ended_at, lasting)
        strength, speaker, at = strengths[episode_id], values[10], values[11]
        if speaker not in spoke:
            spoke[speaker] = named.spoke(speaker)
        told = Candidate(id_, episode_id, position, lexical, cosine, eligible, strength, spoke[speaker], named.when(at))
        found.append(told)
    return found


def _hit(row: Row[Any], reason: Reason, *, ranked: Ranked | None = None, asked: Asked | None = None) -> Hit:
    held = set(row.words) if asked else set()
    terms = tuple(term for term in asked.weights if term in held) if asked else ()
    return Hit(
        segment_id=row.id,
        episode_id=row.episode_id,
        position=row.position,
        kind=SegmentKind(row.kind),
        speaker=row.speaker,
        ref=row.ref,
        text=row.text,
        at=row.at.astimezone(UTC),
        title=row.title,
        outcome=Outcome(row.outcome),
        labels=frozenset(Label(label) for label in row.labels),
        tier=Tier(row.storage_tier),
        reason=reason,
        score=None if ranked is None else ranked.score,
        why=None if ranked is None else ranked.why,
        terms=terms,
    )


def _values(given: Sequence[StrEnum] | None) -> list[str] | None:
    return None if given is None else [one.value for one in given]
