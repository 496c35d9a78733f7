"""Any endpoint that speaks OpenAI's Embeddings: OpenAI, Ollama, vLLM, LM Studio, text-embeddings-inference.

Errors are raised `from None`: those of the transport carry the request with its key.
"""

import asyncio
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
from pydantic import SecretStr

from atom.llm.adapters.faults import ReplyTooLargeError, quoted, retry_after
from atom.llm.adapters.wire import BoundedStream
from atom.llm.retry import backoff, in_call_wait
from atom.retrieval.errors import (
    EmbedderAwayError,
    EmbedderError,
    EmbedderInputError,
    EmbedderRefusedError,
    EmbedderReplyError,
)
from atom.retrieval.vectors import Vectors, dot_products

PREFIX = "openai:"
BATCH = 64  # texts of one request
MAX_CHARS = 8_000  # of one text: some 2,000 tokens, which nearly every model takes
LEAST_CHARS = 500  # a text that is refused at this length is not refused for its length
MAX_BYTES = 32_000_000  # 64 vectors of 4,000 numbers are 6 MB
MAX_DIMENSIONS = 4_000  # what an index over halfvec takes
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 3.0  # below the 5 s after which uvicorn hangs up
ATTEMPTS = 3
MOST_WAITING = 10.0  # seconds of one call in all
PASSING = frozenset({408, 409, 425, 429})
INPUT = frozenset({400, 413, 422})
KEY, MODEL, URL = "ATOM_MEMORY__EMBEDDER_KEY", "ATOM_MEMORY__EMBEDDER_MODEL", "ATOM_MEMORY__EMBEDDER_URL"


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """`url` ends where `/embeddings` is added. `seconds`: of one request."""

    url: str
    model: str
    key: SecretStr | None
    seconds: float
    max_bytes: int = MAX_BYTES


