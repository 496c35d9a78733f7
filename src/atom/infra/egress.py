"""The one way out for addresses that an agent chooses: checked, pinned, bounded.

A name is resolved once, every answer is judged, and the connection goes to the judged address: a resolver that answers
differently a moment later changes nothing. Host header, SNI and certificate keep the name. Every redirect starts anew.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httpx2
import structlog

from atom import __version__
from atom.errors import DeadlineError
from atom.infra.egress_address import Address, EgressDeniedError, Target, parse_target
from atom.infra.egress_body import EgressReplyError, EgressTooLargeError, read_body
from atom.infra.egress_policy import EgressPolicy, Zone
from atom.infra.egress_resolver import EgressUnreachableError, Resolver, SystemResolver, checked_addresses

log = structlog.get_logger(service="agent_execution")

MAX_REDIRECTS = 3
CONNECT_TRIES = 3
CONNECT_SECONDS = 3.0
MAX_CONCURRENT = 16
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PORTABLE_HEADERS = frozenset({"accept", "accept-language", "user-agent"})  # all that may follow to another origin
OWN_HEADERS = frozenset({"host", "connection", "accept-encoding", "content-length", "transfer-encoding"})


class EgressTimeoutError(DeadlineError):
    code = "egress_timeout"


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """`seconds` bounds a whole fetch: waiting for a slot, names, connections, redirects, body."""

    seconds: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class EgressReply:
    """`url` is where the reply came from after `redirects` hops. Header names are lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    redirects: int


def direct_transport(context: ssl.SSLContext) -> httpx2.AsyncBaseTransport:
    """One connection for one hop: never a proxy, never reused for another name on the same address."""
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=0)
    return httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)


