"""The HTTP client the SDKs are given: no redirects, bounded bytes, bounded waits."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx  # noqa: F401 - one SDK needs it, the others look for it in sys.modules in every call: never half loaded
import httpx2

from atom.llm.access import Access
from atom.llm.adapters.faults import ReplyTooLargeError
from atom.llm.errors import ModelNotConfiguredError
from atom.settings import LlmSettings

MAX_BYTES = 128_000_000  # one response on the wire: 200,000 tokens with some 300 bytes around each
MAX_LINE_BYTES = 8_000_000  # one event of it; the SDKs collect an event without a bound, one of them in quadratic time
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 3.0  # below the 5 s after which uvicorn (vLLM, LiteLLM) hangs up: just then a request would be lost
LIMITS = httpx2.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=IDLE_SECONDS)


class BoundedStream(httpx2.AsyncByteStream):
    """A response body that stops being read when it, or a line of it, is larger than any reply may be."""

    def __init__(self, stream: httpx2.AsyncByteStream, *, limit: int, line_limit: int) -> None:
        self.stream = stream
        self.limit = limit
        self.line_limit = line_limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = line = 0
        async for chunk in self.stream:
            size += len(chunk)
            line += len(chunk)
            if size > self.limit or line > self.line_limit:
                raise ReplyTooLargeError(f"more than {self.limit} bytes, or {self.line_limit} in one event.")
            if b"\n" in chunk:
                line = len(chunk) - chunk.rfind(b"\n") - 1
            yield chunk

    async def aclose(self) -> None:
        await self.stream.aclose()


def whole_timeout(settings: LlmSettings) -> httpx2.Timeout:
    """Of a call whose answer comes whole: silent until then. The exact deadline is kept one layer above."""
    return httpx2.Timeout(settings.timeout, connect=min(CONNECT_SECONDS, settings.timeout))


def create_client(settings: LlmSettings) -> httpx2.AsyncClient:
    """Redirects are refused: one could carry the key and the prompt to an address nobody configured."""
    silence = max(settings.first_byte_timeout, settings.idle_timeout)  # the exact deadlines are kept one layer above
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(silence, connect=min(CONNECT_SECONDS, settings.timeout)),
        limits=LIMITS,
        follow_redirects=False,
        headers={"accept-encoding": "identity"},  # a small compressed body could unpack to any size
        event_hooks={"response": [_bound]},
    )


async def _bound(response: httpx2.Response) -> None:
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = BoundedStream(response.stream, limit=MAX_BYTES, line_limit=MAX_LINE_BYTES)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and the key it takes. `key_label` is what an operator calls it."""

    url: str
    host: str
    key: str = field(repr=False)
    key_label: str


def endpoint(access: Access, default_url: str) -> Endpoint:
    """Raises ModelNotConfiguredError with what to correct, before anything is sent with a broken key."""
    label, variable = access.info.label, access.provider.upper()
    text = access.key.get_secret_value().strip() if access.key is not None else ""  # one made with `echo` ends in \n
    if not text:
        raise ModelNotConfiguredError(f"{label} is not set.", hint=f"Set it to use {access.provider}.")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ModelNotConfiguredError(
            f"{label} holds a space, a control character or a letter outside ASCII.", hint="Paste it again."
        )
    try:
        address = httpx2.URL((access.info.base_url or default_url).strip())
    except httpx2.InvalidURL:
        address = httpx2.URL("")
    if address.scheme not in {"http", "https"} or not address.host:
        place = f"The address of {label}" if access.info.id else f"{variable}_BASE_URL"
        raise ModelNotConfiguredError(
            f"{place} is not an address.", hint="It looks like https://host:port/v1 or http://host:port/v1."
        )
    port = f":{address.port}" if address.port else ""
    return Endpoint(url=str(address), host=f"{address.host}{port}", key=text, key_label=label)