@dataclass(slots=True)
class EndpointEmbedder:
    """Construction opens nothing. `dimensions` is 0 until the first answer has told them."""

    options: EndpointOptions
    dimensions: int = 0
    _client: httpx2.AsyncClient | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.options.model}"

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises EmbedderError: EmbedderAwayError after some tries, the others at once."""
        rows: list[list[float]] = []
        for start in range(0, len(texts), BATCH):
            rows += await self._taken([_sendable(text) for text in texts[start : start + BATCH]])
        return Vectors.of(rows, self.dimensions)

    def similarities(self, query: Vectors, rows: Vectors) -> list[float]:
        return dot_products(query, rows)

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _taken(self, texts: Sequence[str]) -> list[list[float]]:
        """One text may be too long for the model: found by halves, it counts with the start that the model takes."""
        try:
            return await self._patiently(texts)
        except EmbedderInputError:
            if len(texts) > 1:
                half = len(texts) // 2
                return [*await self._taken(texts[:half]), *await self._taken(texts[half:])]
            if len(texts[0]) <= LEAST_CHARS:
                raise
            return await self._taken([texts[0][: len(texts[0]) // 2]])

    async def _patiently(self, texts: Sequence[str]) -> list[list[float]]:
        left = MOST_WAITING
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._ask(texts)
            except EmbedderAwayError as error:
                pause = backoff(attempt, random.random())  # noqa: S311 - jitter, not a secret
                wait = in_call_wait(error.retry_after or 0.0, pause, left=left)
                if wait is None:
                    raise
            left -= wait
            await asyncio.sleep(wait)
        return await self._ask(texts)

    async def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        body = {"model": self.options.model, "input": [*texts], "encoding_format": "float"}
        try:
            async with asyncio.timeout(self.options.seconds):  # what a client bounds is one read, not the whole
                answer = await self._opened().post(f"{self.options.url.rstrip('/')}/embeddings", json=body)
        except (TimeoutError, httpx2.TimeoutException):
            raise EmbedderAwayError(f"{self._who()} did not answer within {self.options.seconds:g} s.") from None
        except ReplyTooLargeError:
            raise self._malformed(f"more than {self.options.max_bytes} bytes") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise EmbedderAwayError(
                f"The connection to {self._who()} failed: {type(error).__name__}.",
                hint=f"Can this machine reach it? {URL}, a proxy or DNS may be wrong.",
            ) from None
        if answer.status_code != 200:
            raise self._refusal(answer)
        try:
            return self._rows(answer.json(), len(texts))
        except (ValueError, RecursionError):
            raise self._malformed("something that is not JSON") from None

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            headers = {"accept-encoding": "identity"}  # a small compressed body could unpack to any size
            if self._key():
                headers["authorization"] = f"Bearer {self._key()}"
            self._client = httpx2.AsyncClient(
                timeout=httpx2.Timeout(self.options.seconds, connect=min(CONNECT_SECONDS, self.options.seconds)),
                limits=httpx2.Limits(max_connections=20, max_keepalive_connections=4, keepalive_expiry=IDLE_SECONDS),
                follow_redirects=False,  # one could carry the key and the text to an address nobody configured
                headers=headers,
                event_hooks={"response": [self._bound]},
            )
        return self._client

    async def _bound(self, response: httpx2.Response) -> None:
        if isinstance(response.stream, httpx2.AsyncByteStream):
            most = self.options.max_bytes
            response.stream = BoundedStream(response.stream, limit=most, line_limit=most)

    def _key(self) -> str:
        text = self.options.key.get_secret_value().strip() if self.options.key else ""
        if not text.isascii() or (text and not text.isprintable()) or " " in text:
            raise EmbedderRefusedError(
                f"{KEY} holds a space, a control character or a letter outside ASCII.", hint="Paste it again."
            )
        return text

    def _who(self) -> str:
        return f"the embedder at {httpx2.URL(self.options.url).host}"

    def _refusal(self, answer: httpx2.Response) -> EmbedderError:
        status = answer.status_code
        if status == 401:  # its own words are left out: providers quote parts of the key here
            return EmbedderRefusedError(f"{self._who()} refused the key (401).", hint=f"Check {KEY}.")
        text = quoted(_said(answer), self._key())
        message = f"{self._who()} answered {status}" + (f": {text}" if text else ".")
        if status >= 500 or status in PASSING:
            return EmbedderAwayError(message, retry_after=retry_after(answer.headers, datetime.now(UTC)))
        if status in INPUT:
            return EmbedderInputError(message, hint=f"Is {self.options.model} ({MODEL}) a model for embeddings?")
        if status in {402, 403}:
            return EmbedderRefusedError(message, hint=f"Check {KEY} and what its account may use.")
        if 300 <= status < 400:
            return EmbedderRefusedError(message, hint=f"{URL}: redirects are not followed.")
        return EmbedderRefusedError(message, hint=f"Is {URL} right, and {self.options.model} ({MODEL}) a model there?")

    def _rows(self, reply: Any, count: int) -> list[list[float]]:
        found = reply.get("data") if isinstance(reply, dict) else None
        if not isinstance(found, list) or len(found) != count:
            raise self._malformed("no list with a vector for each text")
        rows: list[list[float]] = [[] for _ in range(count)]
        for place, one in enumerate(found):
            values = one.get("embedding") if isinstance(one, dict) else None
            index = one.get("index", place) if isinstance(one, dict) else None
            if not isinstance(index, int) or not 0 <= index < count or rows[index]:
                raise self._malformed("vectors whose order is not told")
            rows[index] = self._unit(values)
        return rows

    def _unit(self, values: Any) -> list[float]:
        numbers = isinstance(values, list) and all(type(one) in {int, float} for one in values)
        if not numbers or not 1 <= len(values) <= MAX_DIMENSIONS:
            raise self._malformed(f"something that is not a vector of 1 to {MAX_DIMENSIONS} numbers")
        if self.dimensions not in {0, len(values)}:
            raise self._malformed(f"a vector of {len(values)} numbers after those of {self.dimensions}")
        length = math.sqrt(sum(one * one for one in values))
        if not length or not math.isfinite(length):
            raise self._malformed("a vector without a direction")
        self.dimensions = len(values)
        return [one / length for one in values]

    def _malformed(self, what: str) -> EmbedderReplyError:
        return EmbedderReplyError(
            f"{self._who()} sent {what}.", hint=f"Does {URL} end before /embeddings, and is {MODEL} right?"
        )


def _sendable(text: str) -> str:
    """Lone surrogates cannot be encoded."""
    return text[:MAX_CHARS].encode("utf-8", errors="replace").decode("utf-8")


def _said(answer: httpx2.Response) -> Any:
    try:
        return json.loads(answer.text)
    except (ValueError, RecursionError):
        return answer.text
