"""What tests of the cold tier do and look at."""

from typing import Any
from uuid import UUID

from atom.infra.db import unit_of_work
from atom.memory import job_runs
from atom.memory.archive import Archived
from atom.memory.archive_store import Away, Due
from atom.memory.cold_tidy import Tidied
from atom.memory.cold_turn import my_turn
from atom.memory.restoring import Restored
from tests.memory.conftest import Bench

TALLIES = """
    SELECT agent_id, storage_tier, episodes, segments, terms, bytes FROM episode_tally WHERE episodes > 0 ORDER BY 1, 2
"""
COUNTED = """
    SELECT e.agent_id, e.storage_tier, count(*), sum(e.segments)::bigint,
        sum((SELECT sum(s.terms) FROM episode_segment s WHERE s.episode_id = e.id))::bigint,
        sum(CASE e.storage_tier WHEN 'hot' THEN e.bytes WHEN 'warm' THEN octet_length(b.body) ELSE c.size END)::bigint
    FROM episode e LEFT JOIN episode_body b ON b.episode_id = e.id LEFT JOIN episode_cold c ON c.episode_id = e.id
    GROUP BY 1, 2 ORDER BY 1, 2
"""
FINDING = """
    SELECT s.id, s.lexemes::text, s.terms, v.model, v.embedding::text
    FROM episode_segment s LEFT JOIN episode_vector v ON v.segment_id = s.id ORDER BY s.id
"""
STRAY = """
    SELECT 'two bodies', e.id FROM episode e JOIN episode_body b ON b.episode_id = e.id
    JOIN episode_cold c ON c.episode_id = e.id
    UNION ALL SELECT 'hot with a body', e.id FROM episode e LEFT JOIN episode_body b ON b.episode_id = e.id
    LEFT JOIN episode_cold c ON c.episode_id = e.id
    WHERE e.storage_tier = 'hot' AND (b.episode_id IS NOT NULL OR c.episode_id IS NOT NULL)
    UNION ALL SELECT 'texts in the rows', e.id FROM episode e JOIN episode_segment s ON s.episode_id = e.id
    WHERE e.storage_tier <> 'hot' AND s.text <> ''
"""


async def nothing(_: int, __: int | None) -> None:
    """Progress that nobody watches."""


async def archive(memory: Bench, wanted: Due | None = None, *, run: UUID | None = None) -> Archived:
    async with unit_of_work(memory.sessions) as session:
        chosen = await job_runs.record_started(session, "archive", id_=run)
    return await memory.layer.archivist.archive(wanted or Due(), chosen, nothing)


async def restore(memory: Bench, *ids: UUID, agent_id: UUID | None = None) -> Restored:
    async with unit_of_work(memory.sessions) as session:
        run = await job_runs.record_started(session, "restore")
    return await memory.layer.restorer.restore(Away(ids or None, agent_id), run, nothing)


async def tidy(memory: Bench) -> Tidied:
    """As if whatever is half written was so since long ago."""
    archivist = memory.layer.archivist
    async with my_turn(memory.sessions, "test", seconds=30, patience=5, alive=_alive) as turn:
        return await archivist.tidy(turn, orphan_seconds=0)


async def _alive() -> None:
    """Nobody listens."""


async def texts(memory: Bench, id_: UUID) -> list[str]:
    return [one.text for one in await memory.layer.reading.segments(id_, after=-1, limit=50_000)]


async def whole(memory: Bench) -> dict[UUID, Any]:
    """Every text of every episode."""
    return {id_: await texts(memory, id_) for (id_,) in await memory.rows("SELECT id FROM episode ORDER BY id")}


async def check(memory: Bench) -> None:
    """The tallies are right, and each body is in one place."""
    assert await memory.rows(TALLIES) == await memory.rows(COUNTED)
    assert await memory.rows(STRAY) == []


async def paths(memory: Bench) -> list[str]:
    """The objects that are on record as stored."""
    return [path for (path,) in await memory.rows("SELECT path FROM cold_object WHERE state = 'stored' ORDER BY path")]
