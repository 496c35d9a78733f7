"""What the loop needs from outside: a model that answers, and somewhere to show what it is producing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from atom.llm.calls import AttemptRecord, Caller
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
    record: AttemptRecord
    fell_back_from: str | None = None


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """Which model answers a run and why; `note` says openly what it cannot do."""

    provider: str
    model: str
    reason: str
    note: str | None


class Models(Protocol):
    """Raises ModelError subclasses, OverBudgetError and ModelNotConfiguredError."""

    def choose(self, requested: str | None, requester: str | None) -> ChosenModel: ...

    async def ask(self, requested: str | None, request: ChatRequest, on_delta: OnDelta, caller: Caller) -> Answered: ...


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a reply while it is produced. Not a row: the journaled reply replaces it."""

    run_id: UUID
    step: str
    attempt: int
    offset: int
    text: str


class Workspaces(Protocol):
    """The agents' files. All methods may raise WorkspaceUnavailableError."""

    @property
    def max_bytes(self) -> int:
        """Of one uploaded file."""
        ...

    def opened(self, agent_id: UUID) -> AbstractAsyncContextManager[Path]:
        """The agent's files as they are now, in a folder of this machine, made when it is first needed."""
        ...

    async def save(self, agent_id: UUID) -> None:
        """What was written or deleted in the open folder is durable, and every host sees it."""
        ...

    async def has_file(self, agent_id: UUID, relative: str) -> bool:
        """Whether `relative` is a regular file of the workspace."""
        ...

    async def store(self, agent_id: UUID, name: str, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Save an upload. Returns its path in the workspace and its size in bytes."""
        ...


class DeltaSink(Protocol):
    """Must not block: a viewer that is slow misses deltas and reads the journaled reply."""

    def show(self, delta: Delta) -> None: ...
