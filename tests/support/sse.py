"""Server-sent events as a viewer reads them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Sent:
    """`id` is None for a delta. A comment (a heartbeat) has the type `comment`."""

    id: int | None
    type: str
    data: Any


@asynccontextmanager
async def watching(
    http: httpx2.AsyncClient, run_id: str, after: int = 0, **headers: str
) -> AsyncIterator[AsyncIterator[Sent]]:
    """The stream of a run's events, open as long as the block."""
    async with http.stream("GET", f"/api/runs/{run_id}/events?after={after}", headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield _parsed(answer.aiter_lines())


async def seen(http: httpx2.AsyncClient, run_id: str, after: int = 0, **headers: str) -> list[Sent]:
    """Everything up to the end of the stream, comments left out."""
    async with asyncio.timeout(SECONDS), watching(http, run_id, after, **headers) as items:
        return [item async for item in items if item.type != "comment"]


async def _parsed(lines: AsyncIterator[str]) -> AsyncIterator[Sent]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name or "comment"] = value.removeprefix(" ")
        elif "data" in fields:
            number = int(fields["id"]) if "id" in fields else None
            yield Sent(number, fields["event"], json.loads(fields["data"]))
            fields = {}
        else:
            yield Sent(None, "comment", fields.get("comment", ""))
            fields = {}