@dataclass(slots=True)
class _Hop:
    target: Target
    headers: dict[str, str]
    zone: Zone = Zone.PUBLIC
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class EgressClient:
    """Fetches what agents ask for. Safe to share; at most MAX_CONCURRENT fetches at once. It keeps no cookies."""

    policy: EgressPolicy
    limits: EgressLimits
    resolver: Resolver
    transport: Callable[[], httpx2.AsyncBaseTransport]
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT))

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> EgressReply:
        """Fetch with GET, whatever the status. `headers` go to the first origin; only harmless ones follow elsewhere.

        Raises EgressDeniedError, EgressNameError, EgressUnreachableError, EgressTimeoutError, EgressTooLargeError or
        EgressReplyError.
        """
        return await self._bounded(self._follow(url, headers or {}))

    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str]) -> int:
        """Send `body` with POST, once, to where the address leads and nowhere else: no redirect is followed, and what
        the answer says is not read. Returns its status; raises as `get` does."""
        return (await self._bounded(self._send(url, body, headers))).status

    async def _bounded(self, fetching: Awaitable[EgressReply]) -> EgressReply:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.limits.seconds), self.slots:
                reply = await fetching
        except TimeoutError as error:
            raise EgressTimeoutError(
                f"No complete reply within {self.limits.seconds:g} seconds.", hint="Try again later or another address."
            ) from error
        except EgressDeniedError as error:
            log.warning("egress.refused", reason=error.reason, detail=error.message)
            raise
        seconds = round(time.monotonic() - started, 3)
        host = httpx2.URL(reply.url).raw_host.decode("ascii")
        log.info("egress.fetched", host=host, status=reply.status, bytes=len(reply.body), seconds=seconds)
        return reply

    async def _follow(self, url: str, headers: Mapping[str, str]) -> EgressReply:
        own = {name.lower(): value for name, value in headers.items() if name.lower() not in OWN_HEADERS}
        target = parse_target(url)
        hop = _Hop(target, {"accept": "*/*", "user-agent": f"atom/{__version__}", **own}, self.policy.zone(target))
        for redirects in range(MAX_REDIRECTS + 1):
            reply, location = await self._fetch(hop, redirects)
            if location is None:
                return reply
            hop = self._next(hop, location)
        raise EgressDeniedError(f"More than {MAX_REDIRECTS} redirects.", reason="redirects")

    async def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> EgressReply:
        own = {name.lower(): value for name, value in headers.items() if name.lower() not in OWN_HEADERS}
        target = parse_target(url)
        hop = _Hop(
            target, {"accept": "*/*", "user-agent": f"atom/{__version__}", **own}, self.policy.zone(target), body
        )
        reply, _ = await self._fetch(hop, 0)
        return reply

    def _next(self, hop: _Hop, location: str) -> _Hop:
        """The redirect's target under the same rules, and two more: not to plain http, not from outside to inside."""
        try:
            absolute = str(hop.target.url.join(location))
        except httpx2.InvalidURL as error:
            raise EgressReplyError("The redirect leads to a malformed URL.") from error
        target = parse_target(absolute)
        zone = self.policy.zone(target)
        if hop.target.scheme == "https" and target.scheme != "https":
            raise EgressDeniedError("The redirect leads from https to http.", reason="downgrade")
        if hop.zone is Zone.PUBLIC and zone is Zone.INTERNAL:
            raise EgressDeniedError("The redirect leads from a public host to an inner one.", reason="inward-redirect")
        same = target.origin == hop.target.origin
        headers = {name: value for name, value in hop.headers.items() if same or name in PORTABLE_HEADERS}
        return _Hop(target, headers, zone)

    async def _fetch(self, hop: _Hop, redirects: int) -> tuple[EgressReply, str | None]:
        error: Exception | None = None
        addresses = await checked_addresses(self.resolver, hop.target, hop.zone)
        for address in addresses[:CONNECT_TRIES]:
            try:
                return await self._exchange(hop, address, redirects)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as failure:
                error = failure
            except (httpx2.ProtocolError, httpx2.DecodingError) as failure:
                raise EgressReplyError(f"{hop.target.host} does not speak HTTP as it should.") from failure
            except (httpx2.TransportError, OSError) as failure:
                raise EgressUnreachableError(
                    f"{hop.target.host} dropped the connection.", hint="Try again."
                ) from failure
        raise EgressUnreachableError(
            f"{hop.target.host}:{hop.target.port} cannot be connected to{_tls_reason(error)}.",
            hint="Check the address or try again later.",
        ) from error

    async def _exchange(self, hop: _Hop, address: Address, redirects: int) -> tuple[EgressReply, str | None]:
        async with self.transport() as transport:
            response = await transport.handle_async_request(self._request(hop, address))
            try:
                return await self._reply(hop, response, redirects)
            finally:
                await response.aclose()

    def _request(self, hop: _Hop, address: Address) -> httpx2.Request:
        target = hop.target
        seconds = self.limits.seconds
        timeout = httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
        headers = {
            **hop.headers,
            "host": target.url.netloc.decode("ascii"),
            "accept-encoding": "gzip, deflate",
            "connection": "close",
        }
        pinned = target.url.copy_with(host=str(address))
        extensions = {"sni_hostname": target.host, "timeout": timeout.as_dict()}
        method = "GET" if hop.body is None else "POST"
        return httpx2.Request(method, pinned, headers=headers, content=hop.body, extensions=extensions)

    async def _reply(self, hop: _Hop, response: httpx2.Response, redirects: int) -> tuple[EgressReply, str | None]:
        headers = {name.lower(): value for name, value in response.headers.items()}
        location = headers.get("location") if response.status_code in REDIRECTS else None
        if location is not None or hop.body is not None:  # its body is nobody's business
            return EgressReply(str(hop.target.url), response.status_code, headers, b"", redirects), location
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.limits.max_bytes:
            raise EgressTooLargeError(f"The reply has more than {self.limits.max_bytes} bytes.")
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise EgressReplyError("The reply has no body that can be read.")
        body = await read_body(response.stream, headers.get("content-encoding", ""), limit=self.limits.max_bytes)
        return EgressReply(str(hop.target.url), response.status_code, headers, body, redirects), None


def _tls_reason(error: Exception | None) -> str:
    """Whether it was the certificate: the one reason to say, since the fix is different."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return " securely: its certificate is not valid for this name"
        cause = cause.__cause__ or cause.__context__
    return ""


def open_egress(
    policy: EgressPolicy,
    limits: EgressLimits,
    *,
    resolver: Resolver | None = None,
    context: ssl.SSLContext | None = None,
) -> EgressClient:
    """An egress client on the real network. `context` carries the authorities to trust; default: the system's."""
    trusted = context or httpx2.create_ssl_context(trust_env=False)
    return EgressClient(policy, limits, resolver or SystemResolver(), lambda: direct_transport(trusted))
