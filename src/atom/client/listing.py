"""Lists of the API: pages behind a cursor."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from atom.client.models import Page, Wire
from atom.client.transport import Transport

W = TypeVar("W", bound=Wire)
PAGE = 200  # the largest the server gives


@dataclass(frozen=True, slots=True)
class Listing(Generic[W]):
    """A list on the server: one page of it, or as many items as the caller takes."""

    transport: Transport
    shape: type[Page[W]]
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)

    async def page(self, limit: int, *, after: str | None = None) -> Page[W]:
        query = {**self.query, "limit": limit, "after": after}
        return await self.transport.ask(self.shape, "GET", self.path, query=query)

    async def every(self, limit: int) -> AsyncIterator[W]:
        """Up to `limit` items, page by page."""
        left, after = limit, None
        while left > 0:
            page = await self.page(min(left, PAGE), after=after)
            for item in page.items:
                yield item
            left -= len(page.items)
            after = page.next
            if after is None or not page.items:
                return
