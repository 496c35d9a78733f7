"""Messages of the protocol as Atom's: who said what, in text. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atom.llm.ports import Message, Role
from atom.runs.options import TOOL_RESULT
from atom.web.openai.errors import UnsupportedError

TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
SYSTEM_ROLES = frozenset({"system", "developer"})
CALL_TYPES = frozenset({"function_call", "mcp_call", "custom_tool_call"})
RESULT_TYPES = frozenset({"function_call_output", "custom_tool_call_output"})


@dataclass(frozen=True, slots=True)
class Said:
    """`task`: the last thing the user says. `context`: what was said before. `instructions`: of system messages."""

    task: str
    context: tuple[Message, ...]
    instructions: str


def read_messages(messages: Sequence[Mapping[str, Any]], *, name: str = "messages") -> Said:
    """Raises UnsupportedError, which names the message by its place."""
    system: list[str] = []
    turns: list[Message] = []
    for number, message in enumerate(messages):
        place = f"{name}[{number}]"
        role = message.get("role")
        if role in SYSTEM_ROLES:
            system.append(text_of(message.get("content"), place))
        else:
            turns += _turns(message, place)
    return _said(turns, system, name)


def read_input(given: str | Sequence[Mapping[str, Any]], instructions: str | None) -> Said:
    """The input of a response: a text, or items."""
    if isinstance(given, str):
        return Said(given, (), instructions or "")
    messages: list[Mapping[str, Any]] = []
    for number, item in enumerate(given):
        kind = item.get("type", "message")
        if kind == "message":
            messages.append(item)
        elif kind in CALL_TYPES:
            call = {"function": {"name": item.get("name"), "arguments": item.get("arguments", item.get("input"))}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            if item.get("output"):
                messages.append({"role": "tool", "content": str(item["output"])})
        elif kind in RESULT_TYPES:
            messages.append({"role": "tool", "content": str(item.get("output", ""))})
        elif kind != "reasoning":
            raise UnsupportedError(
                f"input[{number}].type: {str(kind)[:40]!r} is not supported.", hint="Send messages.", field="input"
            )
    said = read_messages(messages, name="input")
    return Said(said.task, said.context, "\n\n".join(part for part in (instructions, said.instructions) if part))


def text_of(content: object, place: str) -> str:
    """The text of a message's content: a string, or parts that are texts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UnsupportedError(f"{place}.content: it is neither a text nor a list of parts.", field=place)
    return "".join(_part(part, f"{place}.content[{number}]") for number, part in enumerate(content))


def _part(part: object, place: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(part, Mapping) and kind in TEXT_PARTS:
        text = part.get("refusal" if kind == "refusal" else "text")
        if isinstance(text, str):
            return text
    raise UnsupportedError(
        f"{place}: a part of type {str(kind)[:40]!r} is not supported.",
        hint="Agents read text. Upload a file to the agent's workspace instead.",
        field=place,
    )


def _turns(message: Mapping[str, Any], place: str) -> Iterable[Message]:
    role, text = message.get("role"), text_of(message.get("content"), place)
    match role:
        case "user":
            return [Message(Role.USER, text)]
        case "assistant":
            calls = [_call(call) for call in message.get("tool_calls") or () if isinstance(call, Mapping)]
            whole = "\n".join(part for part in (text, *calls) if part)
            return [Message(Role.ASSISTANT, whole)] if whole.strip() else []
        case "tool" | "function":
            return [Message(Role.USER, f"{TOOL_RESULT} {text}]")]
    raise UnsupportedError(
        f"{place}.role: {str(role)[:40]!r} is not supported.", hint="system, developer, user, assistant or tool.",
        field=place,
    )  # fmt: skip


def _call(call: Mapping[str, Any]) -> str:
    """Of another agent or an earlier client: history, in words. Nothing is called because of it."""
    function = call.get("function")
    said = function if isinstance(function, Mapping) else {}
    arguments = said.get("arguments")
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return f"[Called the tool {said.get('name')} with {shown}]"


def _said(turns: Sequence[Message], system: Sequence[str], name: str) -> Said:
    if not turns or turns[-1].role is not Role.USER or turns[-1].content.startswith(TOOL_RESULT):
        raise UnsupportedError(
            f"{name}: the last message is not the user's.", hint="It is the task of the agent.", field=name
        )
    return Said(turns[-1].content, tuple(turns[:-1]), "\n\n".join(text for text in system if text.strip()))
