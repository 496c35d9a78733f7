"""SQL of recall: BM25 over lexemes, nearest vectors, and what stands beside either. Always of one agent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Double,
    Float,
    Integer,
    Row,
    Select,
    String,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    column,
    func,
    null,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import TSQUERY, TSVECTOR
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import UserDefinedType

from atom.memory.models import Episode, Segment, Tally
from atom.memory.vector_store import VECTORS, literal

MAX_TERMS = 64
COUNTED = 20_000  # of the segments that hold a word; a word in more than these tells segments apart no better
K1 = 1.2
B = 0.75
# Each word with its form in a tsquery: quoted, because it may hold anything.
TERMS = text(r"""
    SELECT term, (SELECT count(*) FROM (
        SELECT 1 FROM episode_segment s
        WHERE episode_words(s.agent_id, s.lexemes) @@ CAST(word AS tsquery) AND s.agent_id = :agent_id LIMIT :counted
    ) AS holding) AS holders, word
    FROM unnest(tsvector_to_array(to_tsvector('english', :query))) AS term
    CROSS JOIN LATERAL (SELECT '''' || replace(replace(right(CAST(:agent_id AS text), 12) || ':' || term,
        '\', '\\'), '''', '''''') || '''' AS word) AS quoted
    LIMIT :limit
""")
# Without statistics of a fresh store the planner goes through all segments, and takes each apart for each word. A plan
# that is made for any parameters reads the question's vector anew for each row.
BY_INDEX = text(
    "SELECT set_config('enable_seqscan', :on, true), set_config('plan_cache_mode', 'force_custom_plan', true)"
)
SCAN = text(
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', :width, true)"
)


class HalfVector(UserDefinedType[str]):
    """pgvector's halfvec of so many dimensions, as text."""

    cache_ok = True

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **_: Any) -> str:
        return f"halfvec({self.dimensions})"


@dataclass(frozen=True, slots=True)
class Vector:
    """A question's vector, and whose it is."""

    model: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Term:
    """A word of the question as it is indexed: how many segments of the agent hold it, and its form in a tsquery."""

    term: str
    holders: int
    word: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What words are worth: `weights` by word, `mean` words that count in a segment of the agent."""

    weights: Mapping[str, float]
    mean: float


@dataclass(frozen=True, slots=True)
class Matching:
    """Which segments may be hits; None lets everything through. Values are those of the columns."""

    agent_id: UUID
    outcomes: Sequence[str] | None = None
    sources: Sequence[str] | None = None
    tiers: Sequence[str] | None = None
    kinds: Sequence[str] | None = None
    speakers: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    importance: float | None = None
    conversation_id: UUID | None = None
    episode_id: UUID | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        among: list[tuple[Any, Sequence[str] | None]] = [
            (Episode.outcome, self.outcomes),
            (Episode.source, self.sources),
            (Episode.storage_tier, self.tiers),
            (Segment.kind, self.kinds),
            (func.lower(Segment.speaker), self.speakers),
        ]
        found: list[ColumnElement[bool]] = [Segment.agent_id == self.agent_id]
        found += [one.in_(values) for one, values in among if values is not None]
        found += [] if self.since is None else [Segment.at >= self.since]
        found += [] if self.until is None else [Segment.at < self.until]
        found += [] if self.importance is None else [Episode.importance >= self.importance]
        found += [] if self.conversation_id is None else [Episode.conversation_id == self.conversation_id]
        found += [] if self.episode_id is None else [Segment.episode_id == self.episode_id]
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment stands."""

    episode_id: UUID
    position: int


async def size(session: AsyncSession, agent_id: UUID) -> tuple[int, float]:
    """Segments of an agent, and how many words that count one has on average."""
    query = select(func.coalesce(func.sum(Tally.segments), 0), func.coalesce(func.sum(Tally.terms), 0))
    count, terms = (await session.execute(query.where(Tally.agent_id == agent_id))).one()
    return int(count), max(1.0, float(terms) / max(1, int(count)))


async def terms(session: AsyncSession, agent_id: UUID, query: str) -> list[Term]:
    await session.execute(BY_INDEX, {"on": "off"})
    values = {"agent_id": agent_id, "query": query, "counted": COUNTED, "limit": MAX_TERMS}
    found = (await session.execute(TERMS, values)).all()
    await session.execute(BY_INDEX, {"on": "on"})
    return [Term(row[0], int(row[1]), row[2]) for row in found]


async def lexical(
    session: AsyncSession, matching: Matching, asked: Asked, words: Sequence[str], *, limit: int
) -> list[Place]:
    """The best by BM25 of those that hold one of `words` (as in a tsquery); scored by all of `asked`."""
    holding = func.episode_words(Segment.agent_id, Segment.lexemes, type_=TSVECTOR).bool_op("@@")(
        cast(" | ".join(words), TSQUERY)
    )
    query = select(Segment.episode_id, Segment.position).join(Episode, Episode.id == Segment.episode_id)
    query = query.where(holding, *matching.conditions()).order_by(_bm25(asked).desc(), Segment.id).limit(limit)
    return [Place(*row) for row in (await session.execute(query)).all()]


