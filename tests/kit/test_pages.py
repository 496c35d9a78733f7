"""A cursor walks over every row exactly once."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.errors import InvalidError
from atom.kit.ids import new_id
from atom.kit.pages import parse_cursor, to_page


@given(st.integers(min_value=0, max_value=30), st.integers(min_value=1, max_value=7))
def test_walking_by_next_shows_every_row_once_in_order(count: int, limit: int) -> None:
    rows = sorted((new_id() for _ in range(count)), reverse=True)
    shown: list[UUID] = []
    after: UUID | None = None
    for _ in range(count + 2):
        wanted = [row for row in rows if after is None or row < after][: limit + 1]
        page = to_page(wanted, limit, lambda row: row)
        assert len(page.items) <= limit
        shown += page.items
        if page.next is None:
            break
        after = parse_cursor(page.next)
    assert shown == rows


def test_no_cursor_means_the_beginning() -> None:
    assert parse_cursor(None) is None


@pytest.mark.parametrize("text", ["", "5", "'; DROP TABLE agent", "\x00", "00000000-0000-0000-0000-00000000000g"])
def test_foreign_cursor_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_cursor(text)
    assert caught.value.details == {"field": "after"}
