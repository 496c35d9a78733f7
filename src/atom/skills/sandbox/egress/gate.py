"""The proxy of one execution: its own port, its own credential, its own hosts."""

import asyncio
import base64
import secrets
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

import structlog

from atom.infra.egress_address import EgressDeniedError, Target
from atom.infra.egress_policy import EgressPolicy, Zone
from atom.infra.egress_resolver import (
    EgressNameError,
    EgressUnreachableError,
    Resolver,
    SystemResolver,
    checked_addresses,
)
from atom.skills.sandbox import hosts as names
from atom.skills.sandbox.egress import request
from atom.skills.sandbox.egress.bounds import Bounds
from atom.skills.sandbox.egress.hello import UNRECOGNIZED_NAME, Greeting
from atom.skills.sandbox.egress.journal import Journal, Visit
from atom.skills.sandbox.egress.refusal import Refused, malformed
from atom.skills.sandbox.egress.relay import READ, Relay
from atom.skills.sandbox.models import Connection

log = structlog.get_logger(__name__)

USER = "atom"
TRIES = 3  # addresses of a host
HANDSHAKE = b"\x16"  # the first byte of TLS
LINGER_SECONDS = 1.0  # so that a refusal is read before the connection is reset for what was not
LINGER_BYTES = 1 << 20
INSIDE = 0  # the status of a refusal that comes when a tunnel is open: HTTP would be inside it
TITLES = {400: "Bad Request", 403: "Forbidden", 407: "Proxy Authentication Required", 408: "Request Timeout",
          431: "Request Header Fields Too Large", 502: "Bad Gateway", 503: "Service Unavailable",
          504: "Gateway Timeout"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outside:
    """How names are resolved, and what one execution may take.

    `inner` has entries of an EgressPolicy (`internal:name:port`): hosts that may lie on inner addresses where a program
    asks for them. It is empty but for the canaries.
    """

    resolver: Resolver = field(default_factory=SystemResolver)
    inner: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)

    def zone(self, target: Target, asked: EgressPolicy) -> Zone:
        """Raises EgressDeniedError for a host that was not asked for."""
        zone = asked.zone(target)
        opened = any(rule.covers(target) for rule in EgressPolicy.parse(self.inner).rules)
        return Zone.INTERNAL if opened else zone


