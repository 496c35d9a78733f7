"""Puts the pieces of a streamed reply together, the same way for every provider."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from atom.kit.ids import new_id
from atom.kit.text import clean
from atom.llm.adapters.faults import Route, malformed
from atom.llm.ports import Completion, FinishReason, ToolCall, Usage

MAX_REPLY_CHARS = 2_000_000
MAX_TOOL_CALLS = 128
MAX_NAME = 200
MAX_COUNT = 1_000_000_000
UNFINISHED = frozenset({FinishReason.LENGTH, FinishReason.CONTENT_FILTER})


@dataclass(slots=True)
class CallDraft:
    """A tool call while its pieces arrive."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ReplyDraft:
    """One reply while it arrives. Raises MalformedReplyError when it grows past any honest size."""

    route: Route
    text: list[str] = field(default_factory=list)
    calls: dict[Hashable, CallDraft] = field(default_factory=dict)
    size: int = 0

    def add_text(self, piece: str) -> None:
        self._grow(piece)
        self.text.append(piece)

    def add_call(self, key: Hashable, *, call_id: str, name: str) -> CallDraft:
        if len(self.calls) >= MAX_TOOL_CALLS:
            raise malformed(self.route, f"more than {MAX_TOOL_CALLS} tool calls in one reply.")
        self._grow(name)
        draft = CallDraft(id=call_id, name=name)
        self.calls[key] = draft
        return draft

    def add_arguments(self, draft: CallDraft, piece: str) -> None:
        self._grow(piece)
        draft.arguments.append(piece)

    def finish(
        self, reason: FinishReason, *, usage: Usage, model: str, request_id: str | None, notes: dict[str, Any]
    ) -> Completion:
        """The whole reply. A reply that was cut off keeps no tool calls: nothing of a half call may run."""
        calls = tuple(self._call(draft) for draft in self.calls.values())
        if reason in UNFINISHED and calls:
            notes = {**notes, "dropped_tool_calls": len(calls)}
            calls = ()
        if calls:
            reason = FinishReason.TOOL_CALLS  # several compatible endpoints say "stop" here
        elif reason is FinishReason.TOOL_CALLS:
            raise malformed(self.route, "it says that it calls tools, and names none.")
        return Completion(
            text="".join(self.text),
            tool_calls=calls,
            finish_reason=reason,
            usage=Usage(*(_count(n) for n in (usage.input_tokens, usage.output_tokens, usage.cached_tokens))),
            provider=self.route.provider,
            model=_name(model) or self.route.model,
            request_id=None if request_id is None else _name(request_id),
            notes=notes,
        )

    def _call(self, draft: CallDraft) -> ToolCall:
        name = _name(draft.name)
        if not name:
            raise malformed(self.route, "a tool call without a name.")
        arguments = "".join(draft.arguments).strip() or "{}"  # providers leave them out for a tool without parameters
        return ToolCall(id=clean(draft.id) or f"call_{new_id().hex}", name=name, arguments=arguments)

    def _grow(self, piece: str) -> None:
        self.size += len(piece)
        if self.size > MAX_REPLY_CHARS:
            raise malformed(self.route, f"a reply of more than {MAX_REPLY_CHARS} characters.")


def _name(said: str) -> str:
    """As a column and a person can take it."""
    return clean(said[:MAX_NAME])


def _count(tokens: int | None) -> int | None:
    """What nobody can have used is unknown: it would fit no column, or fill a budget up again."""
    return tokens if tokens is not None and 0 <= tokens <= MAX_COUNT else None
