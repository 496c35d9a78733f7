"""SQL of recall: BM25 over lexemes, nearest vectors, and what stands beside either. Always of one agent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Select, String, TextClause, Uuid, any_, bindparam, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.memory.model_names import checked
from atom.memory.models import Episode, Segment
from atom.memory.vector_store import literal

MAX_TERMS = 64
COUNTED = 20_000  # of the segments that hold a word; a word in more than these tells segments apart no better
K1 = 1.2
B = 0.75
# Each word with its form in a tsquery: quoted, because it may hold anything. Nothing but the indexed lexemes is asked
# for, so that the count needs no row that a vacuum has seen.
TERMS = text(r"""
    SELECT term, (SELECT count(*) FROM (
        SELECT 1 FROM episode_segment s WHERE episode_words(s.agent_id, s.lexemes) @@ CAST(word AS tsquery)
        LIMIT :counted
    ) AS holding) AS holders, word
    FROM unnest(tsvector_to_array(to_tsvector('english', :query))) AS term
    CROSS JOIN LATERAL (SELECT '''' || replace(replace(right(CAST(:agent_id AS text), 12) || ':' || term,
        '\', '\\'), '''', '''''') || '''' AS word) AS quoted
    LIMIT :limit
""")
# Without statistics of a fresh store the planner goes through all segments, and takes each apart for each word. A plan
# that is made for any parameters reads the question's vector anew for each row; compiling one takes longer than it.
# What a recall writes is a count of recalls: nobody waits until the disk has it.
SIZE = text("""
    SELECT coalesce(sum(segments), 0), coalesce(sum(terms), 0),
        (SELECT decay_days FROM memory_policy WHERE agent_id = :agent_id), set_config('enable_seqscan', 'off', true),
        set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true),
        set_config('synchronous_commit', 'off', true),
        set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', :width, true)
    FROM episode_tally WHERE agent_id = :agent_id
""")
# Of the present row. A word's number of places in it is how often it is there. Only the question's words are unpacked,
# which takes a seventh of the time of unpacking them all.
BM25 = """(
    SELECT coalesce(sum(
        w.weight * times * (:k1 + 1) / (times + :k1 * (1 - :b + :b * episode_segment.terms / :mean))), 0)
    FROM unnest(ts_filter(setweight(episode_segment.lexemes, 'A', CAST(:terms AS text[])), '{a}')) AS h,
        cardinality(h.positions) AS times,
        unnest(CAST(:terms AS text[]), CAST(:weights AS float8[])) AS w (term, weight) WHERE w.term = h.lexeme
)"""
WORDS = """
    SELECT episode_segment.episode_id, episode_segment.position FROM episode_segment {joined}
    WHERE episode_words(episode_segment.agent_id, episode_segment.lexemes) @@ CAST(:rarest AS tsquery)
        AND episode_segment.agent_id = :agent_id {filters}
    ORDER BY {bm25} DESC, episode_segment.id LIMIT :leg
"""
NEAR = """
    SELECT v.segment_id FROM episode_vector v {joined}
    WHERE v.model = '{model}' AND v.agent_id = :agent_id {filters}
    ORDER BY {distance} LIMIT :leg
"""
# `found` with what stands beside it, both scores of each, what its episode's memory is worth, who spoke and when.
SCORED = """
    WITH {legs}, beside AS (
        SELECT episode_id, position + step AS position, bool_or(step = 0) AS eligible
        FROM ({found}) AS found, (VALUES (-1), (0), (1)) AS steps (step) GROUP BY 1, 2
    )
    SELECT CAST(episode_segment.id AS text), CAST(b.episode_id AS text), b.position, b.eligible,
        CAST({lexical} AS float8), {cosine},
        coalesce(ended_at, started_at), importance, coalesce(feedback, 0.0), access_count,
        episode_segment.speaker, episode_segment.at
    FROM beside b JOIN episode ON episode.id = b.episode_id
        JOIN episode_segment ON episode_segment.episode_id = b.episode_id AND episode_segment.position = b.position
        {vectors}
