"""Every failure of a provider's SDK or of its connection, as one of `llm.errors` and with no secret in it.

What is raised from here is raised `from None`: the SDKs' exceptions carry the request with its headers and quote the
provider's answer, so a traceback that prints them prints the key.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from pydantic import ValidationError

from atom.kit.clock import Clock
from atom.kit.redact import MASK, cut, redact
from atom.llm.access import NO_SECRET
from atom.llm.errors import (
    MalformedReplyError,
    ModelAuthError,
    ModelError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
    TruncatedReplyError,
)

MAX_QUOTED = 300  # characters of a provider's own words in a message of ours
MAX_SCANNED = 4_000
SHORTEST_SECRET = 8  # of a part of a key
MAX_NAME = 200  # characters of the name of a model
MAX_RETRY_AFTER = 86_400.0
HALF_MASKED = re.compile(
    r"[^\s*]{0,80}\*{3,}\S{0,80}"
)  # how providers quote a refused key: its head and tail around stars
PASSING = frozenset({408, 409, 425})
STATUS_OF_TYPE = {  # `type` or `code` of an error that arrives inside a stream, both vendors
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "context_length_exceeded": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


@dataclass(frozen=True, slots=True)
class Route:
    """Who is asked for what. `key` is here only to be cut out of everything that is said, `key_label` to name it."""

    provider: str
    model: str
    host: str
    key: str = field(repr=False)
    key_label: str


@dataclass(frozen=True, slots=True)
class Vendor:
    """The exception classes of one SDK; both official ones have the same five."""

    base: type[Exception]
    status: type[Exception]
    timeout: type[Exception]
    connection: type[Exception]
    validation: type[Exception]


class ReplyTooLargeError(Exception):
    """More bytes or characters than any honest reply has."""


@contextmanager
def translated(vendor: Vendor, route: Route, clock: Clock) -> Iterator[None]:
    """Inside, anything the SDK, the connection or the parsing raises leaves as a `ModelError`."""
    try:
        yield
    except ModelError:
        raise
    except vendor.base as error:
        raise _from_sdk(error, vendor, route, clock.now()) from None
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
        raise _from_transport(error, route) from None
    except (ValueError, RecursionError, ReplyTooLargeError) as error:  # also digits and depths no parser takes
        raise malformed(route, _reason(error)) from None


@contextmanager
def listing(route: Route) -> Iterator[None]:
    """Inside, a list of models of another shape is malformed: a wrong address answers with a page, and the SDKs go on
    as if it were a list."""
    try:
        yield
    except (AttributeError, TypeError, KeyError):
        raise malformed(route, "its list of models has another shape.") from None


def listed(route: Route, names: Iterable[str]) -> list[str]:
    """The names of models as people may see them."""
    return sorted(cut(name[:MAX_NAME], route.key) for name in names)


def from_status(
    route: Route, status: int, said: object, headers: Mapping[str, str] | None = None, now: datetime | None = None
) -> ModelError:
    """The error for an HTTP status; `said` is the provider's body."""
    text = quoted(said, route.key)
    answer = f"{route.provider} answered {status}" + (f": {text}" if text else ".")
    common: dict[str, Any] = {"provider": route.provider, "model": route.model, "status": status}
    if status == 401:  # its own words are left out: providers quote parts of the key here
        return ModelAuthError(f"{route.provider} refused the key (401).", hint=_key_hint(route), **common)
    if status in {402, 403}:
        return ModelAuthError(answer, hint=_key_hint(route), **common)
    wait = retry_after(headers or {}, now or datetime.now(UTC))
    if status == 429:
        return ModelRateLimitedError(answer, retry_after=wait, **common)
    if status >= 500 or status in PASSING:
        return ModelUnavailableError(answer, retry_after=wait, **common)
    return ModelRequestError(answer, hint=_request_hint(route, status), **common)


def from_type(route: Route, kind: object, said: object) -> ModelError:
    """The error for one that arrives inside a stream; unknown kinds count as the provider's own failure."""
    name = str(kind)
    status = int(name) if name.isdigit() and 400 <= int(name) <= 599 else STATUS_OF_TYPE.get(name, 500)
    return from_status(route, status, said)


