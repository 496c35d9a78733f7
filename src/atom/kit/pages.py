"""Cursor pages: newest first, the cursor is the id of the last item shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from atom.errors import InvalidError
from atom.kit.ids import parse_id

T = TypeVar("T")
MAX_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`next` goes into `after` of the next request; None at the end."""

    items: list[T]
    next: str | None


def parse_cursor(after: str | None) -> UUID | None:
    """Raises InvalidError when `after` is not a cursor of ours."""
    if after is None:
        return None
    cursor = parse_id(after)
    if cursor is None:
        raise InvalidError(
            "after: this is not a cursor.", hint="Take the value of `next` of the page before.", field="after"
        )
    return cursor


def to_page(rows: Sequence[T], limit: int, cursor: Callable[[T], UUID]) -> Page[T]:
    """A page of at most `limit` from `rows`, which were read with `limit + 1`."""
    items = list(rows[:limit])
    return Page(items, str(cursor(items[-1])) if len(rows) > limit else None)
