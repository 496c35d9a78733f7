"""The tool that gives a task to another agent."""

from collections.abc import Mapping
from typing import Any

from atom.governance.models import Action, EffectClass, Risk
from atom.tools.ports import Tool, ToolContext, ToolOutput

CALL_AGENT = "call_agent"
TIMEOUT = 30.0  # to start that agent's run or to read its answer: nobody waits in between
MAX_NAME = 64
MAX_TASK = 100_000


def call_agent_tool() -> Tool:
    """Repeating it is harmless: the same call of the same run finds the run that it has started."""

    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        return await context.delegate(arguments["agent"], arguments["task"])

    return Tool(
        action=Action(
            CALL_AGENT,
            Risk.MODERATE,
            EffectClass.IDEMPOTENT,
            reads=frozenset(),  # what the other agent has read labels its answer
            delegates=True,
            inherits=True,
        ),
        description=(
            "Give a task to another agent of this deployment and get its answer. It has its own files and tools and "
            "knows nothing of this conversation: say everything it needs in the task."
        ),
        parameters={
            "type": "object",
            "properties": {
                "agent": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_NAME,
                    "description": "The other agent's exact name.",
                },
                "task": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_TASK,
                    "description": "What it is to do, complete in itself.",
                },
            },
            "required": ["agent", "task"],
            "additionalProperties": False,
        },
        timeout=TIMEOUT,
        run=run,
    )
