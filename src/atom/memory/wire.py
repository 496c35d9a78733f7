"""What episodes and recalls look like in the API."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from atom.governance.models import Label
from atom.memory.age_store import Age
from atom.memory.asking import WordsOnly
from atom.memory.correcting import Correction
from atom.memory.drafts import Outcome, SegmentKind, Source, Turn
from atom.memory.hits import Hit, Reason
from atom.memory.models import Episode, Segment, Tier
from atom.memory.recall import Filters, Mode, Recalled
from atom.memory.service import Fading, Stats

MAX_TURNS = 5_000
Score = Annotated[float, Field(ge=-1, le=1)]


class TurnIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    speaker: str = Field(max_length=100)
    text: str
    at: AwareDatetime
    kind: SegmentKind = SegmentKind.MESSAGE
    ref: str = Field(default="", max_length=200, description="Its name where it comes from.")

    def turn(self) -> Turn:
        return Turn(self.kind, self.speaker, self.text, self.at, self.ref)


class EpisodeIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agent: str = Field(max_length=64, description="Name or id of the agent that is to remember it.")
    turns: list[TurnIn] = Field(min_length=1, max_length=MAX_TURNS, description="In the order of their times.")
    title: str | None = Field(default=None, max_length=500)
    summary: str | None = Field(default=None, max_length=5_000)
    outcome: Outcome = Outcome.UNKNOWN
    importance: float | None = Field(default=None, ge=0, le=1)
    labels: list[Label] = Field(
        default=[Label.UNTRUSTED], description="Of every word in it. An empty list says that you vouch for all of it."
    )
    ref: str | None = Field(
        default=None, min_length=1, max_length=180, description="What it was made of: the same is remembered once."
    )
    imported: bool = Field(default=False, description="It is a transcript from elsewhere.")
    provenance: dict[str, Any] = Field(default_factory=dict, max_length=20)


class EpisodeOut(BaseModel):
    id: UUID
    agent: str
    agent_id: UUID
    run_id: UUID | None
    conversation_id: UUID | None
    part: int = Field(description="A run with a pause of half an hour in it is several episodes.")
    source: Source
    ref: str | None
    title: str
    summary: str
    outcome: Outcome
    importance: float
    feedback: float | None
    feedback_note: str | None
    feedback_by: str | None
    labels: list[Label] = Field(description="Of everything that stands in it.")
    entities: list[str]
    provenance: dict[str, Any]
    started_at: datetime
    ended_at: datetime | None
    storage_tier: Tier
    segments: int
    bytes: int
    access_count: int
    last_access_at: datetime | None
    decay_score: float = Field(description="0 to 1: how likely it is to be remembered now. Old ones stay findable.")
    stability_days: float = Field(description="Days until its decay score has halved.")
    created_by: str
    created_at: datetime


class EpisodePage(BaseModel):
    items: list[EpisodeOut]
    next: str | None


class WrittenOut(BaseModel):
    id: UUID
    created: bool = Field(description="False: the same ref was remembered before, and nothing was written.")


class SegmentOut(BaseModel):
    id: UUID
    position: int
    kind: SegmentKind
    speaker: str
    ref: str
    text: str
    at: datetime


class SegmentPage(BaseModel):
    items: list[SegmentOut]
    next: str | None


class FeedbackIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    feedback: Score
    note: str | None = Field(default=None, max_length=2_000)


class TierOut(BaseModel):
    episodes: int
    segments: int
    bytes: int


class AgeOut(BaseModel):
    tier: Tier
    days: int = Field(description="It ended so many days ago or more, up to the next such number of the list.")
    episodes: int
    bytes: int = Field(description="Of the texts, unpacked.")


class EmbeddingOut(BaseModel):
    """How far the present embedding model is."""

    model: str
    done: int = Field(description="Segments with a vector of it.")
    total: int = Field(description="Segments that there are.")
    complete: bool = Field(description="Recall uses its vectors; until then those of a former model where it can.")
    former: tuple[str, ...] = Field(description="Models whose vectors are still there.")


class StatsOut(BaseModel):
    tiers: dict[Tier, TierOut]
    ages: list[AgeOut] = Field(description="Empty unless they were asked for.")
    unembedded: int = Field(description="Segments that cannot be found by meaning yet.")
    embedding: EmbeddingOut | None = Field(description="Null: there are no vectors.")


class RecallIn(BaseModel):
    """`mode`: semantic (a query), temporal (since, until or around), sequential (an episode), contextual (a task)."""

    model_config = ConfigDict(extra="forbid")
    agent: str = Field(max_length=64, description="Name or id. Every recall is of one agent.")
    query: str = Field(default="", max_length=4_000)
    mode: Mode = Mode.SEMANTIC
    limit: int | None = Field(default=None, ge=1, le=200)
    tokens: int | None = Field(default=None, ge=1, le=200_000, description="Most tokens of all hits, by estimate.")
    outcomes: list[Outcome] | None = None
    sources: list[Source] | None = None
    tiers: list[Tier] | None = None
    kinds: list[SegmentKind] | None = None
    speakers: list[str] | None = Field(default=None, max_length=50)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    around: AwareDatetime | None = None
    importance: float | None = Field(default=None, ge=0, le=1, description="At least this.")
    conversation_id: UUID | None = None
    episode_id: UUID | None = None
    after: int = Field(default=-1, ge=-1, description="Of a sequential recall: go on behind this position.")

    def filters(self) -> Filters:
        names = (
            "outcomes", "sources", "tiers", "kinds", "speakers", "since", "until", "importance", "conversation_id",
            "episode_id",
        )  # fmt: skip
        return Filters(**{name: getattr(self, name) for name in names})


class CorrectionIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(description="What was wrong, and what is right; at most 20,000 characters.")
    labels: list[Label] = Field(default=[], description="Of its words; none: the caller vouches for them.")

    def correction(self) -> Correction:
        return Correction(self.text, frozenset(self.labels))


class WhyOut(BaseModel):
    lexical: float = Field(description="BM25.")
    cosine: float | None = Field(description="Of the vectors; null: it has none.")
    neighbour: float
    session: float
    speaker: float = Field(default=0.0, description="Added where the query names the one who spoke.")
    time: float = Field(default=0.0, description="Added where the query names the time.")
    strength: float = Field(description="0 to 1: how fresh the memory is. It moves a score by a fifth at most.")


class HitOut(SegmentOut):
    episode_id: UUID
    title: str
    outcome: Outcome
    labels: list[Label]
    storage_tier: Tier
    body: Literal["here", "away"] = Field(description="away: `text` is the summary of its episode.")
    away_reason: str | None = Field(description="Code of the error for which its text is not to be had just now.")
    reason: Reason
    score: float | None
    terms: list[str] = Field(description="Words of the query that stand in it, as they are indexed.")
    why: WhyOut | None


class RecallOut(BaseModel):
    items: list[HitOut]
    tokens: int
    cut: bool = Field(description="There was more than the limit or the tokens let in.")
    words_only: WordsOnly | None = Field(description="Why nothing was compared by meaning.")
    model: str | None = Field(description="Whose vectors were compared.")
    re_embedding: bool = Field(description="Not all segments have a vector of it: some were found by words only.")
    labels: list[Label] = Field(description="Of all hits together.")
    seconds: float


def episode_out(episode: Episode, agent: str, fading: Fading) -> EpisodeOut:
    elsewhere = {"agent", "run_id", "ref", "decay_score", "stability_days"}
    fields: dict[str, Any] = {name: getattr(episode, name) for name in EpisodeOut.model_fields if name not in elsewhere}
    return EpisodeOut(
        **fields,
        agent=agent,
        run_id=episode.execution_id,
        ref=episode.source_ref,
        decay_score=round(fading.score, 4),
        stability_days=round(fading.half_life_days, 2),
    )


def segment_out(segment: Segment) -> SegmentOut:
    return SegmentOut(**{name: getattr(segment, name) for name in SegmentOut.model_fields})


def stats_out(stats: Stats, ages: Sequence[Age]) -> StatsOut:
    empty = TierOut(episodes=0, segments=0, bytes=0)
    tiers = {
        Tier(name): TierOut(episodes=one.episodes, segments=one.segments, bytes=one.bytes)
        for name, one in stats.tiers.items()
    }
    one = stats.embedding
    return StatsOut(
        tiers={tier: tiers.get(tier, empty) for tier in Tier},
        unembedded=stats.unembedded,
        ages=[AgeOut(tier=Tier(one.tier), days=one.days, episodes=one.episodes, bytes=one.bytes) for one in ages],
        embedding=None if one is None else EmbeddingOut(**asdict(one)),
    )


def recall_out(recalled: Recalled) -> RecallOut:
    return RecallOut(
        items=[_hit(hit) for hit in recalled.hits],
        tokens=recalled.tokens,
        cut=recalled.cut,
        words_only=recalled.words_only,
        model=recalled.model,
        re_embedding=recalled.re_embedding,
        labels=sorted(recalled.labels),
        seconds=recalled.seconds,
    )


def _hit(hit: Hit) -> HitOut:
    why = hit.why
    return HitOut(
        id=hit.segment_id,
        position=hit.position,
        kind=hit.kind,
        speaker=hit.speaker,
        ref=hit.ref,
        text=hit.text,
        at=hit.at,
        episode_id=hit.episode_id,
        title=hit.title,
        outcome=hit.outcome,
        labels=sorted(hit.labels),
        storage_tier=hit.tier,
        body="here" if hit.away is None else "away",
        away_reason=hit.away,
        reason=hit.reason,
        score=hit.score,
        terms=list(hit.terms),
        why=None if why is None else WhyOut(**asdict(why)),
    )