async def nearest(session: AsyncSession, matching: Matching, vector: Vector, *, limit: int) -> list[Place]:
    """The nearest by cosine. The index goes on until it has enough that the filters let through."""
    await session.execute(SCAN, {"width": str(min(1000, max(40, limit)))})
    query = select(Segment.episode_id, Segment.position).join(VECTORS, VECTORS.c.segment_id == Segment.id)
    query = query.join(Episode, Episode.id == Segment.episode_id).where(*matching.conditions())
    query = query.where(VECTORS.c.agent_id == matching.agent_id, _of_model(vector))
    rows = (await session.execute(query.order_by(_distance(vector)).limit(limit))).all()
    return [Place(*row) for row in rows]


async def at_places(
    session: AsyncSession, places: Sequence[Place], asked: Asked, vector: Vector | None
) -> Sequence[Row[Any]]:
    """Both scores of the segments at these places, as far as there are any."""
    place = func.unnest(
        cast(bindparam("episodes", [place.episode_id for place in places], unique=True), ARRAY(Uuid)),
        cast(bindparam("positions", [place.position for place in places], unique=True), ARRAY(Integer)),
    ).table_valued(column("episode_id", Uuid), column("position", Integer), name="place")
    place = place.render_derived()
    cosine: ColumnElement[Any] = cast(null(), Double) if vector is None else 1 - _distance(vector)
    query = select(
        Segment.id,
        Segment.episode_id,
        Segment.position,
        (_bm25(asked) if asked.weights else cast(0, Double)).label("lexical"),
        cosine.label("cosine"),
        func.coalesce(Episode.ended_at, Episode.started_at).label("ended_at"),
        Episode.importance,
        func.coalesce(Episode.feedback, 0.0).label("feedback"),
        Episode.access_count,
    )
    here = and_(Segment.episode_id == place.c.episode_id, Segment.position == place.c.position)
    query = query.select_from(place).join(Segment, here).join(Episode, Episode.id == Segment.episode_id)
    if vector is not None:
        query = query.outerjoin(VECTORS, and_(VECTORS.c.segment_id == Segment.id, _of_model(vector)))
    return (await session.execute(query)).all()


async def by_id(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    return {row.id: row for row in (await session.execute(_shown().where(Segment.id == _any(ids)))).all()}


async def by_time(
    session: AsyncSession, matching: Matching, *, around: datetime | None, limit: int
) -> Sequence[Row[Any]]:
    """In the order of their times; with `around`, the nearest to it first."""
    query = _shown().where(*matching.conditions()).limit(limit)
    if around is None:
        query = query.order_by(Segment.at, Segment.episode_id, Segment.position)
    else:
        query = query.order_by(func.abs(func.extract("epoch", Segment.at) - around.timestamp()), Segment.id)
    return (await session.execute(query)).all()


async def in_order(session: AsyncSession, matching: Matching, *, after: int, limit: int) -> Sequence[Row[Any]]:
    """Of one episode, behind the position `after`."""
    query = _shown().where(Segment.position > after, *matching.conditions())
    return (await session.execute(query.order_by(Segment.position).limit(limit))).all()


async def latest(session: AsyncSession, agent_id: UUID, *, episodes: int) -> Sequence[Row[Any]]:
    """The last segment of each of the newest episodes."""
    newest = select(Episode.id).where(Episode.agent_id == agent_id).order_by(Episode.started_at.desc()).limit(episodes)
    last = Segment.position == Episode.segments - 1
    query = _shown().where(Episode.id.in_(newest), last).order_by(Episode.started_at.desc())
    return (await session.execute(query)).all()


def _shown() -> Select[*tuple[Any, ...]]:
    return select(
        Segment.id,
        Segment.episode_id,
        Segment.position,
        Segment.kind,
        Segment.speaker,
        Segment.ref,
        Segment.text,
        Segment.at,
        func.tsvector_to_array(Segment.lexemes, type_=ARRAY(String)).label("words"),
        Episode.title,
        Episode.outcome,
        Episode.labels,
        Episode.storage_tier,
    ).join(Episode, Episode.id == Segment.episode_id)


def _any(ids: Sequence[UUID]) -> Any:
    """One parameter, however many there are: the statement stays the same."""
    return any_(cast(bindparam("ids", [*ids], unique=True), ARRAY(Uuid)))


def _bm25(asked: Asked) -> ColumnElement[float]:
    """Of the present row. A word's number of places in it is how often it is there."""
    held = func.unnest(Segment.lexemes).table_valued(column("lexeme", Text), "positions", "weights", name="held")
    held = held.render_derived()
    terms = cast(bindparam("asked_terms", [*asked.weights], unique=True), ARRAY(Text))
    weights = cast(bindparam("asked_weights", [*asked.weights.values()], unique=True), ARRAY(Float(53)))
    weight = Grouping(weights)[func.array_position(terms, held.c.lexeme, type_=Integer)]
    times = func.cardinality(held.c.positions)
    length = K1 * (1 - B + B * Segment.terms / asked.mean)
    worth = func.sum(weight * times * (K1 + 1) / (times + length))
    query = select(func.coalesce(worth, 0.0)).select_from(held).where(held.c.lexeme == any_(terms))
    return query.correlate(Segment).scalar_subquery()


def _of_model(vector: Vector) -> ColumnElement[bool]:
    """Written out in the statement: only so does PostgreSQL know that the model's own index serves."""
    return VECTORS.c.model == bindparam("model", vector.model, unique=True, literal_execute=True)


def _distance(vector: Vector) -> ColumnElement[float]:
    kind = HalfVector(len(vector.values))
    asked = cast(bindparam("vector", literal(vector.values), String, unique=True), kind)
    return cast(VECTORS.c.embedding, kind).op("<=>", return_type=Double())(asked)
