"""The response cache: which answers are kept, under which key, and calls that share one."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from atom.llm.ports import ChatRequest, Completion, FinishReason, Message, Usage
from atom.llm.routes import Route
from atom.settings import LlmSettings

FORMAT = 1
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
        """How many answers were dropped."""
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


@dataclass(slots=True)
class Flights:
    """Calls in progress by their key: who comes second waits for who came first."""

    _flying: dict[str, asyncio.Event] = field(default_factory=dict, init=False)

    @asynccontextmanager
    async def join(self, key: str) -> AsyncIterator[bool]:
        """True for the one that makes the call. Anybody else gets False once that one has ended, however it did."""
        ahead = self._flying.get(key)
        if ahead is not None:
            await ahead.wait()
            yield False
            return
        landed = self._flying[key] = asyncio.Event()
        try:
            yield True
        finally:
            del self._flying[key]
            landed.set()


def cacheable(request: ChatRequest, settings: LlmSettings) -> bool:
    """Whether the same question may get the same answer: not where the provider was asked to vary it."""
    if settings.cache == "off":
        return False
    return settings.cache == "sampled" or request.temperature == 0


def keeps(completion: Completion) -> bool:
    """A whole text. Calls of tools are never kept: what they would do is decided anew each time."""
    return completion.finish_reason is FinishReason.STOP and not completion.tool_calls and bool(completion.text)


def cache_key(route: Route, request: ChatRequest) -> str:
    """Everything that makes an answer what it is, and whose key paid for it."""
    said = {
        "v": FORMAT,
        "provider": route.provider.value,
        "base_url": route.key.base_url,
        "model": route.model,
        "key": [str(route.key.id), route.key.owner],
        "messages": [_message(message) for message in request.messages],
        "tools": [[tool.name, tool.description, dict(tool.parameters)] for tool in request.tools],
        "schema": None if request.response_schema is None else dict(request.response_schema),
        "sampling": [request.temperature, request.max_tokens],
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def encode(completion: Completion) -> bytes:
    usage = completion.usage
    return json.dumps(
        {
            "v": FORMAT,
            "text": completion.text,
            "usage": [usage.input_tokens, usage.output_tokens, usage.cached_tokens],
            "provider": completion.provider,
            "model": completion.model,
            "request_id": completion.request_id,
        }
    ).encode()


def decode(value: bytes | None) -> Completion | None:
    """None for what this version did not write."""
    if value is None:
        return None
    try:
        said: dict[str, Any] = json.loads(value)
        if said["v"] != FORMAT:
            return None
        return Completion(
            text=str(said["text"]),
            tool_calls=(),
            finish_reason=FinishReason.STOP,
            usage=Usage(*said["usage"]),
            provider=str(said["provider"]),
            model=str(said["model"]),
            request_id=said["request_id"],
            notes={"cache_hit": True},
        )
    except (ValueError, TypeError, KeyError):
        return None


def _message(message: Message) -> list[Any]:
    calls = [[call.id, call.name, call.arguments] for call in message.tool_calls]
    return [message.role.value, message.content, calls, message.tool_call_id]
