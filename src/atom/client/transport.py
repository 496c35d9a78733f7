"""One HTTP exchange with Atom: bounded in time and size, translated, repeated only where that is safe."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
from pydantic import ValidationError

from atom.client.errors import BadReplyError, DroppedError, SlowError, UnreachableError, error_from
from atom.client.models import Wire
from atom.errors import AtomError, InvalidError, UnavailableError

W = TypeVar("W", bound=Wire)
Pause = Callable[[float], Awaitable[None]]

RETRIES = 3
LONGEST_WAIT = 10.0  # a server that asks for more is not worth a person's time at the prompt
CONNECT_SECONDS = 5.0
UPLOAD_SECONDS = 600.0
LARGEST_REPLY = 64_000_000
IDLE_SECONDS = 45.0  # three missed heartbeats: the stream is dead


class UrlError(InvalidError):
    code = "url_invalid"


@dataclass(frozen=True, slots=True)
class Transport:
    """`timeout` bounds one exchange in all. `pause` is how it waits: tests make it short."""

    http: httpx2.AsyncClient
    url: str
    timeout: float
    pause: Pause

    async def ask(self, shape: type[W], method: str, path: str, **request: Any) -> W:
        """The reply to a request, checked. Keywords are those of `exchange`."""
        body = await self.exchange(method, path, **request)
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the body"
            raise BadReplyError(self.url, f"{method} {path}, {place}: {first['msg']}") from None

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
        file: tuple[str, BinaryIO] | None = None,
        form: Mapping[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> bytes:
        """The body of a successful reply. `key` is the Idempotency-Key, which makes a POST safe to repeat.

        `accept` names statuses that are replies too, not errors.
        """
        repeatable = method in {"GET", "HEAD", "DELETE"} or key is not None
        request = self.http.build_request(
            method,
            path,
            json=body,
            params={name: value for name, value in (query or {}).items() if value is not None},
            headers={"Idempotency-Key": key} if key else None,
            files={"file": file} if file else None,
            data=form,
        )
        limit = UPLOAD_SECONDS if file or form else self.timeout
        for attempt in range(RETRIES):
            try:
                return await self._once(request, limit, accept)
            except UnavailableError as error:
                wait = _wait(error, attempt)
                if not repeatable or wait is None:
                    raise
            await self.pause(wait)
        return await self._once(request, limit, accept)

    async def _once(self, request: httpx2.Request, limit: float, accept: frozenset[int]) -> bytes:
        try:
            async with asyncio.timeout(limit), self._sent(request, accept) as response:
                return await self._read(response)
        except TimeoutError:
            raise SlowError(self.url, limit) from None

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[httpx2.EventSource]:
        """Server-sent events. Silence longer than a few heartbeats ends it."""
        request = self.http.build_request(
            "GET",
            path,
            params=query,
            headers={"Accept": "text/event-stream", "Cache-Control": "no-store"},
            timeout=httpx2.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS),
        )
        async with self._sent(request) as response:
            yield httpx2.EventSource(response)

    @asynccontextmanager
    async def _sent(
        self, request: httpx2.Request, accept: frozenset[int] = frozenset()
    ) -> AsyncIterator[httpx2.Response]:
        """The reply's head, when it is a success; the body is read by the caller, inside."""
        try:
            response = await self.http.send(request, stream=True)
            try:
                if response.is_redirect:
                    raise UrlError(
                        f"{self.url} redirects elsewhere.", hint="Set ATOM_URL to the address it redirects to."
                    )
                if not response.is_success and response.status_code not in accept:
                    raise error_from(response.status_code, response.headers, await self._read(response))
                yield response
            finally:
                await response.aclose()
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise UnreachableError(self.url) from error
        except httpx2.TimeoutException as error:
            raise SlowError(self.url, IDLE_SECONDS) from error
        except httpx2.SSEError as error:
            raise BadReplyError(self.url, "its event stream is none") from error
        except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            raise DroppedError(self.url) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise BadReplyError(self.url, type(error).__name__) from error

    async def _read(self, response: httpx2.Response) -> bytes:
        parts, size = [], 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > LARGEST_REPLY:
                raise BadReplyError(self.url, f"its reply is larger than {LARGEST_REPLY} bytes")
            parts.append(part)
        return b"".join(parts)


def _wait(error: AtomError, attempt: int) -> float | None:
    """Seconds before the next try, None to give up. A refused connection is told at once: nobody is there."""
    if isinstance(error, DroppedError):
        return backoff(attempt)
    seconds = error.details.get("retry_after")
    if not isinstance(seconds, float) or seconds > LONGEST_WAIT:
        return None
    return seconds + backoff(attempt) / 4


def backoff(failures: int) -> float:
    """Full-jitter exponential wait, at most five seconds."""
    return random.uniform(0.5, 1.0) * min(5.0, 0.25 * 2.0**failures)  # noqa: S311 - spreads clients, guards nothing


def segment(name: str) -> str:
    """A name as one segment of a path."""
    if name.strip() in {"", ".", ".."} or "/" in name:  # an escaped slash is one again behind some proxies
        raise InvalidError(
            f"{name!r} is not a name or an id.", hint="Give the name or the id of something that exists."
        )
    return quote(name, safe="")


def checked_url(text: str) -> str:
    """The address without a trailing slash. Raises UrlError; never shows what may be a password in it."""
    try:
        parts = urlsplit(text.strip())
        parts.port  # noqa: B018 - raises on a bad port
    except ValueError:
        raise UrlError("ATOM_URL cannot be read.", hint="It has the form http://host:port.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UrlError("ATOM_URL is not an http or https address.", hint="It has the form http://host:port.")
    if parts.username or parts.password:
        raise UrlError("ATOM_URL carries a user or a password.", hint="Give the credential in ATOM_TOKEN instead.")
    if parts.query or parts.fragment:
        raise UrlError("ATOM_URL has a query or a fragment.", hint="It has the form http://host:port.")
    return text.strip().rstrip("/")