def from_body(route: Route, said: object) -> ModelError:
    """The error for one that arrives as the body of a good answer, or as an event of a stream."""
    kinds = [said.get("code"), said.get("type")] if isinstance(said, Mapping) else []
    known = [kind for kind in kinds if str(kind).isdigit() or kind in STATUS_OF_TYPE]
    return from_type(route, known[0] if known else None, said)


def malformed(route: Route, what: str) -> MalformedReplyError:
    return MalformedReplyError(
        f"{route.provider} sent something that is not its protocol: {what}", provider=route.provider, model=route.model
    )


def truncated(route: Route, what: str = "it ended without a finish reason") -> TruncatedReplyError:
    return TruncatedReplyError(
        f"The reply of {route.provider} is incomplete: {what}.", provider=route.provider, model=route.model
    )


def quoted(said: object, key: str) -> str:
    """The provider's own words: short, on one line, without the key or anything that looks like one."""
    text = " ".join(_words(said)[:MAX_SCANNED].split())
    parts = (part for part in key.split(":") if len(part) >= SHORTEST_SECRET)  # two in one where calls are signed
    for secret in (key, *parts) if key != NO_SECRET else ():
        text = cut(text, secret)
    text = HALF_MASKED.sub(MASK, str(redact(text)))
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "..."


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (a number or an HTTP date); None when not said."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return _bounded(seconds)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return _bounded((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def _from_sdk(error: Exception, vendor: Vendor, route: Route, now: datetime) -> ModelError:
    sdk: Any = error
    if isinstance(error, vendor.status):
        return from_status(route, sdk.status_code, sdk.body or sdk.response.reason_phrase, sdk.response.headers, now)
    if isinstance(error, vendor.timeout):
        return _timeout(route)
    if isinstance(error, vendor.connection):
        cause = error.__cause__
        if isinstance(cause, ReplyTooLargeError):
            return malformed(route, str(cause))
        return _from_transport(cause if isinstance(cause, httpx2.HTTPError) else error, route)
    if isinstance(error, vendor.validation):
        return malformed(route, "a body of another shape.")
    return from_body(route, getattr(error, "body", None) or "")


def _from_transport(error: Exception, route: Route) -> ModelError:
    if isinstance(error, httpx2.TimeoutException):
        return _timeout(route)
    if isinstance(error, httpx2.DecodingError):
        return malformed(route, "a body that cannot be decompressed.")
    return ModelUnavailableError(
        f"The connection to {route.provider} ({route.host}) failed: {type(error).__name__}.",
        hint="Can this machine reach that address? A base URL, a proxy or DNS may be wrong.",
        provider=route.provider,
        model=route.model,
    )


def _timeout(route: Route) -> ModelTimeoutError:
    return ModelTimeoutError(
        f"{route.provider} ({route.host}) did not answer in time.", provider=route.provider, model=route.model
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ReplyTooLargeError):
        return str(error)
    if isinstance(error, ValidationError):
        places = sorted({".".join(str(part) for part in problem["loc"]) or "event" for problem in error.errors()})
        return f"unexpected values at {', '.join(places[:5])}."
    return "something that is not JSON."


def _words(said: object) -> str:
    """The message in an error body, wherever it nests."""
    for _ in range(3):
        if not isinstance(said, Mapping):
            break
        said = said.get("error") or said.get("message") or said.get("detail") or ""
    return "" if said is None else str(said)


def _key_hint(route: Route) -> str:
    return f"Check {route.key_label} and what its account may use."


def _place(route: Route) -> str:
    own = f"The address of {route.key_label}"
    return f"{route.provider.upper()}_BASE_URL" if route.key_label == f"{route.provider.upper()}_API_KEY" else own


def _request_hint(route: Route, status: int) -> str:
    if status == 404:
        return f"Does {route.provider} have a model named {route.model}, and is the base URL right?"
    if 300 <= status < 400:
        return f"{_place(route)} must be the address that answers itself: redirects are not followed."
    return ""


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _bounded(seconds: float) -> float | None:
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)
