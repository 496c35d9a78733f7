"""What a tool is: a schema the model sees, an action governance knows, and one bounded coroutine."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from atom.governance.models import Action, Label, Part, Vouched
from atom.tools.errors import ToolError


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line that a tool showed: where it stands and its text, verbatim. `path` is relative to the workspace."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool answers. `content` goes to the model (bounded by the tool); `sources` are the lines it showed, and
    `files` the paths in the workspace that it wrote, whole. `paths`: what else of the workspace it showed. `labels`:
    of this very result, beside those the action always has; `vouched`: values in it that the tool itself stands for.
    `code`: the call failed, and `content` says how."""

    content: str
    sources: tuple[SourceLine, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    labels: frozenset[Label] = frozenset()
    vouched: tuple[Vouched, ...] = ()
    code: str | None = None


Delegate = Callable[[str, str], Awaitable[ToolOutput]]


async def nobody(agent: str, _: str) -> ToolOutput:
    """The `delegate` of a call that is part of no run."""
    raise ToolError(f"agent: {agent!r} cannot be asked from here.", hint="Do it without that agent.")


Labeller = Callable[[Sequence[str], frozenset[Label], Sequence[str]], Awaitable[None]]


async def unlabelled(paths: Sequence[str], labels: frozenset[Label], given: Sequence[str]) -> None:
    """The `label` of a call that is part of no run."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Where a call happens. `workspace` is the agent's folder: the only files a tool may touch.

    `idempotency_key` is the same for a repeated call of the same step. `delegate(agent, task)` has another agent do a
    task and gives its answer; the run is parked meanwhile, and the tool called again when the answer is there.
    `labels`: of everything that the run has read. `label(paths, labels, given)`, before files are written whose names
    the arguments do not tell: that they are made of what the run has read, and of the files `given`.
    """

    run_id: UUID
    agent_id: UUID
    workspace: Path
    idempotency_key: str
    delegate: Delegate = nobody
    agent_name: str = ""
    labels: frozenset[Label] = frozenset()
    label: Labeller = unlabelled


@dataclass(frozen=True, slots=True)
class Tool:
    """A built-in tool. `timeout` in seconds bounds one call; the loop enforces it.

    `run` gets arguments that satisfy `parameters` (a JSON schema, draft 2020-12, with `additionalProperties: false`).
    It raises `ToolError` for what the model can correct; anything else is a failure of the call. `writes`: arguments
    that name files of the workspace that it writes.
    """

    action: Action
    description: str
    parameters: Mapping[str, Any]
    timeout: float
    run: Callable[[Mapping[str, Any], ToolContext], Awaitable[ToolOutput]]
    writes: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """An argument that can only be one of a few words of the schema chooses nothing outside."""
        few = {name: Part.LOCAL for name, schema in self.parameters.get("properties", {}).items() if "enum" in schema}
        object.__setattr__(self, "action", replace(self.action, parts={**few, **self.action.parts}))

    @property
    def name(self) -> str:
        return self.action.name
