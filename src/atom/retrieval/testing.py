"""A fake embedder to read in tests: texts that share words are near each other."""

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from atom.retrieval.terms import query_terms
from atom.retrieval.vectors import Vectors, dot_products


@dataclass(slots=True)
class WordEmbedder:
    """Counts words into buckets. `asked` holds every text; `broken` makes it fail after that many texts."""

    name: str = "words"
    dimensions: int = 64
    asked: list[str] = field(default_factory=list)
    broken_after: int | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.broken_after is not None and len(self.asked) + len(texts) > self.broken_after:
            raise RuntimeError("The embedder broke.")
        self.asked.extend(texts)
        return Vectors.of([self._row(text) for text in texts], self.dimensions)

    def similarities(self, query: Vectors, rows: Vectors) -> list[float]:
        return dot_products(query, rows)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _row(self, text: str) -> list[float]:
        counted = Counter(zlib.crc32(term.encode()) % self.dimensions for term in query_terms(text))
        length = math.sqrt(sum(value * value for value in counted.values())) or 1.0
        return [counted[bucket] / length for bucket in range(self.dimensions)]
