"""What is counted: words, parts of identifiers, plurals joined, questions without their function words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.retrieval.terms import MAX_TERM_CHARS, query_terms, terms


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pool_size = 20", ["pool_size", "pool", "size", "20"]),
        ("maxOverflow", ["maxoverflow", "max", "overflow"]),
        ("Replicas, replica!", ["replica", "replica"]),
        ("archiving archived archive", ["archiv", "archiv", "archiv"]),
        ("queries query", ["query", "query"]),
        ("status bus this", ["status", "bus", "this"]),
        ("three replicas", ["3", "replica"]),
        ("Größe 日本", ["größe", "日本"]),
        ("-- ... ---", []),
    ],
)
def test_terms(text: str, found: list[str]) -> None:
    assert terms(text) == found


def test_a_query_counts_its_telling_words_once() -> None:
    assert query_terms("How does the pool do what the pool does?") == ["pool"]


def test_a_query_of_function_words_keeps_them() -> None:
    assert query_terms("to be or not to be") == ["to", "be", "or", "not"]


@given(st.text(max_size=300))
def test_no_text_breaks_it_and_no_term_is_long(text: str) -> None:
    assert all(term and len(term) <= MAX_TERM_CHARS for term in terms(text))
