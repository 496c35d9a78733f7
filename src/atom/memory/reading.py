"""Episodes with their texts, in whatever tier those are."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm.attributes import set_committed_value

from atom.errors import AtomError
from atom.infra.db import unit_of_work
from atom.memory import archive_store
from atom.memory.cold_bodies import Bodies
from atom.memory.errors import EpisodeNotFoundError
from atom.memory.models import Segment, Tier
from atom.memory.service import MemoryService


@dataclass(frozen=True, slots=True)
class Reading:
    """Opens its own transactions, none of them while the cold store is asked."""

    service: MemoryService
    bodies: Bodies

    async def segments(self, id_: UUID, *, after: int, limit: int) -> Sequence[Segment]:
        """Behind the position `after` (-1: from the start).

        Raises EpisodeNotFoundError, BodyCorruptError, ColdStoreUnavailableError, ColdObjectMissingError.
        """
        async with unit_of_work(self.bodies.sessions) as session:
            await self.service.get(session, id_)
            rows = await archive_store.segments(session, id_, after=after, limit=limit)
        if any(tier != Tier.HOT for _, tier in rows):
            texts = (await self.bodies.texts_of([id_])).get(id_)
            if texts is None:
                raise EpisodeNotFoundError(str(id_))
            if isinstance(texts, AtomError):
                raise texts
            for segment, _ in rows:
                set_committed_value(segment, "text", texts[segment.position])  # shown, never written
        return [segment for segment, _ in rows]

    async def segment_texts(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        """What is embedded of these segments, `speaker: text`; left out are those whose body is not to be had now."""
        async with unit_of_work(self.bodies.sessions) as session:
            places = await archive_store.segment_places(session, ids)
        texts = await self.bodies.texts_of([episode_id for _, episode_id, _, _ in places])
        found = {}
        for id_, episode_id, position, speaker in places:
            body = texts.get(episode_id)
            if isinstance(body, list):
                found[id_] = f"{speaker}: {body[position]}"
        return found
