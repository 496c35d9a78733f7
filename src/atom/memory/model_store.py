"""SQL of embedding models: which one is the present one, how far it is, and which former ones are still there.

Exactly one is current. Whoever takes segments, or stores vectors, of a model holds its row so that it cannot be
followed by another one meanwhile; whoever follows it takes the row for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

NONE = UUID(int=0)
# `looked_until`: up to which segment it was looked for those without a vector of it; NULL: through all of them.
# `complete_at`: since when every segment that there was has one. `seen_at`: when a worker of it was last here.
TABLE = """
    CREATE TABLE IF NOT EXISTS episode_vector_model (
        model text PRIMARY KEY,
        dimensions integer NOT NULL,
        current boolean NOT NULL,
        looked_until uuid,
        complete_at timestamptz,
        seen_at timestamptz NOT NULL DEFAULT now()
    )
"""
ONE_CURRENT = """
    CREATE UNIQUE INDEX IF NOT EXISTS idx_episode_vector_model_current ON episode_vector_model (current) WHERE current
"""
EXISTS = text("SELECT to_regclass('episode_vector_model') IS NOT NULL")
ALL = text("""
    SELECT model, dimensions, current, complete_at IS NOT NULL FROM episode_vector_model
    ORDER BY complete_at DESC NULLS LAST, model
""")
CURRENT = text("""
    SELECT model, dimensions, seen_at < now() - make_interval(secs => :quiet) FROM episode_vector_model
    WHERE current FOR UPDATE
""")
KNOWN = text("SELECT dimensions FROM episode_vector_model WHERE model = :model")
FOLLOWED = text("UPDATE episode_vector_model SET current = false WHERE current AND model <> :model")
FOLLOW = text("""
    INSERT INTO episode_vector_model (model, dimensions, current, looked_until)
    VALUES (:model, :dimensions, true, :none)
    ON CONFLICT (model) DO UPDATE SET current = true, looked_until = :none, complete_at = NULL, seen_at = now()
""")
AGAIN = text("UPDATE episode_unembedded SET leased_until = 'epoch' WHERE leased_until = 'infinity'")
HOLD = text("""
    SELECT looked_until, complete_at IS NOT NULL FROM episode_vector_model WHERE model = :model AND current
    FOR KEY SHARE
""")
SEEN = text("""
    UPDATE episode_vector_model SET seen_at = now() WHERE model = :model AND seen_at < now() - interval '10 seconds'
""")
LOOK = text("""
    SELECT looked_until FROM episode_vector_model WHERE model = :model AND current AND looked_until IS NOT NULL
    FOR NO KEY UPDATE
""")
LOOKED = text("UPDATE episode_vector_model SET looked_until = :until WHERE model = :model")
COMPLETE = text("""
    UPDATE episode_vector_model SET complete_at = now()
    WHERE model = :model AND current AND looked_until IS NULL AND complete_at IS NULL
      AND NOT EXISTS (SELECT FROM episode_unembedded WHERE leased_until < 'infinity')
    RETURNING model
""")
FORMER = text("""
    SELECT f.model FROM episode_vector_model f, episode_vector_model c
    WHERE NOT f.current AND c.model = :model AND c.current
      AND c.complete_at <= now() - make_interval(secs => :grace)
    ORDER BY f.model LIMIT 1
""")
GONE = text("DELETE FROM episode_vector_model WHERE model = :model AND NOT current")
DONE = text("""
    SELECT count(*) FROM episode_vector
    WHERE model = :model AND (CAST(:agent_id AS uuid) IS NULL OR agent_id = :agent_id)
""")
SEGMENTS = text("""
    SELECT coalesce(sum(segments), 0) FROM episode_tally
    WHERE CAST(:agent_id AS uuid) IS NULL OR agent_id = :agent_id
""")


@dataclass(frozen=True, slots=True)
class Known:
    """A model that vectors are, or were, made of. `complete`: every segment that there was has one."""

    model: str
    dimensions: int
    current: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class Present:
    """How far the present model is. `looking`: not all segments were gone through yet."""

    looking: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` segments have a vector of `model`. `former`: models whose vectors are still there."""

    model: str
    done: int
    total: int
    complete: bool
    former: tuple[str, ...]


async def known(session: AsyncSession) -> list[Known]:
    """All of them, complete ones first, the latest first. None where no worker has made the table yet."""
    if not await session.scalar(EXISTS):
        return []
    return [Known(*row) for row in (await session.execute(ALL)).all()]


async def current(session: AsyncSession, *, quiet: float) -> tuple[str, bool] | None:
    """The present model, and whether no worker of it was here for so many seconds. The caller may change it now."""
    row = (await session.execute(CURRENT, {"quiet": quiet})).one_or_none()
    return None if row is None else (row[0], bool(row[2]))


async def dimensions(session: AsyncSession, model: str) -> int | None:
    found: int | None = await session.scalar(KNOWN, {"model": model})
    return found


async def follow(session: AsyncSession, model: str, dimensions: int) -> None:
    """This model is the present one from now on; what the former one could not embed is tried again."""
    await session.execute(FOLLOWED, {"model": model})
    await session.execute(FOLLOW, {"model": model, "dimensions": dimensions, "none": NONE})
    await session.execute(AGAIN)


async def hold(session: AsyncSession, model: str) -> Present | None:
    """None unless it is the present one. Until the transaction ends no other one can become it."""
    row = (await session.execute(HOLD, {"model": model})).one_or_none()
    return None if row is None else Present(row[0] is not None, row[1])


async def seen(session: AsyncSession, model: str) -> None:
    await session.execute(SEEN, {"model": model})


async def look(session: AsyncSession, model: str) -> UUID | None:
    """From where on it is to be looked for segments that lack a vector. Others wait until the transaction ends. None:
    it was looked through all."""
    found: UUID | None = await session.scalar(LOOK, {"model": model})
    return found


async def looked(session: AsyncSession, model: str, until: UUID | None) -> None:
    await session.execute(LOOKED, {"model": model, "until": until})


async def complete(session: AsyncSession, model: str) -> bool:
    """Whether it has become complete just now. Segments that no model could embed do not hold it up."""
    return await session.scalar(COMPLETE, {"model": model}) is not None


async def former(session: AsyncSession, model: str, *, grace: float) -> str | None:
    """A model whose vectors nobody needs: the present one is complete since so many seconds."""
    found: str | None = await session.scalar(FORMER, {"model": model, "grace": grace})
    return found


async def gone(session: AsyncSession, model: str) -> None:
    await session.execute(GONE, {"model": model})


async def progress(session: AsyncSession, agent_id: UUID | None) -> Progress | None:
    """Of one agent or of all. None where there are no vectors at all."""
    models: Sequence[Known] = await known(session)
    present = next((one for one in models if one.current), None)
    if present is None:
        return None
    done = int(await session.scalar(DONE, {"model": present.model, "agent_id": agent_id}) or 0)
    total = int(await session.scalar(SEGMENTS, {"agent_id": agent_id}) or 0)
    others = tuple(sorted(one.model for one in models if not one.current))
    return Progress(present.model, done, total, present.complete, others)
