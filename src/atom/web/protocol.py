"""HTTP from the wire, with the bounds that the server itself does not have: on a request's head, and on patience."""

import asyncio

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 16_384
HEAD_SECONDS = 10.0
BODY_IDLE_SECONDS = 20.0
log = structlog.get_logger(service="api")


class HeadTooLargeError(httptools.HttpParserError):
    """Raised inside the parser: the server answers 400 and hangs up."""


class BoundedHttp(HttpToolsProtocol):
    """A head of at most 16 KB that is complete within ten seconds, and a body that keeps coming.

    Between requests the server's own keep-alive timeout counts; a response may take as long as it likes.
    """

    head_seconds = HEAD_SECONDS
    body_idle_seconds = BODY_IDLE_SECONDS
    _deadline: asyncio.TimerHandle | None = None
    _in_head = True
    _paused = False
    _counted = 0  # bytes of the head that the parser has given
    _arrived = 0  # bytes that came while it was still waiting for more of the head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waited = self._in_head
        super().data_received(data)
        if not (waited and self._in_head) or self.transport.is_closing():
            return
        self._arrived += len(data)
        if self._arrived > HEAD_BYTES:
            self.send_400_response("The head of the request is too large.")

    def handle_websocket_upgrade(self) -> None:
        self._expect(None)
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._counted, self._arrived = True, 0, 0
        self._expect(self.head_seconds)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._expect(self.body_idle_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._expect(self.body_idle_seconds)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._expect(None)
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._counted += size
        if self._counted > HEAD_BYTES:
            raise HeadTooLargeError("The head of the request is too large.")

    def _expect(self, seconds: float | None) -> None:
        """Something must come within `seconds`; None: nothing has to."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        was_paused, self._paused = self._paused, self.flow.read_paused
        if self._paused or was_paused:  # it is we who are not reading, or were not for a part of this wait
            self._expect(self.body_idle_seconds)
            return
        log.info("api.client_too_slow", waiting_for="head" if self._in_head else "body")
        self.transport.close()
