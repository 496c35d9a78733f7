"""The spans of a run, by OpenTelemetry's semantic conventions for generative AI. A stint: from a claim to letting go.

All stints of a run, on whatever workers, are one trace, and its id is the run's: who has one finds the other.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from uuid import UUID

from atom.governance.halt import HaltedError
from atom.infra.trace import NO_SPAN, Span, Tracer, text_of
from atom.kit.redact import redact
from atom.runs.errors import HandOverError, ParkedError, PauseError
from atom.runs.ports import ChosenModel
from atom.runs.records import ToolRecord

LEFT = (ParkedError, PauseError, HandOverError, HaltedError)  # no failures: the run goes on later, or elsewhere


def stint_span(
    tracer: Tracer, run_id: UUID, *, agent_id: UUID, agent_name: str, chosen: ChosenModel
) -> AbstractContextManager[Span]:
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": str(agent_id),
        "gen_ai.agent.name": agent_name,
        "gen_ai.request.model": chosen.model,
        "gen_ai.provider.name": chosen.provider,
        "atom.run_id": str(run_id),
    }
    return tracer.span(f"invoke_agent {agent_name}", attributes, trace=run_id, unfailing=LEFT)


def tool_span(
    tracer: Tracer, run_id: UUID, *, key: str, tool: str, call_id: str, arguments: Mapping[str, object]
) -> AbstractContextManager[Span]:
    if not tracer.on:
        return NO_SPAN
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.arguments": text_of(json.dumps(redact(dict(arguments)))) if tracer.content else None,
        **labels(run_id, key),
    }
    return tracer.span(f"execute_tool {tool}", attributes, unfailing=LEFT)


def note_result(tracer: Tracer, span: Span, record: ToolRecord) -> None:
    if record.code is not None:
        span.failed(record.code)
    if tracer.content:
        span.set({"gen_ai.tool.call.result": text_of(record.content)})


def labels(run_id: UUID, key: str) -> dict[str, str]:
    """What the spans of a step carry."""
    return {"atom.run_id": str(run_id), "atom.step": key}