class Gate:
    """Listens on this machine's loopback from `async with` to its end, which ends its connections, too."""

    def __init__(self, hosts: Iterable[str], outside: Outside, *, transfer: int) -> None:
        """`transfer`: the most bytes, in both directions together."""
        self.policy = names.policy(hosts)
        self.outside = outside
        self.bounds = outside.bounds
        self.journal = Journal(transfer)
        self.secret = secrets.token_urlsafe(32)
        self.credential = b"Basic " + base64.b64encode(f"{USER}:{self.secret}".encode())
        self.port = 0
        self.count = 0
        self.serving: set[asyncio.Task[None]] = set()
        self.turns = asyncio.Semaphore(self.bounds.at_once)

    async def __aenter__(self) -> "Gate":
        backlog = self.bounds.at_once + self.bounds.waiting
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=READ, backlog=backlog)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.close()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    def connections(self) -> tuple[Connection, ...]:
        return self.journal.connections()

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.count += 1
        full = len(self.serving) >= self.bounds.at_once + self.bounds.waiting
        if full or self.count > self.bounds.connections:
            self.journal.add(Visit(reason="busy"))
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        visit = Visit()
        try:
            async with asyncio.timeout(self.bounds.seconds), self.turns:
                await self._visit(reader, writer, visit)
        except Refused as refusal:
            visit.reason = refusal.reason
            await self._say(reader, writer, refusal, visit)
        except TimeoutError:
            visit.reason = "time"
        except asyncio.CancelledError:
            visit.reason = "ended"
            raise
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            visit.reason = visit.reason or "broken"
        finally:
            self.journal.add(visit)
            if visit.reason:
                writer.transport.abort()
            else:  # what was not taken yet is still sent
                writer.close()
            log.info(
                "sandbox.connection", host=visit.host, port=visit.port, allowed=visit.allowed, reason=visit.reason,
                sent=visit.sent, received=visit.received,
            )  # fmt: skip

    async def _visit(self, reader: StreamReader, writer: StreamWriter, visit: Visit) -> None:
        asked = request.read(await self._head(reader), self.credential)
        visit.host, visit.port = asked.target.host, asked.target.port
        host_reader, host_writer = await self._reach(asked)
        try:
            relay = Relay((reader, writer), (host_reader, host_writer), self.journal, visit, self.bounds)
            if not asked.tunnel:
                visit.allowed = True
                await relay.exchange(asked.head(), asked.length)
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            await self._inside(reader, writer, relay, asked.target)
        finally:
            host_writer.transport.abort()

    async def _inside(self, reader: StreamReader, writer: StreamWriter, relay: Relay, target: Target) -> None:
        """TLS, or one request without."""
        first = await self._first(reader)
        if first == HANDSHAKE:
            greeting = Greeting(target.host)
            sent = await self._greeting(reader, first, greeting, writer)
            relay.visit.allowed = True
            await relay.tunnel(greeting, sent)
            return
        inner = request.read_inside(await self._head(reader, first), target)
        relay.visit.allowed = True
        await relay.exchange(inner.head(), inner.length)

    async def _first(self, reader: StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self.bounds.head_seconds):
                return await reader.readexactly(1)
        except TimeoutError:
            raise Refused("slow", "Nothing came through the tunnel in time.", INSIDE) from None
        except asyncio.IncompleteReadError:
            raise Refused("not-tls", "Nothing came through the tunnel.", INSIDE) from None

    async def _head(self, reader: StreamReader, first: bytes = b"") -> bytes:
        try:
            async with asyncio.timeout(self.bounds.head_seconds):
                head = first + await reader.readuntil(request.END)
        except TimeoutError:
            raise Refused("slow", "The request did not come in time.", 408) from None
        except asyncio.LimitOverrunError:
            raise Refused("malformed", "The head of the request is too long.", 431) from None
        except asyncio.IncompleteReadError:
            raise malformed("The request is not complete.") from None
        if len(head) > self.bounds.head_bytes:
            raise Refused("malformed", "The head of the request is too long.", 431)
        return head

    async def _greeting(self, reader: StreamReader, first: bytes, greeting: Greeting, writer: StreamWriter) -> bytes:
        """What the program sent until its TLS greeting was complete, and for the host of the tunnel."""
        read = bytearray(first)
        try:
            greeting.feed(first)
            async with asyncio.timeout(self.bounds.head_seconds):
                while not greeting.named:
                    part = await reader.read(READ)
                    if not part:
                        raise Refused("not-tls", "Only TLS goes through a tunnel.")
                    greeting.feed(part)
                    read += part
        except TimeoutError:
            raise Refused("slow", "The TLS greeting did not come in time.", INSIDE) from None
        except Refused as refusal:
            writer.write(UNRECOGNIZED_NAME)
            raise Refused(refusal.reason, refusal.why, INSIDE) from None
        return bytes(read)

    async def _reach(self, asked: request.Request) -> tuple[StreamReader, StreamWriter]:
        """A connection to an address that was judged: the name is not asked for again. Raises Refused."""
        target = asked.target
        try:
            async with asyncio.timeout(self.bounds.connect_seconds):
                zone = self.outside.zone(target, self.policy)
                for address in (await checked_addresses(self.outside.resolver, target, zone))[:TRIES]:
                    with suppress(OSError):
                        return await asyncio.open_connection(str(address), target.port, limit=READ)
        except EgressDeniedError as error:
            raise Refused(error.reason, f"{target.host}:{target.port} may not be reached ({error.reason}).") from error
        except EgressNameError as error:
            raise Refused("name", error.message, 502) from error
        except EgressUnreachableError as error:
            raise Refused("unreachable", error.message, 502) from error
        except TimeoutError:
            raise Refused("unreachable", f"{target.host}:{target.port} does not answer.", 504) from None
        raise Refused("unreachable", f"{target.host}:{target.port} cannot be connected to.", 502)

    async def _say(self, reader: StreamReader, writer: StreamWriter, refusal: Refused, visit: Visit) -> None:
        """The reason, unless the connection belongs to the host already."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                if not visit.allowed and refusal.status != INSIDE:
                    writer.write(_reply(refusal))
                writer.write_eof()
                left = LINGER_BYTES
                while left > 0 and (part := await reader.read(READ)):
                    left -= len(part)


def _reply(refusal: Refused) -> bytes:
    body = refusal.why.encode() + b"\n"
    ask = 'Proxy-Authenticate: Basic realm="atom"\r\n' if refusal.status == 407 else ""
    head = (
        f"HTTP/1.1 {refusal.status} {TITLES[refusal.status]}\r\n{ask}Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nX-Atom-Refused: {refusal.reason}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
