"""The client's side of memory."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from atom.client.models import At, JobRef, Page, Wire
from atom.client.transport import Transport, segment

MAX_PAGES = 10_000_000


class Episode(Wire):
    id: str
    agent: str
    run_id: str | None = None
    source: str = ""
    ref: str | None = None
    title: str
    summary: str = ""
    outcome: str
    importance: float = 0.0
    feedback: float | None = None
    feedback_note: str | None = None
    labels: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)
    started_at: At | None = None
    ended_at: At | None = None
    storage_tier: str = ""
    segments: int = 0
    bytes: int = 0
    access_count: int = 0
    last_access_at: At | None = None
    decay_score: float = 0.0
    stability_days: float = 0.0
    created_by: str = ""


class Segment(Wire):
    id: str
    position: int
    kind: str = ""
    speaker: str = ""
    ref: str = ""
    text: str
    at: At | None = None


class Hit(Segment):
    """`why`: lexical, cosine, neighbour, session, speaker, time and strength, as the score was made of them. `body` is
    "away" where `text` is the summary of the episode, because of the error of this code."""

    episode_id: str
    title: str = ""
    outcome: str = ""
    labels: tuple[str, ...] = ()
    storage_tier: str = ""
    body: str = "here"
    away_reason: str | None = None
    reason: str = ""
    score: float | None = None
    terms: tuple[str, ...] = ()
    why: dict[str, Any] | None = None


class Recall(Wire):
    """`words_only`: why nothing was compared by meaning. `cut`: there was more."""

    items: tuple[Hit, ...]
    tokens: int = 0
    cut: bool = False
    words_only: str | None = None
    model: str | None = None
    re_embedding: bool = False
    labels: tuple[str, ...] = ()
    seconds: float = 0.0


class Written(Wire):
    id: str
    created: bool


class AcceptedJob(Wire):
    job_id: str
    status_url: str = ""


class SplitEpisode(Wire):
    """`sources` are hot again."""

    id: str
    sources: tuple[str, ...] = ()


class AgeStats(Wire):
    """Episodes of a tier that ended `days` ago or more, up to the next such number; bytes of their texts."""

    tier: str
    days: int
    episodes: int = 0
    bytes: int = 0


class TierStats(Wire):
    episodes: int = 0
    segments: int = 0
    bytes: int = 0


class Embedding(Wire):
    """How far the present embedding model is; `former`: models whose vectors are still there."""

    model: str
    done: int = 0
    total: int = 0
    complete: bool = False
    former: tuple[str, ...] = ()


class MemoryStats(Wire):
    tiers: dict[str, TierStats] = Field(default_factory=dict)
    unembedded: int = 0
    embedding: Embedding | None = None
    ages: tuple[AgeStats, ...] = ()


class Forgotten(Wire):
    id: str
    cold_pending: bool = False


class MemoryRules(Wire):
    agent: str
    decay_days: int | None = None
    retention_days: int | None = None
    legal_hold: bool = False
    hold_reason: str | None = None


class ExportPage(Wire):
    items: tuple[dict[str, Any], ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Episodes:
    transport: Transport

    async def page(self, limit: int, *, after: str | None = None, **filters: Any) -> Page[Episode]:
        """Filters: agent, outcome, tier, source, since, until."""
        query = {"limit": limit, "after": after, **filters}
        return await self.transport.ask(Page[Episode], "GET", "/api/episodes", query=query)

    async def get(self, episode_id: str) -> Episode:
        return await self.transport.ask(Episode, "GET", _episode(episode_id))

    async def segments(self, episode_id: str, limit: int, *, after: str | None = None) -> Page[Segment]:
        query = {"limit": limit, "after": after}
        return await self.transport.ask(Page[Segment], "GET", f"{_episode(episode_id)}/segments", query=query)

    async def write(self, agent: str, turns: Sequence[dict[str, Any]], **fields: Any) -> Written:
        """Turns: speaker, text, at, kind, ref. Fields: title, summary, outcome, importance, labels, ref, imported,
        provenance. The same `ref` is remembered once."""
        body = {"agent": agent, "turns": [*turns], **fields}
        return await self.transport.ask(Written, "POST", "/api/episodes", body=body)

    async def recall(self, agent: str, query: str = "", **fields: Any) -> Recall:
        """Fields as in `POST /api/episodes/recall`."""
        body = {"agent": agent, "query": query, **fields}
        return await self.transport.ask(Recall, "POST", "/api/episodes/recall", body=body)

    async def rate(self, episode_id: str, feedback: float, *, note: str | None = None) -> Episode:
        body = {"feedback": feedback} if note is None else {"feedback": feedback, "note": note}
        return await self.transport.ask(Episode, "POST", f"{_episode(episode_id)}/feedback", body=body)

    async def correct(self, episode_id: str, text: str) -> Episode:
        """A turn at its end that says what was wrong; the same text said again changes nothing."""
        return await self.transport.ask(Episode, "POST", f"{_episode(episode_id)}/corrections", body={"text": text})

    async def stats(self, agent: str | None = None, *, ages: bool = False) -> MemoryStats:
        """`ages`: also how old what is in each tier is, which takes a look at every episode."""
        query = {"agent": agent, "ages": "true" if ages else None}
        return await self.transport.ask(MemoryStats, "GET", "/api/episodes/stats", query=query)

    async def consolidate(self, agent: str | None = None, *, dry_run: bool = False) -> AcceptedJob:
        """Of one agent or of all; the job's report says what was done."""
        body = {"agent": agent, "dry_run": dry_run}
        return await self.transport.ask(AcceptedJob, "POST", "/api/episodes/consolidate", body=body)

    async def split(self, episode_id: str) -> SplitEpisode:
        return await self.transport.ask(SplitEpisode, "POST", f"{_episode(episode_id)}/split")

    async def archive(self, **fields: Any) -> JobRef:
        """Fields: agent, older_than_days, dry_run. Without any: the whole store."""
        return await self.transport.ask(JobRef, "POST", "/api/episodes/archive", body=fields)

    async def restore(self, **fields: Any) -> JobRef:
        """Fields: ids, agent, dry_run. Without any: everything."""
        return await self.transport.ask(JobRef, "POST", "/api/episodes/restore", body=fields)

    async def forget(self, episode_id: str, reason: str) -> Forgotten:
        return await self.transport.ask(Forgotten, "DELETE", _episode(episode_id), query={"reason": reason})

    async def rules(self, agent: str) -> MemoryRules:
        return await self.transport.ask(MemoryRules, "GET", f"/api/episodes/policies/{segment(agent)}")

    async def set_rules(self, agent: str, rules: dict[str, Any]) -> MemoryRules:
        """decay_days, retention_days, legal_hold and hold_reason, in place of those before."""
        path = f"/api/episodes/policies/{segment(agent)}"
        return await self.transport.ask(MemoryRules, "PUT", path, body=rules)

    async def export(self, agent: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Whole episodes, the oldest first."""
        after: str | None = None
        for _ in range(MAX_PAGES):
            query = {"agent": agent, "after": after}
            page = await self.transport.ask(ExportPage, "GET", "/api/episodes/export", query=query)
            for item in page.items:
                yield item
            after = page.next
            if after is None:
                return


def _episode(episode_id: str) -> str:
    return f"/api/episodes/{segment(episode_id)}"
