"""A scripted model that stops in the middle of a reply until the test lets it go on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from atom.llm.ports import ChatRequest, Completion, FinishReason, TextDelta, ToolCall, Usage


@dataclass(eq=False, slots=True)
class Gate:
    """A place in a reply. `reached` is set when the model stands before it, `open` lets it pass."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)


Part = str | Gate | ToolCall


class GatedModel:
    """One list of parts a request, in order: text is streamed, a gate is waited at, calls end the reply."""

    provider = "scripted"

    def __init__(self, *replies: list[Part]) -> None:
        self.replies = list(replies)
        self.asked = 0

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        parts = self.replies[self.asked]
        self.asked += 1
        for part in parts:
            if isinstance(part, str):
                yield TextDelta(part)
            elif isinstance(part, Gate):
                part.reached.set()
                await part.open.wait()
        text = "".join(part for part in parts if isinstance(part, str))
        calls = tuple(part for part in parts if isinstance(part, ToolCall))
        reason = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
        yield Completion(text, calls, reason, Usage(1, 1), self.provider, request.model)

    async def aclose(self) -> None:
        """Nothing is open."""
