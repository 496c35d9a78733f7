"""Lexical scores: BM25 over weighted fields, and how many neighbouring pairs of the query a text repeats. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sys import intern

from atom.retrieval.terms import bigrams, query_terms, terms

# Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009): k1 from 1.2 to 2, b from 0.5
# to 0.8 do well in most collections. 1.2 and 0.75 are the defaults of Lucene as well.
K1 = 1.2
B = 0.75


@dataclass(frozen=True, slots=True)
class Document:
    """A text of several fields as it is counted: weighted term frequencies and their sum."""

    fields: tuple[str, ...]
    frequencies: Mapping[str, float]
    length: float


def document(*fields: tuple[str, float]) -> Document:
    """Each field is a text and its weight (BM25F: frequencies are weighted before they saturate)."""
    counted: dict[str, float] = {}
    length = 0.0
    for text, weight in fields:
        found = terms(text)
        for term in found:
            counted[intern(term)] = counted.get(term, 0.0) + weight
        length += weight * len(found)
    return Document(tuple(text for text, _ in fields), counted, length)


class Lexicon:
    """A collection of documents and its statistics, ready to be asked."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents
        self._mean_length = sum(one.length for one in documents) / len(documents) if documents else 1.0
        self._holders = Counter(term for one in documents for term in one.frequencies)

    def weight(self, term: str) -> float:
        """The inverse document frequency, never negative."""
        holders = self._holders[term]
        return math.log(1 + (len(self._documents) - holders + 0.5) / (holders + 0.5))

    def bm25(self, query: str) -> list[float]:
        wanted = [(term, self.weight(term)) for term in query_terms(query)]
        return [self._score(one, wanted) for one in self._documents]

    def pairs(self, query: str) -> list[float]:
        """The share of the query's neighbouring pairs that a document repeats, 0..1."""
        asked = set(bigrams(query_terms(query)))
        return [_repeated(asked, one) / len(asked) if asked else 0.0 for one in self._documents]

    def coverage(self, query: str, number: int) -> float:
        """The share of the query's weight whose terms the document of that number has, 0..1."""
        wanted = [(term, self.weight(term)) for term in query_terms(query)]
        total = sum(weight for _, weight in wanted)
        held = sum(weight for term, weight in wanted if term in self._documents[number].frequencies)
        return held / total if total > 0 else 0.0

    def _score(self, one: Document, wanted: Sequence[tuple[str, float]]) -> float:
        norm = K1 * (1 - B + B * one.length / (self._mean_length or 1.0))
        score = 0.0
        for term, weight in wanted:
            frequency = one.frequencies.get(term)
            if frequency:
                score += weight * frequency * (K1 + 1) / (frequency + norm)
        return score


def _repeated(asked: set[tuple[str, str]], one: Document) -> int:
    """Only a document that has both terms of a pair is looked at again: pairs are not worth storing."""
    possible = {pair for pair in asked if pair[0] in one.frequencies and pair[1] in one.frequencies}
    if not possible:
        return 0
    return len(possible.intersection(pair for text in one.fields for pair in bigrams(terms(text))))
