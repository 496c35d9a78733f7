"""The live view over HTTP: server-sent events of a run, and the feed as a WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse
from prometheus_client import Gauge

from atom.errors import UnauthenticatedError, UnavailableError
from atom.events.models import Event, EventType
from atom.feed.stream import Heartbeat, Stream
from atom.identity.guard import SUBPROTOCOL, Guard, Requires
from atom.identity.models import Permission
from atom.infra.db import Sessions, unit_of_work
from atom.runs.ports import Delta
from atom.runs.service import RunService

ENDS = (EventType.RUN_COMPLETED.value, EventType.RUN_FAILED.value, EventType.RUN_CANCELLED.value)
After = Annotated[int, Query(ge=0, description="The last `seq` you have; 0 for everything.")]
FEED_PATH = "/api/social/ws/feed"
REAUTHORISE_SECONDS = 60.0
SEND_SECONDS = 20.0  # a viewer that takes longer for one message has gone
REVOKED = 4401
TRY_LATER = 1013
GOING_AWAY = 1012
log = structlog.get_logger(service="websocket_manager")


def routes(stream: Stream, runs: RunService, sessions: Sessions, guard: Guard, connections: Gauge) -> APIRouter:
    router = APIRouter(tags=["feed"])
    feed_reader = guard.requires(Permission.FEED_READ)

    @router.get("/api/runs/{run_id}/events", dependencies=[Depends(guard.requires(Permission.RUNS_READ))])
    async def run_events(
        run_id: UUID, after: After = 0, last_event_id: Annotated[str | None, Header()] = None
    ) -> StreamingResponse:
        async with unit_of_work(sessions) as session:
            await runs.get(session, run_id)
        start = int(last_event_id) if last_event_id and last_event_id.isdecimal() else after
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        body = _server_sent(stream, start, run_id)
        return StreamingResponse(body, media_type="text/event-stream", headers=headers)

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
            await _serve(socket, stream, after, feed_reader)

    return router


async def _server_sent(stream: Stream, after: int, run_id: UUID) -> AsyncIterator[bytes]:
    yield b": connected\n\n"
    end = await stream.reader.first_seq_of(run_id, ENDS)
    if end is not None and end <= after:
        return  # the viewer has it all
    items = stream.follow(after, run_id=run_id)
    try:
        async for item in items:
            if isinstance(item, Heartbeat):
                yield b": heartbeat\n\n"
            elif isinstance(item, Delta):
                yield f"event: delta\ndata: {json.dumps(delta_json(item))}\n\n".encode()
            else:
                yield f"id: {item.seq}\nevent: {item.type}\ndata: {json.dumps(item.envelope())}\n\n".encode()
                if item.type in ENDS:
                    return
    except UnavailableError:
        return  # the client resumes from its last id
    finally:
        await items.aclose()


async def _serve(socket: WebSocket, stream: Stream, after: int | None, reader: Requires) -> None:
    """Until the viewer leaves, is revoked, is too slow, or this process drains."""
    start = await stream.reader.last_seq() if after is None else after
    tasks = {
        asyncio.create_task(_send_all(socket, stream, start)): GOING_AWAY,
        asyncio.create_task(_drop_incoming(socket)): None,
        asyncio.create_task(_reauthorise(socket, reader)): REVOKED,
    }
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    first = next(iter(done))
    code = TRY_LATER if any(isinstance(r, TimeoutError | UnavailableError) for r in results) else tasks[first]
    if code is not None:
        try:
            await socket.close(code)
        except RuntimeError:  # already closed by the peer
            log.debug("websocket.already_closed")


async def _send_all(socket: WebSocket, stream: Stream, after: int) -> None:
    items = stream.follow(after)
    try:
        async for item in items:
            if isinstance(item, Heartbeat):
                continue  # the server's own ping keeps a WebSocket alive
            message = item.envelope() if isinstance(item, Event) else {"type": "delta", **delta_json(item)}
            await asyncio.wait_for(socket.send_text(json.dumps(message)), SEND_SECONDS)
    finally:
        await items.aclose()


async def _drop_incoming(socket: WebSocket) -> None:
    """The feed only speaks; what a client says is read and dropped, until it leaves."""
    try:
        while True:
            await socket.receive()
    except (WebSocketDisconnect, RuntimeError):
        return


async def _reauthorise(socket: WebSocket, reader: Requires) -> None:
    """A revoked or expired credential ends the connection."""
    while True:
        await asyncio.sleep(REAUTHORISE_SECONDS)
        try:
            await reader(socket)
        except UnauthenticatedError:
            log.info("websocket.credential_ended")
            return
        except UnavailableError:
            continue


def delta_json(delta: Delta) -> dict[str, Any]:
    return {
        "run_id": str(delta.run_id),
        "step": delta.step,
        "attempt": delta.attempt,
        "offset": delta.offset,
        "text": delta.text,
    }
