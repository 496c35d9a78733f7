"""Which lines answer a query best: by words, by meaning, and by the kind of line. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from atom.retrieval.files import IndexedFile
from atom.retrieval.fusion import fuse
from atom.retrieval.lexical import Lexicon
from atom.retrieval.lines import LogicalLine
from atom.retrieval.question import fitness, wanted

# Chosen on 45 questions asked of two editions of the guide (bench/local_model.py); 0.5 to 0.7 each differ by 3 of 90.
PAIR_WEIGHT = 0.25
MEANING_WEIGHT = 0.6
LEAST_SHARE = 0.4  # of the best score: what ranks below it is noise
ABOUT = 0.40  # least cosine of a claim: passes 66 of 66 right lines, and 2 of 56 questions that the guide cannot answer
WORDS_ALONE = 0.5  # share of the query's weight that has to be in a line when there is no embedder


@dataclass(frozen=True, slots=True)
class Place:
    """A line and the file it stands in."""

    path: str
    line: LogicalLine


class Ranking:
    """One query against the lines of some files. `lexical` and the result of `order` are parallel to `places`."""

    def __init__(self, query: str, files: Sequence[IndexedFile]) -> None:
        self._query = query
        self.places = [Place(file.path, line) for file in files for line in file.lines]
        self._lexicon = Lexicon([document for file in files for document in file.documents])
        self.lexical = fuse((self._lexicon.bm25(query), 1.0), (self._lexicon.pairs(query), PAIR_WEIGHT))

    def order(self, cosines: Sequence[float] | None) -> list[tuple[int, float]]:
        """Numbers of places with their scores, best first, without those far below the best or without any score."""
        scores = fuse((self.lexical, 1 - MEANING_WEIGHT), (cosines, MEANING_WEIGHT)) if cosines else list(self.lexical)
        wants = wanted(self._query)
        scores = [score * fitness(wants, place.line) for score, place in zip(scores, self.places, strict=True)]
        best = max(scores, default=0.0)
        kept = [(number, score) for number, score in enumerate(scores) if score > 0 and score >= LEAST_SHARE * best]
        return sorted(kept, key=lambda pair: (-pair[1], pair[0]))

    def words_agree(self, number: int, share: float) -> bool:
        return self._lexicon.coverage(self._query, number) >= share

    def is_about(self, numbers: Sequence[int], claims: Sequence[float] | None) -> bool:
        """Whether the best lines are about the query at all. `claims` are the cosines of their `claim`."""
        if any(self.words_agree(number, 1.0) for number in numbers):
            return True
        if claims is None:
            return any(self.words_agree(number, WORDS_ALONE) for number in numbers)
        return max(claims, default=0.0) >= ABOUT
