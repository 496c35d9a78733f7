"""A recall shows what was said rather than what sums it up, and never both as if they were two memories."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from atom.memory import links
from atom.memory.hits import Hit, Part
from atom.memory.merging import REF


async def without_twins(session: AsyncSession, parts: Sequence[Part]) -> list[Part]:
    """A line about a source is left out where the source itself is a hit; what a consolidated episode says of all its
    sources, where one of them stands before it. The sources stay as they were found."""
    if not any(_sums_up(hit) for part in parts for hit in part.hits):
        return list(parts)
    ids = sorted({hit.episode_id for part in parts for hit in part.hits})
    sources: dict[object, set[object]] = {}
    for source, consolidated in await links.ends_of(session, ids):
        sources.setdefault(consolidated, set()).add(source)
    return [replace(part, hits=_kept(part.hits, sources)) for part in parts]


def _kept(hits: Sequence[Hit], sources: dict[object, set[object]]) -> list[Hit]:
    here = {str(hit.episode_id) for hit in hits}
    before: set[object] = set()
    kept = []
    for hit in hits:
        of = sources.get(hit.episode_id, set())
        about = hit.ref.removeprefix(f"{REF}:") if of else ""
        twin = about in here if about != REF else bool(of & before)
        if not (of and twin):
            kept.append(hit)
        before.add(hit.episode_id)
    return kept


def _sums_up(hit: Hit) -> bool:
    return hit.ref == REF or hit.ref.startswith(f"{REF}:")
