"""SQL of vectors: halfvec and HNSW of pgvector, where the database has it.

The table is made when it can be: a database whose administrator adds pgvector later needs no migration for it. Each
model has an index of its own, so that the vectors of a former model serve until those of the next are there.
"""

import hashlib
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, column, table, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.memory import model_store
from atom.memory.model_names import checked

VECTORS = table(
    "episode_vector",
    column("segment_id", Uuid),
    column("model", Text),
    column("agent_id", Uuid),
    column("embedding", Text),
)
PREPARE_LOCK = 0x41544F4D_0011
AVAILABLE = text("SELECT to_regtype('halfvec') IS NOT NULL")
INDEXED = text("SELECT to_regclass(:name) IS NOT NULL")
LOCK = text("SELECT pg_advisory_xact_lock(:key)")
TABLE = """
    CREATE TABLE IF NOT EXISTS episode_vector (
        segment_id uuid NOT NULL REFERENCES episode_segment (id) ON DELETE CASCADE,
        model text NOT NULL,
        agent_id uuid NOT NULL,
        episode_id uuid NOT NULL,
        embedding halfvec NOT NULL,
        PRIMARY KEY (segment_id, model)
    )
"""
BY_AGENT = "CREATE INDEX IF NOT EXISTS idx_episode_vector_agent ON episode_vector (agent_id, model)"
HNSW = """
    CREATE INDEX IF NOT EXISTS {name} ON episode_vector
    USING hnsw ((embedding::halfvec({dimensions})) halfvec_cosine_ops) WHERE model = '{model}'
"""
TAKE = text("""
    UPDATE episode_unembedded u SET leased_until = now() + make_interval(secs => :seconds), attempts = attempts + 1
    FROM (SELECT segment_id FROM episode_unembedded WHERE leased_until <= now()
          ORDER BY leased_until, segment_id LIMIT :limit FOR UPDATE SKIP LOCKED) due, episode_segment s
    WHERE u.segment_id = due.segment_id AND s.id = due.segment_id
    RETURNING s.id, s.speaker || ': ' || s.text,
        (SELECT e.storage_tier <> 'hot' FROM episode e WHERE e.id = s.episode_id) AS away
""")
# Seconds NULL: until another model is the present one.
PUT_OFF = text("""
    UPDATE episode_unembedded SET
        leased_until = coalesce(now() + make_interval(secs => CAST(:seconds AS double precision)), 'infinity')
    WHERE segment_id = ANY(CAST(:ids AS uuid[]))
""")
REMOVE = text("""
    WITH gone AS (
        DELETE FROM episode_vector WHERE model = :model AND segment_id IN (
            SELECT segment_id FROM episode_vector WHERE model = :model AND segment_id > :after
            ORDER BY segment_id LIMIT :limit)
        RETURNING segment_id
    ) SELECT segment_id FROM gone ORDER BY segment_id DESC LIMIT 1
""")
UNINDEX = "DROP INDEX IF EXISTS {name}"
PATIENCE = text("SELECT set_config('lock_timeout', :timeout, true)")
ADD = text("""
    INSERT INTO episode_vector (segment_id, model, agent_id, episode_id, embedding)
    SELECT s.id, :model, s.agent_id, s.episode_id, one.vector::halfvec
    FROM unnest(CAST(:ids AS uuid[]), CAST(:vectors AS text[])) AS one (id, vector)
    JOIN episode_segment s ON s.id = one.id
    ON CONFLICT (segment_id, model) DO NOTHING
""")
DONE = text("DELETE FROM episode_unembedded WHERE segment_id IN :ids").bindparams(bindparam("ids", expanding=True))
LACKING = text("""
    INSERT INTO episode_unembedded (segment_id)
    SELECT id FROM (SELECT id FROM episode_segment WHERE id > :after ORDER BY id LIMIT :limit) s
    WHERE NOT EXISTS (SELECT 1 FROM episode_vector v WHERE v.segment_id = s.id AND v.model = :model)
    ON CONFLICT DO NOTHING
""")
NTH = text("""
    SELECT id FROM (SELECT id FROM episode_segment WHERE id > :after ORDER BY id LIMIT :limit) s
    ORDER BY id DESC LIMIT 1
""")


async def available(session: AsyncSession) -> bool:
    """Whether this database has pgvector 0.7 or newer."""
    return bool(await session.scalar(AVAILABLE))


async def prepare(session: AsyncSession, model: str, dimensions: int) -> bool:
    """Makes the tables and this model's index, if they are not there. False where the database has no pgvector.

    Whoever else prepares waits until the transaction ends.
    """
    if not await available(session):
        return False
    name = index_name(model)
    await session.execute(LOCK, {"key": PREPARE_LOCK})
    if not await session.scalar(INDEXED, {"name": name}) or not await session.scalar(model_store.EXISTS):
        made = (TABLE, BY_AGENT, HNSW.format(name=name, dimensions=dimensions, model=checked(model)))
        for statement in (*made, model_store.TABLE, model_store.ONE_CURRENT):
            await session.execute(text(statement))
    return True


async def prepared(session: AsyncSession, model: str) -> bool:
    """Whether there is an index of this model's vectors."""
    return bool(await session.scalar(INDEXED, {"name": index_name(model)}))


def index_name(model: str) -> str:
    return f"idx_episode_vector_{hashlib.sha256(model.encode()).hexdigest()[:12]}"


async def take(session: AsyncSession, *, seconds: float, limit: int) -> list[tuple[UUID, str | None]]:
    """Segments to be embedded, with what is embedded of each (None: its text is not in the row), for so many seconds
    this worker's alone."""
    rows = (await session.execute(TAKE, {"seconds": seconds, "limit": limit})).all()
    return [(row[0], None if row[2] else row[1]) for row in rows]


async def put_off(session: AsyncSession, ids: Sequence[UUID], seconds: float | None) -> None:
    """They are taken again in so many seconds; None: when another model is the present one."""
    await session.execute(PUT_OFF, {"ids": [*ids], "seconds": seconds})


async def add(session: AsyncSession, model: str, ids: Sequence[UUID], vectors: Sequence[Sequence[float]]) -> None:
    """In one transaction with the end of their waiting. A segment that was forgotten meanwhile is left out."""
    await session.execute(ADD, {"model": model, "ids": [*ids], "vectors": [literal(vector) for vector in vectors]})
    await session.execute(DONE, {"ids": [*ids]})


async def remove(session: AsyncSession, model: str, *, after: UUID, limit: int) -> UUID | None:
    """The next vectors of a former model, by segment. Returns how far it came; None where there are no more."""
    found: UUID | None = await session.scalar(REMOVE, {"model": model, "after": after, "limit": limit})
    return found


async def unindex(session: AsyncSession, model: str, *, seconds: float) -> None:
    """Whoever searches makes it wait, and it makes others wait: no longer than this. Raises DBAPIError then."""
    await session.execute(PATIENCE, {"timeout": f"{int(seconds * 1000)}ms"})
    statement = UNINDEX.format(name=index_name(model))  # made of hexadecimal digits
    await session.execute(text(statement))


async def enqueue(session: AsyncSession, model: str, *, after: UUID, limit: int) -> UUID | None:
    """Segments behind `after` that have no vector of this model. Returns how far it came; None at the end."""
    values = {"after": after, "limit": limit}
    last: UUID | None = await session.scalar(NTH, values)
    if last is None:
        return None
    await session.execute(LACKING, {**values, "model": model})
    return last


def literal(vector: Sequence[float]) -> str:
    """As pgvector reads it."""
    return "[" + ",".join(f"{value:.6g}" for value in vector) + "]"
