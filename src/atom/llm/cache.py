"""The response cache: which answers are kept, under which key, and calls that share one."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import SecretStr

from atom.llm.ports import ChatRequest, Completion, FinishReason, Message, Usage
from atom.llm.routes import Route
from atom.settings import LlmSettings

FORMAT = 2
DIGEST_BYTES = 64
MAX_ENTRY_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class CacheStats:
    """`place`: `redis`, `process` or `off`. `away`: Redis does not answer, this process keeps its own meanwhile."""

    place: str
    entries: int
    bytes: int
    max_bytes: int
    away: bool = False


class ResponseCache(Protocol):
    """Answers by key, bounded in bytes and time. A failure of its store is a miss, never an error of the call."""

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes, ttl: float) -> None: ...

    async def stats(self) -> CacheStats: ...

    async def clear(self) -> int:
        """How many answers were dropped. Raises CacheAwayError when those of the store could not be."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class NoCache:
    """Nothing is kept."""

    async def get(self, key: str) -> bytes | None:
        return None

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Not here."""

    async def stats(self) -> CacheStats:
        return CacheStats("off", 0, 0, 0)

    async def clear(self) -> int:
        return 0

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass(slots=True, eq=False)
class Flight:
    """One call that others with the same question may wait for. `answer`: what they may have too, once it has landed.

    `private`: there is an answer, and it is not for others.
    """

    landed: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Completion | None = None
    private: bool = False


@dataclass(slots=True)
class Flights:
    """Calls in progress by their key, of this process."""

    _flying: dict[str, Flight] = field(default_factory=dict, init=False)

    def ahead(self, key: str) -> Flight | None:
        return self._flying.get(key)

    @contextmanager
    def lead(self, key: str) -> Iterator[Flight]:
        """Whoever waits goes on when this ends, however it does."""
        flight = self._flying[key] = Flight()
        try:
            yield flight
        finally:
            del self._flying[key]
            flight.landed.set()


def cacheable(request: ChatRequest, settings: LlmSettings) -> bool:
    """Whether the same question may get the same answer: not where the provider was asked to vary it."""
    if settings.cache == "off":
        return False
    return settings.cache == "sampled" or request.temperature == 0


def keeps(completion: Completion) -> bool:
    """A whole text. Calls of tools are never kept: what they would do is decided anew each time."""
    return completion.finish_reason is FinishReason.STOP and not completion.tool_calls and bool(completion.text)


def cache_key(route: Route, request: ChatRequest, unnamed: SecretStr | None = None) -> str:
    """Everything that makes an answer what it is, and whose key paid for it.

    `unnamed`: the secret of a key from the environment, which tells apart two deployments on one Redis.
    """
    said = {
        "v": FORMAT,
        "provider": route.provider.value,
        "base_url": route.key.base_url,
        "options": route.key.options,
        "model": route.model,
        "key": [str(route.key.id), route.key.owner, unnamed.get_secret_value() if unnamed else None],
        "messages": [_message(message) for message in request.messages],
        "tools": [[tool.name, tool.description, dict(tool.parameters)] for tool in request.tools],
        "schema": None if request.response_schema is None else dict(request.response_schema),
        "sampling": [request.temperature, request.max_tokens],
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def encode(key: str, completion: Completion) -> bytes:
    """With a digest over it and its key: what was cut, changed, or moved to another key is not taken for an answer."""
    usage = completion.usage
    said = {
        "v": FORMAT,
        "text": completion.text,
        "usage": [usage.input_tokens, usage.output_tokens, usage.cached_tokens],
        "provider": completion.provider,
        "model": completion.model,
        "request_id": completion.request_id,
    }
    body = json.dumps(said).encode()
    return _digest(key, body) + body


def decode(key: str, value: bytes | None) -> Completion | None:
    """None for what this version did not write for this key."""
    if value is None:
        return None
    digest, body = value[:DIGEST_BYTES], value[DIGEST_BYTES:]
    if digest != _digest(key, body):
        return None
    said: dict[str, Any] = json.loads(body)
    if said["v"] != FORMAT:
        return None
    return Completion(
        text=said["text"],
        tool_calls=(),
        finish_reason=FinishReason.STOP,
        usage=Usage(*said["usage"]),
        provider=said["provider"],
        model=said["model"],
        request_id=said["request_id"],
    )


def _digest(key: str, body: bytes) -> bytes:
    return hashlib.sha256(f"{FORMAT}:{key}:".encode() + body).hexdigest().encode()


def _message(message: Message) -> list[Any]:
    calls = [[call.id, call.name, call.arguments] for call in message.tool_calls]
    return [message.role.value, message.content, calls, message.tool_call_id]
