"""What a person says was wrong with an episode: a segment at its end, found by recall as every other."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.events.service import Signal
from atom.governance.models import Label
from atom.identity.models import Principal
from atom.infra.db import after_commit
from atom.kit.text import clean
from atom.memory import store, tier_store
from atom.memory.describing import MAX_ENTITIES, after_feedback, entities_of, importance_with
from atom.memory.drafts import SegmentKind, Turn, columns_of, cut
from atom.memory.errors import EpisodeColdError, EpisodeInvalidError, EpisodeNotFoundError
from atom.memory.models import Episode, Tier
from atom.memory.tier_store import Change
from atom.memory.tiers import to_hot, to_warm

MAX_CORRECTION = 20_000  # characters
MAX_CORRECTIONS = 100  # of one episode
REF = "correction:"
log = structlog.get_logger(service="episodic_memory")


@dataclass(frozen=True, slots=True)
class Correction:
    """`labels`: of its words; none where the person vouches for them."""

    text: str
    labels: frozenset[Label] = frozenset()


async def correct(
    session: AsyncSession, by: Principal, id_: UUID, correction: Correction, written: Signal
) -> tuple[Episode, str]:
    """The episode with it, and its agent's name. Said once more it changes nothing. The tier stays what it is.

    Raises EpisodeInvalidError, EpisodeNotFoundError, EpisodeColdError, BodyCorruptError.
    """
    text = _checked(correction.text)
    ref = REF + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    found = await store.get(session, id_, lock=True)
    if found is None:
        raise EpisodeNotFoundError(str(id_))
    known = await store.refs(session, id_, REF)
    if ref in known:
        return found
    if len(known) >= MAX_CORRECTIONS:
        raise EpisodeInvalidError(f"It has {len(known)} corrections; that is the most.", field="text")
    tier = found[0].storage_tier
    if tier == Tier.COLD:
        raise EpisodeColdError(str(id_))
    if tier == Tier.WARM:
        await to_hot(session, [id_])
    turn = Turn(SegmentKind.CORRECTION, by.actor, text, datetime.now(UTC), ref)
    await _append(session, found[0], turn, correction.labels, first=not known)
    if tier == Tier.WARM:
        await to_warm(session, [id_])
    after_commit(session, written.set)
    log.info("memory.episode_corrected", episode_id=str(id_), by=by.actor)
    corrected = await store.get(session, id_)
    assert corrected is not None
    return corrected


async def _append(
    session: AsyncSession, episode: Episode, turn: Turn, labels: Collection[Label], *, first: bool
) -> None:
    """To a hot one, whose row is locked; its tally is counted anew."""
    before = await tier_store.lock(session, [episode.id], Tier.HOT)
    pieces = [*cut(turn)]
    columns = columns_of(pieces, start=episode.segments)
    await store.append_segments(session, episode.id, episode.agent_id, columns)
    await store.put(session, episode.id, _values(episode, turn, labels, pieces=len(pieces), first=first))
    after = await tier_store.lock(session, [episode.id], Tier.HOT)
    changes = [Change(one, Tier.HOT, one.bytes, -1) for one in before]
    await tier_store.count_all(session, [*changes, *(Change(one, Tier.HOT, one.bytes, 1) for one in after)])


def _values(episode: Episode, turn: Turn, labels: Collection[Label], *, pieces: int, first: bool) -> dict[str, Any]:
    """A first correction makes an episode as important as one that had it in its turns."""
    own = float(episode.provenance["importance"])
    own = importance_with(own, SegmentKind.CORRECTION) if first else own
    entities = dict.fromkeys([*episode.entities, *entities_of([replace(turn, speaker="")])])
    return {
        "segments": episode.segments + pieces,
        "bytes": episode.bytes + len(turn.text.encode()),
        "labels": sorted({*episode.labels, *(label.value for label in labels)}),
        "entities": [*entities][:MAX_ENTITIES],
        "provenance": {**episode.provenance, "importance": own},
        "importance": own if episode.feedback is None else after_feedback(own, episode.feedback),
    }


def _checked(text: str) -> str:
    said = clean(text.strip())
    if not said:
        raise EpisodeInvalidError("text: it is empty.", hint="Say what was wrong, and what is right.", field="text")
    if len(said) > MAX_CORRECTION:
        raise EpisodeInvalidError(f"text: {len(said)} characters; at most {MAX_CORRECTION}.", field="text")
    return said
