"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=200, help="Most items to print.")]
After = Annotated[str | None, typer.Option("--after", metavar="CURSOR", help="Go on behind this cursor.")]
AgentArgument = Annotated[str, typer.Argument(metavar="AGENT", help="Name or id of the agent.")]
RunArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the run.")]
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]


class AgentStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    RETIRED = "retired"


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


def example(command: str) -> str:
    """The example under a command's help, on a line of its own."""
    return f"\b\nExample: {command}"
