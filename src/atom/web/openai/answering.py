"""One answer over HTTP, whole or in pieces: for as long as its client is there."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import StreamingResponse

from atom.errors import AtomError, UnavailableError
from atom.feed.viewer import BoundedStream, Viewer
from atom.identity.models import Principal
from atom.infra.db import Sessions, unit_of_work
from atom.runs.control import RunControl
from atom.web.openai.errors import GoingAwayError
from atom.web.openai.watching import Seen, Standing, Watch

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
log = structlog.get_logger(service="api")


class ClientGoneError(UnavailableError):
    """Nobody is there to read this."""

    code = "client_gone"


class Renderer(Protocol):
    def render(self, happening: AsyncIterator[Seen]) -> AsyncIterator[bytes]: ...

    def failed(self, error: AtomError) -> bytes:
        """That there will be no more, when the answer has begun already."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request and the run that answers it. `keep`: the run goes on when its client hangs up."""

    request: Request
    viewer: Viewer
    by: Principal
    run_id: UUID
    keep: bool


@dataclass(slots=True)
class Answering:
    """`seconds`: how long a call may wait for its run.

    A client that hangs up ends the run, as it would end an answer of a model; a process that goes away does not.
    """

    watch: Watch
    control: RunControl
    sessions: Sessions
    seconds: float
    _hangups: set["asyncio.Task[None]"] = field(default_factory=set, init=False)

    async def whole(self, call: Call) -> Standing:
        """Raises ClientGoneError, GoingAwayError."""
        work = asyncio.ensure_future(self._last(call))
        gone = asyncio.ensure_future(_gone(call.request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._hung_up(call)
                raise ClientGoneError("The client has hung up.")
            standing = work.result()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        if standing is None:
            raise GoingAwayError(
                "This process is going away; the run goes on.", hint=f"`atom runs show {call.run_id}` shows it."
            )
        return standing

    def streamed(self, call: Call, renderer: Renderer) -> StreamingResponse:
        return BoundedStream(self._parts(call, renderer), HEADERS, call.viewer.limits.send_seconds)

    async def _parts(self, call: Call, renderer: Renderer) -> AsyncGenerator[bytes]:
        ended = False
        try:
            async with aclosing(self.watch.follow(call.viewer, call.run_id, seconds=self.seconds)) as happening:
                async for part in renderer.render(happening):
                    yield part
            ended = True
        except AtomError as error:
            ended = True
            yield renderer.failed(error)
        finally:
            if not ended:
                self._hung_up(call)

    async def _last(self, call: Call) -> Standing | None:
        found: Standing | None = None
        async with aclosing(self.watch.follow(call.viewer, call.run_id, seconds=self.seconds)) as happening:
            async for seen in happening:
                found = seen if isinstance(seen, Standing) else found
        return found

    def _hung_up(self, call: Call) -> None:
        """Whatever is being cancelled here, the run's end is not part of it."""
        if call.keep or self.watch.stream.hub.closed:
            return
        task = asyncio.ensure_future(self._cancel(call))
        self._hangups.add(task)
        task.add_done_callback(self._hangups.discard)

    async def _cancel(self, call: Call) -> None:
        try:
            async with unit_of_work(self.sessions) as session:
                await self.control.cancel(session, call.by, call.run_id, hung_up=True)
        except AtomError as error:  # it has ended meanwhile, or the database is away: then it goes on
            log.info("api.hangup_not_passed_on", run_id=str(call.run_id), error_code=error.code)
        else:
            log.info("api.client_hung_up", run_id=str(call.run_id))


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
