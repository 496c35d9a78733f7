"""The texts of hits whose bodies are not in their rows, read after the search and with no transaction open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from atom.errors import AtomError
from atom.infra.db import unit_of_work
from atom.memory import archive_store
from atom.memory.cold_bodies import Bodies, Texts
from atom.memory.hits import Hit, Part
from atom.memory.models import Tier

log = structlog.get_logger(service="episodic_memory")


@dataclass(frozen=True, slots=True)
class HitTexts:
    """`seconds`: what a recall waits for the cold store at most."""

    bodies: Bodies
    seconds: float

    async def filled(self, parts: Sequence[Part]) -> list[Part]:
        """The same hits with their texts; those that are not to be had show their episode's summary, and say why. Hits
        of episodes that somebody has had forgotten meanwhile are left out."""
        wanted = {hit.episode_id for part in parts for hit in part.hits if hit.tier is not Tier.HOT}
        if not wanted:
            return list(parts)
        texts = await self.bodies.texts_of(sorted(wanted), seconds=self.seconds)
        missing = [id_ for id_, got in texts.items() if isinstance(got, AtomError)]
        summaries = await self._summaries(missing)
        if missing:
            codes = sorted({got.code for got in texts.values() if isinstance(got, AtomError)})
            log.warning("memory.bodies_away", episodes=len(missing), error_code=codes[0])
        return [replace(part, hits=_shown(part.hits, texts, summaries)) for part in parts]

    async def _summaries(self, ids: Sequence[UUID]) -> Mapping[UUID, str]:
        if not ids:
            return {}
        async with unit_of_work(self.bodies.sessions) as session:
            return await archive_store.summaries(session, ids)


def _shown(hits: Sequence[Hit], texts: Mapping[UUID, Texts | AtomError], summaries: Mapping[UUID, str]) -> list[Hit]:
    shown = []
    for hit in hits:
        got = texts.get(hit.episode_id)
        if hit.tier is Tier.HOT:
            shown.append(hit)
        elif isinstance(got, AtomError) and hit.episode_id in summaries:
            shown.append(replace(hit, text=summaries[hit.episode_id], away=got.code))
        elif isinstance(got, list):
            shown.append(replace(hit, text=got[hit.position]))
    return shown
