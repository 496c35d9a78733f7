"""The live view over HTTP: server-sent events of a run, and the feed as a WebSocket."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse
from prometheus_client import Gauge

from atom.errors import UnauthenticatedError, UnavailableError
from atom.events.models import EventType
from atom.feed.stream import Heartbeat, Stream
from atom.feed.viewer import BoundedStream, Seen, Viewer, ViewLimits, unnoted
from atom.feed.wire import frame, server_sent
from atom.identity.guard import SUBPROTOCOL, Guard, GuardedRoute
from atom.identity.models import Permission
from atom.infra.db import Sessions, unit_of_work
from atom.runs.service import RunService

ENDS = (EventType.RUN_COMPLETED.value, EventType.RUN_FAILED.value, EventType.RUN_CANCELLED.value)
MAX_SEQ = 2**63 - 1
After = Annotated[int, Query(ge=0, le=MAX_SEQ, description="The last `seq` you have; 0 for everything.")]
FEED_PATH = "/api/social/ws/feed"
DEFAULT_LIMITS = ViewLimits()
CLOSE_SECONDS = 2.0
GOING_AWAY = 1012
TRY_LATER = 1013
REVOKED = 4401
log = structlog.get_logger(service="websocket_manager")


def routes(
    stream: Stream,
    runs: RunService,
    sessions: Sessions,
    guard: Guard,
    connections: Gauge,
    *,
    seen: Seen = unnoted,
    limits: ViewLimits = DEFAULT_LIMITS,
) -> APIRouter:
    """`seen` is told who looks, when they begin and from time to time."""
    router = APIRouter(tags=["feed"], route_class=GuardedRoute)
    run_reader, feed_reader = guard.requires(Permission.RUNS_READ), guard.requires(Permission.FEED_READ)

    @router.get(
        "/api/runs/{run_id}/events",
        dependencies=[Depends(run_reader)],
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}, "description": "Events of the run, to its end."}},
    )
    async def run_events(
        request: Request, run_id: UUID, after: After = 0, last_event_id: Annotated[str | None, Header()] = None
    ) -> StreamingResponse:
        async with unit_of_work(sessions) as session:
            await runs.get(session, run_id)
        viewer = Viewer(request, run_reader, limits, seen)
        body = _server_sent(viewer, stream, _cursor(last_event_id, after), run_id)
        return BoundedStream(body, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, limits.send_seconds)

    @router.get(FEED_PATH, dependencies=[Depends(feed_reader)], include_in_schema=False)
    async def not_a_websocket(request: Request) -> PlainTextResponse:
        """The guide's plain curl lands here: say what is missing instead of hanging."""
        wanted = ("connection", "upgrade", "sec-websocket-key", "sec-websocket-version")
        missing = ", ".join(name for name in wanted if name not in request.headers) or "a valid WebSocket handshake"
        text = f"This is a WebSocket endpoint. The request lacks: {missing}.\n"
        return PlainTextResponse(text, status_code=426, headers={"Upgrade": "websocket", "Connection": "Upgrade"})

    @router.websocket(FEED_PATH, dependencies=[Depends(feed_reader)])
    async def feed(socket: WebSocket, after: After | None = None) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(subprotocol=next((p for p in offered if p.startswith(SUBPROTOCOL)), None))
        with connections.track_inprogress():
            await _serve(socket, Viewer(socket, feed_reader, limits, seen), stream, after)

    return router


def _cursor(last_event_id: str | None, after: int) -> int:
    """A browser that reconnects says by Last-Event-ID where it was; what is no number of ours says nothing."""
    if last_event_id is None or not (last_event_id.isascii() and last_event_id.isdigit()):
        return after
    return min(int(last_event_id), MAX_SEQ) if len(last_event_id) < 20 else MAX_SEQ


async def _server_sent(viewer: Viewer, stream: Stream, after: int, run_id: UUID) -> AsyncGenerator[bytes]:
    yield b": connected\n\n"
    try:
        end = await stream.reader.first_seq_of(run_id, ENDS) if after else None
        if end is not None and end <= after:
            return  # the viewer has it all
        async with aclosing(viewer.items(stream, after, run_id)) as items:
            async for item in items:
                yield server_sent(item)
                if getattr(item, "type", None) in ENDS:
                    return
    except (UnavailableError, UnauthenticatedError):
        return  # the client resumes from its last id, and is told what is wrong then


async def _serve(socket: WebSocket, viewer: Viewer, stream: Stream, after: int | None) -> None:
    """Until the viewer leaves, its key ends, it is too slow, or this process drains."""
    sending = asyncio.create_task(_send_all(socket, viewer, stream, after))
    leaving = asyncio.create_task(_drop_incoming(socket))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not leaving.done():
            await _close(socket, await sending)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_all(socket: WebSocket, viewer: Viewer, stream: Stream, after: int | None) -> int:
    """The code to close with, when there is nothing more to send."""
    try:
        async with aclosing(viewer.items(stream, after)) as items:
            async for item in items:
                if not isinstance(item, Heartbeat):  # the server's own ping keeps a WebSocket alive
                    await asyncio.wait_for(socket.send_text(frame(item)), viewer.limits.send_seconds)
    except UnauthenticatedError:
        return REVOKED
    except UnavailableError:
        return TRY_LATER
    except TimeoutError:
        log.warning("websocket.viewer_too_slow", kind="websocket", seconds=viewer.limits.send_seconds)
        return TRY_LATER
    return GOING_AWAY


async def _drop_incoming(socket: WebSocket) -> None:
    """The feed only speaks; what a client says is read and dropped, until it leaves."""
    try:
        while (await socket.receive())["type"] != "websocket.disconnect":
            continue
    except (WebSocketDisconnect, RuntimeError):
        return


async def _close(socket: WebSocket, code: int) -> None:
    """A peer that reads nothing cannot be told: then the connection is just let go."""
    log.info("websocket.closed", code=code)
    try:
        await asyncio.wait_for(socket.close(code), CLOSE_SECONDS)
    except (RuntimeError, WebSocketDisconnect, TimeoutError):
        log.debug("websocket.gone_before_close")
