"""A conversation as the local model sees it: the last request, and what the tools said since. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atom.llm.adapters.local_prompts import focus
from atom.llm.ports import ChatRequest, Message, Role, ToolSpec

FILES_MARK = "\n\nFiles given with this task:\n"
FAILED = "Error:"
LINE = re.compile(r"(?P<path>[^\s\[].*?):(?P<line>\d{1,9}): ?(?P<text>.*)")
AROUND = 3  # lines read before and after the best one
MAX_HITS = 20


@dataclass(frozen=True, slots=True)
class Done:
    """A tool call of this request and what came back."""

    name: str
    arguments: Mapping[str, Any]
    content: str

    @property
    def failed(self) -> bool:
        return self.content.startswith(FAILED)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a tool showed, verbatim."""

    path: str
    number: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.path}:{self.number}"


@dataclass(frozen=True, slots=True)
class Situation:
    """`question` is what is asked now; earlier exchanges are not looked at. `files` came with it."""

    question: str
    files: tuple[str, ...]
    tools: Mapping[str, ToolSpec]
    done: tuple[Done, ...]

    def last(self, name: str) -> Done | None:
        return next((done for done in reversed(self.done) if done.name == name), None)

    def accepts(self, tool: str, argument: str) -> bool:
        return tool in self.tools and argument in self.tools[tool].parameters.get("properties", {})


def situation(request: ChatRequest) -> Situation:
    """What the last message of the user asks, and every finished call after it."""
    asked = max((n for n, message in enumerate(request.messages) if message.role is Role.USER), default=-1)
    text = request.messages[asked].content if asked >= 0 else ""
    question, _, files = text.partition(FILES_MARK)
    return Situation(
        focus(question),
        tuple(row.removeprefix("- ") for row in files.splitlines() if row.startswith("- ")),
        {tool.name: tool for tool in request.tools},
        tuple(_done(request.messages[asked + 1 :])),
    )


def found_lines(content: str) -> list[Line]:
    """The `path:LINE: text` rows of a tool's result; headings and notes around them are left out."""
    lines = []
    for row in content.split("\n"):
        match = LINE.fullmatch(row)
        if match:
            lines.append(Line(match["path"], int(match["line"]), match["text"]))
        if len(lines) == MAX_HITS:
            break
    return lines


def reading(around: Line, situation: Situation) -> dict[str, Any]:
    """Arguments of `read_file` for a line and its neighbours, as far as the offered tool takes them."""
    arguments: dict[str, Any] = {"path": around.path}
    if situation.accepts("read_file", "first_line") and situation.accepts("read_file", "last_line"):
        arguments |= {"first_line": max(1, around.number - AROUND), "last_line": around.number + AROUND}
    return arguments


def _done(messages: Sequence[Message]) -> list[Done]:
    calls = {call.id: call for message in messages for call in message.tool_calls}
    done = []
    for message in messages:
        call = calls.get(message.tool_call_id or "")
        if message.role is Role.TOOL and call is not None:
            done.append(Done(call.name, _arguments(call.arguments), message.content))
    return done


def _arguments(text: str) -> Mapping[str, Any]:
    """Arguments may be garbage when another model wrote them."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
