"""Somebody who looks at a stream: still allowed to, and fast enough."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import structlog
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from atom.errors import UnavailableError
from atom.feed.stream import Item, Stream
from atom.identity.guard import Requires
from atom.identity.models import Principal

log = structlog.get_logger(service="websocket_manager")


@dataclass(frozen=True, slots=True)
class ViewLimits:
    """A revoked key ends its streams at once; `reauthorise_seconds` is for one that expires.

    A viewer that takes longer than `send_seconds` for one message has gone.
    """

    reauthorise_seconds: float = 60.0
    send_seconds: float = 20.0


Seen = Callable[[Principal], Awaitable[None]]


async def unnoted(_: Principal) -> None:
    """For a caller who waits for an answer: a program, perhaps, and nobody who watches."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """`requires` is asked again, from time to time, whether `connection` may still look; `seen` is told who does."""

    connection: HTTPConnection
    requires: Requires
    limits: ViewLimits
    seen: Seen = unnoted

    async def items(self, stream: Stream, after: int | None, run_id: UUID | None = None) -> AsyncGenerator[Item]:
        """What the stream has. Raises UnauthenticatedError when the credential has ended."""
        principal = await self.requires(self.connection)
        await self.seen(principal)
        checked = time.monotonic()
        async with aclosing(stream.follow(after, key_id=principal.key_id, run_id=run_id)) as items:
            async for item in items:
                if time.monotonic() - checked > self.limits.reauthorise_seconds:
                    await self._ask_again()
                    checked = time.monotonic()
                yield item

    async def _ask_again(self) -> None:
        try:
            await self.seen(await self.requires.authorise(self.connection))
        except UnavailableError:
            log.debug("websocket.reauthorise_postponed")


class BoundedStream(StreamingResponse):
    """Server-sent events that give up on a reader who takes nothing for `send_seconds`."""

    def __init__(self, content: AsyncGenerator[bytes], headers: Mapping[str, str], send_seconds: float) -> None:
        super().__init__(content, headers=headers, media_type="text/event-stream")
        self.content = content
        self.send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def bounded(message: Message) -> None:
            await asyncio.wait_for(send(message), self.send_seconds)

        try:
            await super().__call__(scope, receive, bounded)
        except TimeoutError:
            log.warning("websocket.viewer_too_slow", kind="sse", seconds=self.send_seconds)
        finally:
            await self.content.aclose()
