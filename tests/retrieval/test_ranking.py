"""Scores: what is rarer, closer or of the right kind ranks higher, on one scale."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.retrieval.corpus import Corpus, SourceText
from atom.retrieval.files import FileIndex
from atom.retrieval.fusion import fuse, min_max
from atom.retrieval.lexical import Lexicon, document
from atom.retrieval.question import Wanted, wanted
from atom.retrieval.ranking import ABOUT, Ranking
from atom.retrieval.vectors import Vectors, dot_products

FLOATS = st.floats(-1e6, 1e6, allow_nan=False)


def lexicon(*texts: str) -> Lexicon:
    return Lexicon([document((text, 1.0)) for text in texts])


def ranking(query: str, text: str, path: str = "a.md") -> Ranking:
    corpus = Corpus([SourceText(path, text, "digest")])
    return Ranking(query, FileIndex(1_000).index(corpus).files)


def test_bm25_is_the_published_formula() -> None:
    [score, other] = lexicon("pool pool", "cache").bm25("pool")
    weight = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    norm = 1.2 * (1 - 0.75 + 0.75 * 2 / 1.5)
    assert score == pytest.approx(weight * 2 * 2.2 / (2 + norm))
    assert other == 0


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    rare, common, _ = lexicon("pool rest", "size rest", "size other").bm25("pool size")
    assert rare > common


def test_neighbours_of_the_query_that_stay_neighbours_count() -> None:
    assert lexicon("the pool size", "size of a pool", "pool").pairs("pool size") == [1.0, 0.0, 0.0]


def test_coverage_is_the_share_of_the_weight() -> None:
    both = lexicon("pool size", "pool")
    assert both.coverage("pool size", 0) == pytest.approx(1.0)
    assert 0 < both.coverage("pool size", 1) < 0.5  # the word that is everywhere weighs less
    assert both.coverage("zebra", 0) == 0.0


@given(st.lists(FLOATS, max_size=30))
def test_scaled_scores_keep_their_order_within_0_and_1(scores: list[float]) -> None:
    scaled = min_max(scores)
    assert all(0 <= score <= 1 for score in scaled)
    assert all(
        (a <= b) == (x <= y) or x == y
        for a, x in zip(scores, scaled, strict=True)
        for b, y in zip(scores, scaled, strict=True)
    )


def test_lists_of_different_length_cannot_be_fused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        fuse(([1.0], 0.5), ([1.0, 2.0], 0.5))


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("How do I warm the cache?", {Wanted.COMMAND}),
        ("Which command checks Redis?", {Wanted.COMMAND}),
        ("How many connections are allowed?", {Wanted.VALUE}),
        ("What is the sandbox timeout?", {Wanted.VALUE}),
        ("How do I set the timeout?", {Wanted.COMMAND, Wanted.VALUE}),
        ("governance cache", set()),
    ],
)
def test_what_a_question_wants(question: str, kinds: set[Wanted]) -> None:
    assert wanted(question) == kinds


def test_a_question_how_finds_the_command_and_not_the_comment_that_names_it() -> None:
    found = ranking("How do I warm the cache?", "```bash\n# Warm the cache\ncurl cache/warm\n```\n")
    assert found.places[found.order(None)[0][0]].line.text == "curl cache/warm"


def test_lines_far_below_the_best_are_left_out() -> None:
    found = ranking("pool size", "pool size\n\nthe size of something else altogether, written at some length here\n")
    assert [found.places[number].line.number for number, _ in found.order(None)] == [1]


def test_a_line_is_about_the_query_when_its_claim_is_near_or_every_word_is_there() -> None:
    found = ranking("retry budget", "retry policy\nretry budget\n")
    assert found.is_about([0], [ABOUT])
    assert not found.is_about([0], [ABOUT - 0.01])
    assert found.is_about([1], [0.0])
    assert not found.is_about([], [])


def test_without_an_embedder_half_of_the_words_have_to_be_there() -> None:
    found = ranking("unheard retry words everywhere", "retry policy\nother\n")
    assert not found.is_about([0], None)


def test_vectors_keep_whole_rows_only() -> None:
    with pytest.raises(ValueError, match="not whole rows"):
        Vectors(b"1234567", 2)


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_vectors_come_back_as_they_went_in(rows: list[list[float]]) -> None:
    vectors = Vectors.of(rows, 3)
    assert vectors.rows() == rows
    assert len(vectors.first(1).joined(vectors)) == len(rows) + 1
    assert dot_products(vectors, vectors)[0] == pytest.approx(sum(x * x for x in rows[0]))