"""
FOUND_BY_WORDS = "SELECT episode_id, position FROM words"
FOUND_NEAR = "SELECT s.episode_id, s.position FROM near n JOIN episode_segment s ON s.id = n.segment_id"


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
    """What words are worth: `weights` by word, `mean` words that count in a segment of the agent. `rarest`: those, in
    the form of the index, of which a candidate holds one."""

    weights: Mapping[str, float]
    mean: float
    rarest: Sequence[str] = ()

    @property
    def any(self) -> str:
        """Any of the words, as a tsquery."""
        return " | ".join("'" + term.replace("\\", "\\\\").replace("'", "''") + "'" for term in self.weights)


class Among(str):
    """A condition whose parameter is a list."""

    __slots__ = ()


CONDITIONS: Mapping[str, str] = {
    "outcomes": Among("episode.outcome = ANY(CAST(:outcomes AS text[]))"),
    "sources": Among("episode.source = ANY(CAST(:sources AS text[]))"),
    "tiers": Among("episode.storage_tier = ANY(CAST(:tiers AS text[]))"),
    "kinds": Among("episode_segment.kind = ANY(CAST(:kinds AS text[]))"),
    "speakers": Among("lower(episode_segment.speaker) = ANY(CAST(:speakers AS text[]))"),
    "since": "episode_segment.at >= :since",
    "until": "episode_segment.at < :until",
    "importance": "episode.importance >= :importance",
    "conversation_id": "episode.conversation_id = :conversation_id",
    "episode_id": "episode_segment.episode_id = :episode_id",
}


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

    def conditions(self) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Of `episode` and `episode_segment`, beside the agent; and what their parameters are."""
        given = {name: getattr(self, name) for name in CONDITIONS if getattr(self, name) is not None}
        values = {name: [*one] if isinstance(CONDITIONS[name], Among) else one for name, one in given.items()}
        return tuple(CONDITIONS[name] for name in given), values


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment stands."""

    episode_id: UUID
    position: int


@dataclass(frozen=True, slots=True)
class Size:
    """Segments of an agent, how many words that count one has on average (`mean`), and the days of its own rules."""

    segments: int
    mean: float
    decay_days: int | None


async def size(session: AsyncSession, agent_id: UUID, *, leg: int) -> Size:
    """The transaction is set up for recall with so many candidates of each leg from then on."""
    row = (await session.execute(SIZE, {"agent_id": agent_id, "width": str(min(1000, max(40, leg)))})).one()
    return Size(int(row[0]), max(1.0, float(row[1]) / max(1, int(row[0]))), row[2])


async def terms(session: AsyncSession, agent_id: UUID, query: str) -> list[Term]:
    values = {"agent_id": agent_id, "query": query, "counted": COUNTED, "limit": MAX_TERMS}
    return [Term(row[0], int(row[1]), row[2]) for row in (await session.execute(TERMS, values)).all()]


async def scored(
    session: AsyncSession, matching: Matching, asked: Asked, vector: Vector | None, *, leg: int
) -> Sequence[Row[Any]]:
    """The best by BM25 of those that hold one of the rarest words, the nearest by cosine, and what stands beside
    either. The vectors' index goes on until it has enough that the filters let through."""
    if not asked.rarest and vector is None:
        return []
    wanted, values = matching.conditions()
    model = None if vector is None else checked(vector.model)
    statement = _scored(wanted, bool(asked.rarest), model, len(vector.values) if vector else 0)
    values |= {"agent_id": matching.agent_id, "leg": leg}
    if asked.rarest:
        values |= {"rarest": " | ".join(asked.rarest), "any": asked.any, "mean": asked.mean}
        values |= {"terms": [*asked.weights], "weights": [*asked.weights.values()], "k1": K1, "b": B}
    if vector is not None:
        values["vector"] = literal(vector.values)
    return (await session.execute(statement, values)).all()


@lru_cache(maxsize=256)
def _scored(wanted: tuple[str, ...], by_words: bool, model: str | None, dimensions: int) -> TextClause:
    """The model's name is written out: only so does PostgreSQL know that the model's own index serves."""
    filters = "".join(f" AND {one}" for one in wanted)
    episode = "JOIN episode ON episode.id = episode_segment.episode_id" if wanted else ""
    distance = f"v.embedding::halfvec({dimensions}) <=> CAST(:vector AS halfvec({dimensions}))"
    legs, found = [], []
    if by_words:
        legs.append(f"words AS MATERIALIZED ({WORDS.format(joined=episode, filters=filters, bm25=BM25)})")
        found.append(FOUND_BY_WORDS)
    if model is not None:
        joined = f"JOIN episode_segment ON episode_segment.id = v.segment_id {episode}" if wanted else ""
        near = NEAR.format(joined=joined, filters=filters, model=model, distance=distance)
        legs.append(f"near AS MATERIALIZED ({near})")
        found.append(FOUND_NEAR)
    statement = SCORED.format(
        legs=", ".join(legs),
        found=" UNION ".join(found),
        lexical=f"CASE WHEN episode_segment.lexemes @@ CAST(:any AS tsquery) THEN {BM25} ELSE 0 END"
        if by_words
        else "0",
        cosine="CAST(NULL AS float8)" if model is None else f"1 - ({distance})",
        vectors=""
        if model is None
        else f"LEFT JOIN episode_vector v ON v.segment_id = episode_segment.id AND v.model = '{model}'",
    )
    return text(statement)


async def by_id(session: AsyncSession, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """By the ids as texts. One parameter, however many there are: the statement stays the same."""
    return {str(row.id): row for row in (await session.execute(BY_ID, {"ids": [*ids]})).all()}


async def by_time(
    session: AsyncSession, matching: Matching, *, around: datetime | None, limit: int
) -> Sequence[Row[Any]]:
    """In the order of their times; with `around`, the nearest to it first."""
    query, values = _matching(matching)
    query = query.limit(limit)
    if around is None:
        query = query.order_by(Segment.at, Segment.episode_id, Segment.position)
    else:
        query = query.order_by(func.abs(func.extract("epoch", Segment.at) - around.timestamp()), Segment.id)
    return (await session.execute(query, values)).all()


async def in_order(session: AsyncSession, matching: Matching, *, after: int, limit: int) -> Sequence[Row[Any]]:
    """Of one episode, behind the position `after`."""
    query, values = _matching(matching)
    query = query.where(Segment.position > after).order_by(Segment.position).limit(limit)
    return (await session.execute(query, values)).all()


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


def _matching(matching: Matching) -> tuple[Select[*tuple[Any, ...]], dict[str, Any]]:
    wanted, values = matching.conditions()
    query = _shown().where(Segment.agent_id == matching.agent_id, *(text(one) for one in wanted))
    return query, values


BY_ID = _shown().where(Segment.id == any_(cast(bindparam("ids"), ARRAY(Uuid))))
