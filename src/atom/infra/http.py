"""HTTP clients for endpoints that the deployment configured and trusts. What an agent chooses goes through `egress`."""

import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx2

CONNECT_SECONDS = 5.0
POOL_SECONDS = 5.0
MAX_CONNECTIONS = 100
MAX_REPLY_BYTES = 50_000_000


class ReplyTooLargeError(httpx2.ReadError):
    """The endpoint sends more than was agreed. A transport error, so that whoever wraps the client sees one."""


def trusted_client(
    *,
    read_seconds: float,
    connect_seconds: float = CONNECT_SECONDS,
    max_connections: int = MAX_CONNECTIONS,
    max_reply_bytes: int = MAX_REPLY_BYTES,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    proxy: str | None = None,
    context: ssl.SSLContext | None = None,
) -> httpx2.AsyncClient:
    """A client with a bound on everything. The caller closes it.

    `read_seconds` is the longest silence between two bytes; a bound on the whole call is the caller's own. No proxy or
    netrc is taken from the environment (an address meant for one host must not pass through another by surprise): give
    `proxy`. Certificates: the system's, or those of SSL_CERT_FILE, as everywhere on the host. It follows no redirect.
    """
    transport = httpx2.AsyncHTTPTransport(
        verify=context or httpx2.create_ssl_context(),
        trust_env=False,
        proxy=proxy,
        limits=httpx2.Limits(
            max_connections=max_connections,
            max_keepalive_connections=min(20, max_connections),
            keepalive_expiry=30.0,
        ),
    )
    return httpx2.AsyncClient(
        transport=BoundedTransport(transport, max_reply_bytes),
        timeout=httpx2.Timeout(read_seconds, connect=connect_seconds, pool=POOL_SECONDS),
        base_url=base_url,
        headers=dict(headers or {}),
        trust_env=False,
        follow_redirects=False,
    )


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Ends a reply that grows past `max_bytes` on the wire."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, max_bytes: int) -> None:
        self._inner = inner
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _BoundedStream(response.stream, self._max_bytes)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass(slots=True)
class _BoundedStream(httpx2.AsyncByteStream):
    inner: httpx2.AsyncByteStream
    max_bytes: int

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self.inner:
            received += len(chunk)
            if received > self.max_bytes:
                raise ReplyTooLargeError(f"The reply has more than {self.max_bytes} bytes.")
            yield chunk

    async def aclose(self) -> None:
        await self.inner.aclose()
