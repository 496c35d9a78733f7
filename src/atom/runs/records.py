"""What the journal keeps of a step, typed and as JSON: plain values with a version, nothing that can name code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atom.governance.models import Label, Vouched
from atom.kit.text import canonical_json, clean, clean_json, shorten
from atom.llm.ports import Completion, FinishReason, ToolCall, Usage
from atom.runs.models import Run, RunStatus
from atom.runs.shape import misfit
from atom.tools.errors import ToolError
from atom.tools.ports import SourceLine, ToolOutput

VERSION = 1
EMPTY = "It was empty."
SHOWN_ARGUMENTS = 2000  # characters


@dataclass(frozen=True, slots=True)
class ReplyRecord:
    """A journaled reply of the model. `misfit`: why it does not fit the shape that the answer has to have."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: FinishReason
    provider: str
    model: str
    usage: Usage
    attempt: int
    misfit: str | None = None

    @property
    def unusable(self) -> str | None:
        """Why it can neither be acted on nor be the answer, in words for the model."""
        if self.tool_calls:
            return None
        return self.misfit if self.text.strip() else EMPTY


@dataclass(frozen=True, slots=True)
class ToolRecord:
    """A journaled end of a tool call. `code` is None when it did what was asked.

    `labels`: of its content; None in what the release before has written. `vouched`: see there.
    """

    content: str
    code: str | None
    sources: tuple[SourceLine, ...]
    labels: frozenset[Label] | None = frozenset()
    vouched: tuple[Vouched, ...] = ()

    @property
    def invalid(self) -> bool:
        """The model's own mistake: counted, because a model may make it for ever."""
        return self.code in {"tool_arguments", "unknown_tool"}


def reply_record(completion: Completion, attempt: int, schema: Mapping[str, Any] | None = None) -> ReplyRecord:
    """As the journal can keep it, so that a replay sees exactly what this owner saw. `schema`: what an answer has to
    fit."""
    judged = schema is not None and not completion.tool_calls and bool(completion.text.strip())
    return ReplyRecord(
        text=clean(completion.text),
        tool_calls=tuple(ToolCall(clean(c.id), clean(c.name), clean(c.arguments)) for c in completion.tool_calls),
        finish_reason=completion.finish_reason,
        provider=completion.provider,
        model=completion.model,
        usage=completion.usage,
        attempt=attempt,
        misfit=misfit(completion.text, schema) if schema is not None and judged else None,
    )


def child_output(child: Run, agent: str) -> ToolOutput:
    """What the ended run of another agent says to its caller. Raises ToolError when it has no answer."""
    if child.status == RunStatus.COMPLETED:
        labels = frozenset(Label(label) for label in child.labels)
        return ToolOutput(child.answer or "", data={"run_id": str(child.id)}, labels=labels)
    if child.error is not None:
        raise ToolError(f"The run of {agent!r} failed: {child.error['message']}", hint="Do it another way.")
    raise ToolError(f"The run of {agent!r} was cancelled.", hint="Do it another way, or say that you cannot.")


def edited_note(arguments: Mapping[str, Any]) -> str:
    """What the model is told of a call that a person has changed."""
    shown = _shown(arguments)
    return f"[A person changed the arguments of this call to {shown} and approved that. It was made with them.]"


def edited_denied(arguments: Mapping[str, Any]) -> str:
    return f"A person had changed its arguments to {_shown(arguments)}, and that is what was judged."


def _shown(arguments: Mapping[str, Any]) -> str:
    return shorten(canonical_json(dict(arguments)), SHOWN_ARGUMENTS)


def reply_to_json(record: ReplyRecord) -> dict[str, Any]:
    value: dict[str, Any] = clean_json(
        {
            "v": VERSION,
            "text": record.text,
            "tool_calls": [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in record.tool_calls],
            "finish_reason": record.finish_reason.value,
            "provider": record.provider,
            "model": record.model,
            "usage": {
                "input_tokens": record.usage.input_tokens,
                "output_tokens": record.usage.output_tokens,
                "cached_tokens": record.usage.cached_tokens,
            },
            "attempt": record.attempt,
            **({} if record.misfit is None else {"misfit": record.misfit}),
        }
    )
    return value


def reply_from_json(value: Mapping[str, Any]) -> ReplyRecord:
    return ReplyRecord(
        text=value["text"],
        tool_calls=tuple(ToolCall(c["id"], c["name"], c["arguments"]) for c in value["tool_calls"]),
        finish_reason=FinishReason(value["finish_reason"]),
        provider=value["provider"],
        model=value["model"],
        usage=Usage(**value["usage"]),
        attempt=value["attempt"],
        misfit=value.get("misfit"),
    )


def tool_to_json(record: ToolRecord) -> dict[str, Any]:
    value: dict[str, Any] = clean_json(
        {
            "v": VERSION,
            "ok": record.code is None,
            "code": record.code,
            "content": record.content,
            "sources": [[s.path, s.line, s.text] for s in record.sources],
            **({} if record.labels is None else {"labels": sorted(record.labels)}),
            **({"vouched": [[one.value, one.name] for one in record.vouched]} if record.vouched else {}),
        }
    )
    return value


def tool_from_json(value: Mapping[str, Any]) -> ToolRecord:
    sources = tuple(SourceLine(path, line, text) for path, line, text in value["sources"])
    labels = frozenset(Label(label) for label in value["labels"]) if "labels" in value else None
    vouched = tuple(Vouched(text, name) for text, name in value.get("vouched", ()))
    return ToolRecord(value["content"], value["code"], sources, labels, vouched)
