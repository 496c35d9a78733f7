"""Whatever a model or a person sends becomes text that PostgreSQL and UTF-8 can take."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.kit.text import canonical_json, clean, clean_json, shorten

anything = st.text(st.characters())  # lone surrogates and NUL included
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
    max_leaves=12,
)


@given(anything)
def test_clean_text_has_no_nul_and_a_utf8_form(text: str) -> None:
    said = clean(text)
    assert "\x00" not in said
    assert said.encode("utf-8").decode("utf-8") == said
    assert clean(said) == said


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_clean_changes_nothing_that_is_fit(text: str) -> None:
    assert clean(text) == text


@given(values)
def test_clean_json_is_strict_json_that_jsonb_takes(value: Any) -> None:
    said = json.dumps(clean_json(value), allow_nan=False)
    assert "\\u0000" not in said
    said.encode("utf-8")
    json.loads(said)


def test_numbers_that_json_cannot_spell_become_words() -> None:
    """A model may write NaN or 1e999 into its arguments; PostgreSQL refuses a document with them."""
    assert clean_json([float("nan"), float("inf"), -float("inf"), 1.5]) == ["nan", "inf", "-inf", 1.5]


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_shortened_text_keeps_to_its_limit_and_shows_the_cut(text: str, limit: int) -> None:
    said = shorten(text, limit)
    assert len(said) <= limit
    assert said == text or said.endswith("\u2026")


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


@pytest.mark.parametrize(("left", "right"), [({"a": 1}, {"a": "1"}), ([1, 2], [2, 1]), ({"a": None}, {})])
def test_canonical_json_tells_different_values_apart(left: Any, right: Any) -> None:
    assert canonical_json(left) != canonical_json(right)
