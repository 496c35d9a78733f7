"""The SQL of recall's two legs as one would write it by hand, on a plain connection: what a recall is compared with."""

import math
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

LEG = 200
BOUND = 2_000
WORDS = r"""
    SELECT term, word,
        (SELECT count(*) FROM (SELECT 1 FROM episode_segment s
            WHERE episode_words(s.agent_id, s.lexemes) @@ word::tsquery
            AND s.agent_id = %(agent)s LIMIT 20000) AS holding) AS holders
    FROM unnest(tsvector_to_array(to_tsvector('english', %(query)s))) AS term
    CROSS JOIN LATERAL (SELECT '''' || right(%(agent)s::text, 12) || ':' || term || '''' AS word) AS quoted
"""
SIZE = "SELECT sum(segments), sum(terms)::float8 / sum(segments) FROM episode_tally WHERE agent_id = %(agent)s"
BM25 = """
    SELECT s.id, (
        SELECT sum(w.weight * cardinality(h.positions) * 2.2
                   / (cardinality(h.positions) + 1.2 * (0.25 + 0.75 * s.terms / %(mean)s)))
        FROM unnest(s.lexemes) AS h JOIN unnest(%(terms)s::text[], %(weights)s::float8[]) AS w (term, weight)
            ON w.term = h.lexeme) AS score
    FROM episode_segment s
    WHERE episode_words(s.agent_id, s.lexemes) @@ %(words)s::tsquery AND s.agent_id = %(agent)s
    ORDER BY score DESC LIMIT 200
"""
NEAREST = """
    SELECT segment_id, 1 - (embedding::halfvec({size}) <=> %(vector)s::halfvec({size})) FROM episode_vector
    WHERE model = '{model}' AND agent_id = %(agent)s
    ORDER BY embedding::halfvec({size}) <=> %(vector)s::halfvec({size}) LIMIT 200
"""


class Raw:
    """Prepared once, planned for each question's own values."""

    def __init__(self, url: str, model: str, dimensions: int) -> None:
        self.nearest = NEAREST.format(model=model, size=dimensions)
        self.connection = psycopg.connect(url, autocommit=True)
        for setting in (
            "enable_seqscan = off",
            "plan_cache_mode = force_custom_plan",
            "hnsw.iterative_scan = relaxed_order",
            f"hnsw.ef_search = {LEG}",
        ):
            self.connection.execute(f"SET {setting}")

    def close(self) -> None:
        self.connection.close()

    def ask(self, agent_id: UUID, query: str, vector: Sequence[float]) -> tuple[list[Any], list[Any], float]:
        """Both legs' rows; and the seconds they took."""
        began = time.perf_counter()
        words = self._words(agent_id, query)
        near = "[" + ",".join(f"{value:.6g}" for value in vector) + "]"
        nearest = self.connection.execute(self.nearest, {"agent": agent_id, "vector": near}, prepare=True).fetchall()
        return words, nearest, time.perf_counter() - began

    def _words(self, agent_id: UUID, query: str) -> list[Any]:
        known = self.connection.execute(WORDS, {"agent": agent_id, "query": query}, prepare=True).fetchall()
        [count, mean] = self.connection.execute(SIZE, {"agent": agent_id}, prepare=True).fetchone() or [0, 1.0]
        terms = sorted((one for one in known if one[2]), key=lambda one: one[2])
        if not terms:
            return []
        weights = [math.log(1 + (int(count) - held + 0.5) / (held + 0.5)) for _, _, held in terms]
        chosen, held = [terms[0][1]], terms[0][2]
        for _, word, holders in terms[1:]:
            held += holders
            if held > BOUND:
                break
            chosen.append(word)
        values = {"agent": agent_id, "mean": mean, "terms": [one[0] for one in terms], "weights": weights}
        return self.connection.execute(BM25, {**values, "words": " | ".join(chosen)}, prepare=True).fetchall()
