"""Writing episodes, reading them whole, and what people say about them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.service import AgentService
from atom.events.service import Signal
from atom.identity.models import Principal
from atom.infra.db import after_commit
from atom.kit.ids import new_id
from atom.kit.text import clean, clean_json, shorten
from atom.memory import model_store, policy_store, store
from atom.memory.decay import half_life, retrievability
from atom.memory.describing import SUMMARY_CHARS, TITLE_CHARS, after_feedback, entities_of, importance_of, summary_of
from atom.memory.describing import title_of as first_line
from atom.memory.drafts import Draft, Outcome, Turn, columns_of, cut, parts_of
from atom.memory.errors import EpisodeInvalidError, EpisodeNotFoundError
from atom.memory.model_store import Progress
from atom.memory.models import Episode, Source
from atom.memory.store import Wanted
from atom.settings import MemorySettings

MAX_SEGMENTS = 50_000
MAX_NOTE = 2_000
MAX_SPEAKER = 100
MAX_REF = 200
log = structlog.get_logger(service="episodic_memory")


@dataclass(frozen=True, slots=True)
class Written:
    """`fresh` is False for what was remembered already: nothing was written then."""

    id: UUID
    fresh: bool


@dataclass(frozen=True, slots=True)
class Fading:
    """`score`: 0 to 1, how likely it is to be remembered now. `half_life_days`: until that has halved."""

    score: float
    half_life_days: float


@dataclass(frozen=True, slots=True)
class TierStats:
    episodes: int
    segments: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """`unembedded`: segments that wait for a vector. `embedding` None: there are no vectors at all."""

    tiers: dict[str, TierStats]
    unembedded: int
    embedding: Progress | None


@dataclass(frozen=True, slots=True)
class MemoryService:
    """Who may read or write is judged at the edges. `written` wakes whoever makes vectors."""

    agents: AgentService
    settings: MemorySettings
    written: Signal

    async def remember(self, session: AsyncSession, draft: Draft) -> list[Written]:
        """The draft as one episode, or as several where there is a pause of half an hour or another topic.

        Raises EpisodeInvalidError.
        """
        _check(draft)
        return [await self._write(session, part) for part in parts_of(draft)]

    async def record(self, session: AsyncSession, draft: Draft) -> Written:
        """The draft as one episode, whatever pauses it has. Raises EpisodeInvalidError."""
        _check(draft)
        return await self._write(session, draft)

    async def get(self, session: AsyncSession, id_: UUID) -> tuple[Episode, str]:
        """The episode and its agent's name. Raises EpisodeNotFoundError."""
        found = await store.get(session, id_)
        if found is None:
            raise EpisodeNotFoundError(str(id_))
        return found

    async def require(self, session: AsyncSession, ids: Collection[UUID]) -> None:
        """Raises EpisodeNotFoundError for the first id of no episode."""
        known = await store.existing(session, ids) if ids else set()
        missing = [id_ for id_ in ids if id_ not in known]
        if missing:
            raise EpisodeNotFoundError(str(missing[0]))

    async def page(
        self, session: AsyncSession, wanted: Wanted, *, before: UUID | None, limit: int
    ) -> Sequence[tuple[Episode, str]]:
        return await store.page(session, wanted, before=before, limit=limit)

    async def any_of(self, session: AsyncSession, agent_id: UUID) -> bool:
        """Whether the agent remembers anything."""
        return any(tally.episodes for tally in await store.tallies(session, agent_id))

    async def of_conversation(self, session: AsyncSession, ids: Collection[UUID], conversation_id: UUID) -> set[UUID]:
        """Those of the episodes that are of this conversation."""
        return await store.of_conversation(session, ids, conversation_id)

    async def rate(
        self, session: AsyncSession, by: Principal, id_: UUID, feedback: float, note: str | None
    ) -> tuple[Episode, str]:
        """What a person thinks of it, -1 to 1, said once more as often as they like: the last word counts, and moves
        the importance that its turns gave it. Raises EpisodeInvalidError, EpisodeNotFoundError."""
        if not -1 <= feedback <= 1:
            raise EpisodeInvalidError("feedback: it is between -1 and 1.", field="feedback")
        if note is not None and len(note) > MAX_NOTE:
            raise EpisodeInvalidError(f"note: {len(note)} characters; at most {MAX_NOTE}.", field="note")
        found = await store.get(session, id_, lock=True)
        if found is None:
            raise EpisodeNotFoundError(str(id_))
        was = float(found[0].provenance["importance"])
        values = {
            "feedback": feedback,
            "feedback_note": clean(note) if note else None,
            "feedback_by": by.actor,
            "importance": after_feedback(was, feedback),
        }
        await store.put(session, id_, values)
        log.info("memory.episode_rated", episode_id=str(id_), feedback=feedback, by=by.actor)
        return await self.get(session, id_)

    async def fading(self, session: AsyncSession, episodes: Sequence[Episode]) -> dict[UUID, Fading]:
        """How far each has faded by now, by what its agent's rules and the settings say now."""
        own = await policy_store.decay_days(session, {one.agent_id for one in episodes})
        now = datetime.now(UTC)
        return {one.id: _fading(one, own.get(one.agent_id, self.settings.episode_decay_days), now) for one in episodes}

    async def stats(self, session: AsyncSession, agent: str | None) -> Stats:
        """Of one agent or of all. Raises AgentNotFoundError."""
        agent_id = (await self.agents.get(session, agent)).id if agent is not None else None
        tiers = {tier: TierStats(*counts) for tier, counts in (await store.by_tier(session, agent_id)).items()}
        unembedded = await store.unembedded(session, agent_id)
        return Stats(tiers, unembedded, await model_store.progress(session, agent_id))

    async def _write(self, session: AsyncSession, draft: Draft) -> Written:
        turns = [_cleaned(turn) for turn in draft.turns]
        pieces = [piece for turn in turns for piece in cut(turn)]
        if len(pieces) > MAX_SEGMENTS:
            raise EpisodeInvalidError(f"turns: {len(pieces)} segments; at most {MAX_SEGMENTS}.", field="turns")
        size = sum(len(piece.text.encode()) for piece in pieces)
        id_ = await store.add(session, self._values(draft, turns, segments=len(pieces), size=size))
        if id_ is None:
            return Written(await self._twin(session, draft), fresh=False)
        columns = columns_of(pieces)
        await store.add_segments(session, id_, draft.agent_id, columns, size=size)
        after_commit(session, self.written.set)
        log.info("memory.episode_written", episode_id=str(id_), agent_id=str(draft.agent_id), segments=len(pieces))
        return Written(id_, fresh=True)

    async def _twin(self, session: AsyncSession, draft: Draft) -> UUID:
        key = _key(draft)
        assert key is not None
        known = await store.twin(session, draft.agent_id, draft.source.value, key)
        if known is None:  # another transaction writes it just now, or has just taken it back
            raise EpisodeInvalidError("This episode is being written by somebody else just now.", hint="Try again.")
        return known

    def _values(self, draft: Draft, turns: Sequence[Turn], *, segments: int, size: int) -> dict[str, Any]:
        outcome = Outcome(draft.outcome)
        importance = importance_of(turns, outcome) if draft.importance is None else draft.importance
        title = shorten(clean(draft.title.strip()), TITLE_CHARS) if draft.title and draft.title.strip() else None
        summary = shorten(clean(draft.summary), SUMMARY_CHARS) if draft.summary else None
        return {
            "id": new_id(),
            "agent_id": draft.agent_id,
            "conversation_id": draft.conversation_id,
            "execution_id": draft.run_id,
            "part": draft.part,
            "source": draft.source.value,
            "source_ref": _key(draft),
            "title": title or first_line(turns),
            "summary": summary or summary_of(turns),
            "outcome": outcome.value,
            "importance": importance,
            "provenance": clean_json({**draft.provenance, "importance": importance}),
            "labels": sorted(label.value for label in draft.labels),
            "entities": entities_of(turns) if draft.entities is None else [*draft.entities],
            "started_at": turns[0].at,
            "ended_at": turns[-1].at,
            "stability_days": float(self.settings.episode_decay_days),
            "segments": segments,
            "bytes": size,
            "created_by": draft.created_by,
        }


def _fading(episode: Episode, days: float, now: datetime) -> Fading:
    lasting = half_life(
        days, importance=episode.importance, feedback=episode.feedback or 0.0, accesses=episode.access_count
    )
    return Fading(retrievability(now, episode.ended_at or episode.started_at, lasting), lasting)


def _check(draft: Draft) -> None:
    if not draft.turns:
        raise EpisodeInvalidError("turns: there are none.", field="turns")
    if any(later.at < earlier.at for earlier, later in pairwise(draft.turns)):
        raise EpisodeInvalidError("turns: they are not in the order of their times.", field="turns")


def _key(draft: Draft) -> str | None:
    """What the same thing is known by. A part of something has a number of its own."""
    if draft.ref is None:
        return None
    return draft.ref if draft.part == 0 else f"{draft.ref}#{draft.part}"


def _cleaned(turn: Turn) -> Turn:
    speaker, ref = clean(turn.speaker[:MAX_SPEAKER]), clean(turn.ref[:MAX_REF])
    return Turn(turn.kind, speaker, clean(turn.text), turn.at, ref)


__all__ = ["MemoryService", "Source", "Stats", "TierStats", "Wanted", "Written"]
