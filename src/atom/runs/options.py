"""What a caller may ask of a run beside its task: earlier turns, wishes of its own, the shape of the answer. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atom.kit.text import clean, clean_json
from atom.llm.ports import Message, Role
from atom.runs.errors import ContextInvalidError, ContextTooLargeError
from atom.runs.shape import check_schema

VERSION = 1
TOOL_RESULT = "[Result of a tool:"  # how a result of one of the caller's own tools begins, as a turn of the context
MAX_CONTEXT_MESSAGES = 2000
MAX_CONTEXT_CHARS = 400_000
SPEAKERS = frozenset({Role.USER, Role.ASSISTANT})


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`context`: turns of user and assistant before the task. `instructions`: the caller's, under the agent's own.

    `response_schema`: a JSON schema that the answer has to fit. `max_tokens`: of one reply, at most the deployment's.
    """

    context: tuple[Message, ...] = ()
    instructions: str = ""
    response_schema: Mapping[str, Any] | None = None
    temperature: float | None = None
    max_tokens: int | None = None


NOTHING_ASKED = RunOptions()


def check(options: RunOptions) -> None:
    """Raises ContextInvalidError, ContextTooLargeError, SchemaInvalidError."""
    if len(options.context) > MAX_CONTEXT_MESSAGES:
        raise ContextTooLargeError(
            f"messages: {len(options.context)} of them; at most {MAX_CONTEXT_MESSAGES}.", field="messages"
        )
    if any(message.role not in SPEAKERS for message in options.context):
        raise ContextInvalidError("messages: earlier turns are of user and assistant.", field="messages")
    size = len(options.instructions) + sum(len(message.content) for message in options.context)
    if size > MAX_CONTEXT_CHARS:
        raise ContextTooLargeError(
            f"messages: {size} characters before the task; at most {MAX_CONTEXT_CHARS}.",
            hint="Continue a stored conversation (metadata.conversation_id), or give long material as a file.",
            field="messages",
        )
    if options.response_schema is not None:
        check_schema(options.response_schema)


def to_json(options: RunOptions) -> dict[str, Any] | None:
    """None when nothing is asked: most rows have nothing to keep."""
    if options == NOTHING_ASKED:
        return None
    value: dict[str, Any] = clean_json(
        {
            "v": VERSION,
            "context": [[message.role.value, message.content] for message in options.context],
            "instructions": options.instructions,
            "response_schema": None if options.response_schema is None else dict(options.response_schema),
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
        }
    )
    return value


def from_json(value: Mapping[str, Any] | None) -> RunOptions:
    if value is None:
        return NOTHING_ASKED
    return RunOptions(
        context=tuple(Message(Role(role), clean(content)) for role, content in value["context"]),
        instructions=value["instructions"],
        response_schema=value["response_schema"],
        temperature=value["temperature"],
        max_tokens=value["max_tokens"],
    )
