"""The feed of all events over the WebSocket, reconnecting. Apart from the rest, so that the rest starts faster."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from atom.client.errors import BadReplyError, DroppedError, SlowError, UnreachableError, error_from
from atom.client.follow import Item, OnDrop, Source, follow, read_frame
from atom.client.transport import CONNECT_SECONDS, LARGEST_REPLY, Pause, checked_url

PING_SECONDS = 20.0
PATH = "/api/social/ws/feed"


def feed(
    url: str, token: str | None, after: int = 0, *, on_drop: OnDrop | None = None, pause: Pause = asyncio.sleep
) -> AsyncIterator[Item]:
    """Every event behind `after`, and deltas as they come, for as long as the caller takes them."""
    base = checked_url(url)

    async def items(seq: int) -> AsyncGenerator[Item, None]:
        async with await _connect(base, token, seq) as socket:
            try:
                async for frame in socket:
                    if isinstance(frame, bytes):
                        raise BadReplyError(base, "the feed sent a binary frame")
                    for item in read_frame(base, frame):
                        yield item
            except ConnectionClosed as error:
                raise DroppedError(base) from error

    async def over() -> bool:
        return False

    return follow(Source(base, items, over, lambda event: False), after, pause=pause, on_drop=on_drop)


async def _connect(base: str, token: str | None, seq: int) -> ClientConnection:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return await connect(
            f"ws{base.removeprefix('http')}{PATH}?after={seq}",
            additional_headers=headers,
            open_timeout=CONNECT_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            max_size=LARGEST_REPLY,
            proxy=None,
        )
    except InvalidStatus as error:
        reply = error.response
        raise error_from(reply.status_code, reply.headers, bytes(reply.body or b"")) from error
    except InvalidHandshake as error:
        raise BadReplyError(base, "its feed is no WebSocket") from error
    except TimeoutError as error:
        raise SlowError(base, CONNECT_SECONDS) from error
    except OSError as error:
        raise UnreachableError(base) from error
