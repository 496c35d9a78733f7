"""What is printed is safe for a terminal and for a program that reads it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.cli.output import dollars, fit, one_line, to_json, visible

UNSAFE = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), "\u202e", "\u2066", "\u2028"} - {"\n", "\t"}


@given(st.text())
def test_no_text_can_drive_the_terminal(text: str) -> None:
    assert not UNSAFE & set(visible(text))
    assert not (UNSAFE | {"\n", "\t"}) & set(one_line(text))


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=20))
def test_json_is_safe_encodable_and_says_the_same(text: str) -> None:
    shown = to_json({"value": text})
    assert not UNSAFE & set(shown)
    assert shown.encode()
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert json.loads(shown) == {"value": text}


def test_ordinary_text_is_left_as_it_is() -> None:
    text = "Gr\u00fc\u00dfe,\n\t\u65e5\u672c \u2603 \U0001f600"
    assert visible(text) == text


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0E-10", "$0"),
        ("0.0000802500", "$0.00008025"),
        ("200.00000000", "$200"),
        ("1E+3", "$1,000"),
        ("1E-8", "$0.00000001"),
    ],
)
def test_dollars_are_written_with_their_digits_and_without_an_exponent(amount: str, shown: str) -> None:
    assert dollars(amount) == shown


FITS = [
    ([36, 5, 6, 20, 480], 80, [36, 5, 6, 17, 8]),
    ([36, 5, 6, 20, 4], 80, [36, 5, 6, 20, 4]),
    ([10, 40, 40], 80, [10, 40, 26]),
    ([10, 40, 40], 30, [10, 8, 8]),
]


@pytest.mark.parametrize(("widths", "room", "fitted"), FITS)
def test_the_last_column_gives_way_first_and_the_first_never(widths: list[int], room: int, fitted: list[int]) -> None:
    assert fit(widths, room) == fitted
