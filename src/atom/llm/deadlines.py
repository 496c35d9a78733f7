"""The bounds on how long a stream may be silent. The bound on the whole call is kept by the service."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from atom.llm.errors import ModelTimeoutError
from atom.llm.ports import Completion, TextDelta

CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Silence:
    """Seconds until the first item, and between two items. Empty text deltas count: the provider is alive.

    None: no bound of its own, as for a whole answer, which is silent until it is there.
    """

    first_byte: float | None
    idle: float | None


async def watched(
    stream: AsyncIterator[TextDelta | Completion], silence: Silence, *, provider: str, model: str
) -> AsyncGenerator[TextDelta | Completion, None]:
    """The same items; ModelTimeoutError when one does not come in time. The stream is closed in every case."""
    allowed, setting, phase = silence.first_byte, "FIRST_BYTE_TIMEOUT", "did not begin to answer"
    try:
        while True:  # bounded: each turn by `allowed`, their number by the stream and the total bound above
            try:
                async with asyncio.timeout(allowed):
                    item = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if allowed is None:
                    raise
                hint = f"ATOM_LLM__{setting} sets that time."
                message = f"{provider} {phase} within {allowed:g} s."
                raise ModelTimeoutError(message, provider=provider, model=model, hint=hint) from None
            yield item
            allowed, setting, phase = silence.idle, "IDLE_TIMEOUT", "stopped in its answer and did not go on"
    finally:
        await _close(stream)


async def _close(stream: AsyncIterator[TextDelta | Completion]) -> None:
    """Ends the request behind the stream; a connection that cannot even be closed in time is left to the pool."""
    close = getattr(stream, "aclose", None)
    if close is None:
        return
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await close()
    except TimeoutError:
        return
