"""How any chat model on this machine is asked for text or a tool call, and how its reply is read. Pure.

Native formats of tool calls differ from model to model, and small ones do not keep to theirs. So the reply is bound to
a JSON schema: a call of one of the offered tools, or an answer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atom.kit.ids import new_id
from atom.llm.ports import ChatRequest, Message, Role, ToolCall, ToolSpec

ANSWER, TOOL, ARGUMENTS = "answer", "tool", "arguments"
EXPLAINED = (
    'Reply with one JSON object and nothing else: {"tool": NAME, "arguments": {...}} to call a tool, or'
    ' {"answer": ...} when you can answer. The result of a tool comes with the next message. The tools:'
)
OPENING = re.compile(r'\s*\{\s*"answer"\s*:\s*"')
PIECE = re.compile(
    r'[^"\\]+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u]'
)
Turn = dict[str, str]


def conversation(request: ChatRequest) -> list[Turn]:
    """The messages with the roles that every chat template knows, in turns: some refuse two of one role in a row."""
    system = [message.content for message in request.messages if message.role is Role.SYSTEM]
    if request.tools:
        system.append("\n".join([EXPLAINED, *(_described(tool) for tool in request.tools)]))
    said = [("system", text) for text in system] + list(_spoken(request))
    turns: list[Turn] = []
    for role, spoken in said:
        text = spoken.encode("utf-8", errors="replace").decode("utf-8")  # lone surrogates cannot be sent
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n\n{text}"
        else:
            turns.append({"role": role, "content": text})
    return turns


def schema_of(request: ChatRequest) -> Mapping[str, Any] | None:
    """What the reply must be. None: any text."""
    if not request.tools:
        return request.response_schema
    answer = _moved(request.response_schema, f"#/anyOf/{len(request.tools)}/properties/{ANSWER}")
    options = [_call_schema(number, tool) for number, tool in enumerate(request.tools)]
    return {"anyOf": [*options, _closed({ANSWER: answer or {"type": "string"}})]}


@dataclass(slots=True)
class Reading:
    """Reads the pieces of one reply to a request with tools. `feed` returns what of the answer may be shown."""

    raw: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    _held: str = ""
    _answering: bool = False

    def feed(self, piece: str) -> str:
        self.raw.append(piece)
        self._held += piece
        if not self._answering:
            opening = OPENING.match(self._held)
            if opening is None:
                return ""
            self._answering, self._held = True, self._held[opening.end() :]
        text = self._decoded()
        self.shown.append(text)
        return text

    def outcome(self) -> tuple[str, ToolCall | None]:
        """The rest of the answer's text, or the call. Raises ValueError for a reply that is neither."""
        said = json.loads("".join(self.raw))
        if not isinstance(said, dict):
            raise ValueError("not an object")
        if isinstance(said.get(TOOL), str):
            return "", ToolCall(f"call_{new_id().hex}", said[TOOL], json.dumps(said.get(ARGUMENTS, {})))
        if ANSWER not in said:
            raise ValueError("neither an answer nor a call")
        answer = said[ANSWER]
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return text.removeprefix("".join(self.shown)), None

    def _decoded(self) -> str:
        """What is complete of the JSON string so far; an escape that is cut in two waits for its rest."""
        text = ""
        while piece := PIECE.match(self._held):
            text += json.loads(f'"{piece.group()}"', strict=False)
            self._held = self._held[piece.end() :]
        return text


def _spoken(request: ChatRequest) -> Sequence[tuple[str, str]]:
    """Earlier turns in the form that this reply must have: a model goes on as the conversation went."""
    names = {call.id: call.name for message in request.messages for call in message.tool_calls}
    said: list[tuple[str, str]] = []
    for message in request.messages:
        if message.role is Role.TOOL:
            name = names.get(message.tool_call_id or "", "the tool")
            said.append(("user", f"Result of {name}:\n{message.content}"))
        elif message.role is Role.ASSISTANT:
            said.append(("assistant", _replied(message, framed=bool(request.tools))))
        elif message.role is Role.USER:
            said.append(("user", message.content))
    return said


def _replied(message: Message, *, framed: bool) -> str:
    calls = [_call_text(call) for call in message.tool_calls]
    if calls:
        return "\n".join(calls)
    return json.dumps({ANSWER: message.content}, ensure_ascii=False) if framed else message.content


def _call_text(call: ToolCall) -> str:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    return json.dumps({TOOL: call.name, ARGUMENTS: arguments}, ensure_ascii=False)


def _described(tool: ToolSpec) -> str:
    said = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return json.dumps(said, ensure_ascii=False)


def _call_schema(number: int, tool: ToolSpec) -> dict[str, Any]:
    moved = _moved(tool.parameters, f"#/anyOf/{number}/properties/{ARGUMENTS}")
    arguments = {"type": "object", "additionalProperties": False, **moved}
    return _closed({TOOL: {"const": tool.name}, ARGUMENTS: arguments})


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _moved(schema: Any, place: str) -> Any:
    """A schema that now stands at `place`: its references into itself follow."""
    if isinstance(schema, Mapping):
        return {
            key: _reference(value, place) if key == "$ref" else _moved(value, place) for key, value in schema.items()
        }
    if isinstance(schema, list | tuple):
        return [_moved(item, place) for item in schema]
    return schema


def _reference(target: Any, place: str) -> Any:
    return f"{place}{target[1:]}" if isinstance(target, str) and target.startswith("#") else target
