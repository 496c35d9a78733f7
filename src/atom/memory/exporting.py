"""Whole episodes as documents, in whatever tier they are, that can be written again elsewhere."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from atom.errors import AtomError
from atom.infra.db import unit_of_work
from atom.memory import archive_store
from atom.memory.archive_store import Whole
from atom.memory.cold_bodies import Bodies

MAX_BYTES = 16_000_000  # of the texts of one page


@dataclass(frozen=True, slots=True)
class Exported:
    items: list[dict[str, Any]]
    next: str | None


async def exported(bodies: Bodies, agent_id: UUID | None, *, after: UUID | None, limit: int, most: int) -> Exported:
    """By id, behind `after`: at most `limit`, and no more than one where they have more than `most` bytes together.

    Raises what a body that cannot be read raises: an export has everything, or fails.
    """
    async with unit_of_work(bodies.sessions) as session:
        planned = await archive_store.after(session, agent_id, after=after or UUID(int=0), limit=limit + 1)
    ids: list[UUID] = []
    size = 0
    for one in planned[:limit]:
        if ids and size + one.bytes > most:
            break
        ids.append(one.id)
        size += one.bytes
    texts = await bodies.texts_of(ids)
    async with unit_of_work(bodies.sessions) as session:
        whole = await archive_store.whole(session, ids)
    items = []
    for id_ in ids:
        got = texts.get(id_)
        if isinstance(got, AtomError):
            raise got
        if got is not None and id_ in whole:  # else somebody had it forgotten just then
            items.append(_document(whole[id_], got))
    return Exported(items, str(ids[-1]) if len(ids) < len(planned) else None)


def _document(one: Whole, texts: list[str]) -> dict[str, Any]:
    """As `POST /api/episodes` and `atom episodes import` take it."""
    episode = one.episode
    provenance = {name: value for name, value in episode.provenance.items() if name != "importance"}
    return {
        "id": str(episode.id),
        "agent": one.agent,
        "ref": episode.source_ref or f"episode:{episode.id}",
        "source": episode.source,
        "title": episode.title,
        "summary": episode.summary,
        "outcome": episode.outcome,
        "importance": float(episode.provenance.get("importance", episode.importance)),
        "feedback": episode.feedback,
        "labels": episode.labels,
        "provenance": provenance,
        "turns": [
            {"speaker": turn.speaker, "text": text, "at": _exact(turn.at), "kind": turn.kind, "ref": turn.ref}
            for turn, text in zip(one.turns, texts, strict=True)
        ],
    }


def _exact(at: datetime) -> str:
    """To the microsecond, as the database has it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
