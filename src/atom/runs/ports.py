"""What the loop needs from outside: a model that answers, and somewhere to show what it is producing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from atom.llm.ports import ChatRequest, Completion

OnDelta = Callable[[int, int, str], Awaitable[None]]
"""attempt, offset in characters, text"""


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply with what it took: `attempt` counts from 1, times are in seconds."""

    completion: Completion
    attempt: int
    seconds: float
    first_token_seconds: float | None


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """Which model answers a run and why; `note` says openly what it cannot do."""

    provider: str
    model: str
    reason: str
    note: str | None


class Models(Protocol):
    """Raises ModelError subclasses and ModelNotConfiguredError."""

    def choose(self, requested: str | None) -> ChosenModel: ...

    async def ask(self, chosen: ChosenModel, request: ChatRequest, on_delta: OnDelta) -> Answered: ...


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a reply while it is produced. Not a row: the journaled reply replaces it."""

    run_id: UUID
    step: str
    attempt: int
    offset: int
    text: str


class DeltaSink(Protocol):
    """Must not block: a viewer that is slow misses deltas and reads the journaled reply."""

    def show(self, delta: Delta) -> None: ...
