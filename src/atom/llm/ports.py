"""What Atom needs of a language model: a request in, a stream of deltas and one completion out."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from sqlalchemy.ext.asyncio import AsyncSession


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for. `arguments` is the JSON text as the model wrote it: it may be garbage."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `tool_calls` only on assistant turns, `tool_call_id` only on tool turns."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it. `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a model. `response_schema` (a JSON schema) asks for structured output.

    `stream`: the answer comes in pieces on the wire. Where it does not, it is one delta, when it is all there.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int = 4096
    temperature: float | None = None
    response_schema: Mapping[str, Any] | None = None
    stream: bool = True


class FinishReason(StrEnum):
    STOP = "stop"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reports them; None where it reports nothing (unknown is not zero)."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer, in order, as it is produced. An empty one is a sign of life of the provider."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """The whole reply. `model` is the name the provider answered with. `request_id` is the provider's, for support."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: FinishReason
    usage: Usage
    provider: str
    model: str
    request_id: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


class ChatModel(Protocol):
    """One provider.

    `stream` yields text deltas and then, last, exactly one `Completion`. It raises `ModelError` subclasses only
    (`llm/errors.py`), never a vendor's exception. A reply without a finish reason is a `TruncatedReplyError`.
    It never retries: retry and failover have one owner above.
    """

    @property
    def provider(self) -> str: ...

    def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Addressed(Protocol):
    """A provider at an address of its own, which traces name."""

    @property
    def url(self) -> str: ...


@runtime_checkable
class ListsModels(Protocol):
    """A provider that can be asked for its models: the cheapest proof that a key is good."""

    async def models(self) -> list[str]:
        """Their names, as this key may use them. Raises ModelError subclasses."""
        ...


class WaitingRuns(Protocol):
    """Whoever waits for a provider or a budget tries again, in the caller's transaction."""

    async def models_changed(self, session: AsyncSession) -> None: ...

    async def budgets_changed(self, session: AsyncSession) -> None: ...
