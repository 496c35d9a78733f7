"""The tools of this deployment by exact name, and the gate that a model's arguments pass."""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from atom.errors import InternalError
from atom.llm.ports import ToolSpec
from atom.tools.errors import ToolArgumentsError, ToolError
from atom.tools.ports import Tool

MAX_ARGUMENT_CHARS = 2_000_000
MAX_DEPTH = 32
MAX_PROBLEMS = 5
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class UnknownToolError(ToolError):
    """No tool has this name."""

    code = "unknown_tool"


class ToolRegistry:
    """Immutable after construction. Names are exact: no case folding, no prefix, no guess."""

    def __init__(self, tools: Iterable[Tool], *, max_argument_chars: int = MAX_ARGUMENT_CHARS) -> None:
        self._tools: dict[str, Tool] = {}
        self._validators: dict[str, Draft202012Validator] = {}
        self._max_argument_chars = max_argument_chars
        for tool in tools:
            self._add(tool)

    def _add(self, tool: Tool) -> None:
        if not NAME.fullmatch(tool.name) or tool.name in self._tools:
            raise InternalError(f"Tool name {tool.name!r} is taken, or not lower case letters, digits and underscores.")
        if tool.parameters.get("type") != "object" or tool.parameters.get("additionalProperties") is not False:
            raise InternalError(f"The schema of {tool.name} must be of type object, without additional properties.")
        Draft202012Validator.check_schema(tool.parameters)
        self._tools[tool.name] = tool
        self._validators[tool.name] = Draft202012Validator(tool.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._tools))

    def find(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def get(self, name: str) -> Tool:
        """The tool of exactly this name. Raises UnknownToolError, which tells the model the names that come near."""
        tool = self._tools.get(name)
        if tool is None:
            near = difflib.get_close_matches(name[:64], self.names, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Tools: {', '.join(self.names)}."
            raise UnknownToolError(f"There is no tool {name[:64]!r}.", hint=hint)
        return tool

    def specs(self, names: Iterable[str]) -> tuple[ToolSpec, ...]:
        """What a model that is granted `names` is shown, in a stable order. Names of no tool are left out."""
        granted = [self._tools[name] for name in sorted(set(names)) if name in self._tools]
        return tuple(ToolSpec(tool.name, tool.description, tool.parameters) for tool in granted)

    def check_arguments(self, tool: Tool, text: str) -> dict[str, Any]:
        """The arguments that the model wrote as JSON text, if they fit the tool's schema. Raises ToolArgumentsError."""
        if len(text) > self._max_argument_chars:
            raise ToolArgumentsError(
                f"{tool.name}: the arguments have {len(text)} characters.",
                hint=f"Expected: at most {self._max_argument_chars}. Split the call.",
            )
        arguments = _parse(tool, text)
        errors = list(self._validators[tool.name].iter_errors(arguments))
        if errors:
            problems = list(dict.fromkeys(problem for error in errors for problem in _explain(error)))[:MAX_PROBLEMS]
            raise ToolArgumentsError(f"{tool.name}: {' '.join(problems)}", hint=f"Expected: {expected(tool)}.")
        return arguments


def expected(tool: Tool) -> str:
    """The arguments of a tool in one line for a model."""
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    required = set(tool.parameters.get("required", ()))
    parts = [
        f'"{name}": {_kind(schema)} ({"required" if name in required else "optional"})'
        for name, schema in properties.items()
    ]
    return "{" + ", ".join(parts) + "}"


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    kind = schema.get("type", "value")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _parse(tool: Tool, text: str) -> dict[str, Any]:
    hint = f"Expected: one JSON object, {expected(tool)}."
    if not text.strip():  # how several providers spell a call without arguments
        return {}
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise ToolArgumentsError(f"{tool.name}: the arguments are not JSON: {problem}.", hint=hint) from error
    except ValueError as error:
        raise ToolArgumentsError(f"{tool.name}: {error}", hint=hint) from error
    except RecursionError as error:
        raise ToolArgumentsError(f"{tool.name}: the arguments are nested too deeply.", hint=hint) from error
    if not isinstance(value, dict):
        raise ToolArgumentsError(f"{tool.name}: the arguments are not a JSON object.", hint=hint)
    _check_value(tool, value, depth=0)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an argument is given twice.")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large.")
    return value


def _whole(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"the number {text[:20]}... is too large.")
    return int(text)


def _check_value(tool: Tool, value: Any, *, depth: int) -> None:
    """What parses but cannot be stored or encoded: NUL, half of a surrogate pair, bottomless nesting."""
    if depth > MAX_DEPTH:
        raise ToolArgumentsError(
            f"{tool.name}: the arguments are nested more than {MAX_DEPTH} deep.", hint="Flatten them."
        )
    if isinstance(value, str):
        if "\0" in value or any(0xD800 <= ord(char) <= 0xDFFF for char in value):
            raise ToolArgumentsError(
                f"{tool.name}: a text has a NUL character or half of a surrogate pair.", hint="Send plain Unicode text."
            )
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(tool, key, depth=depth + 1)
            _check_value(tool, item, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_value(tool, item, depth=depth + 1)


def _explain(error: ValidationError) -> list[str]:
    """Argument and problem; never the value itself, which may be megabytes."""
    place = ".".join(str(part) for part in error.absolute_path)
    limit = error.validator_value
    match error.validator:
        case "required":
            missing = [name for name in limit if name not in error.instance]
            return [f"{_join(place, name)}: is missing." for name in missing]
        case "additionalProperties":
            known = error.schema.get("properties", {})
            unknown = [name for name in error.instance if name not in known][:MAX_PROBLEMS]
            return [f"{_join(place, name[:64])}: is not an argument of this tool." for name in unknown]
        case "type":
            return [f"{place}: is {_type_name(error.instance)}, not {_kind({'type': limit})}."]
        case "enum":
            return [f"{place}: is not {_kind({'enum': limit})}."]
        case "minimum" | "maximum":
            return [f"{place}: {error.instance} is {'below' if error.validator == 'minimum' else 'above'} {limit}."]
        case "minLength" | "maxLength":
            side = "at least" if error.validator == "minLength" else "at most"
            return [f"{place}: has {len(error.instance)} characters; {side} {limit} are needed."]
    return [f"{place}: does not satisfy {error.validator} {json.dumps(limit)[:100]}."]


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _type_name(value: object) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
    }
    return names.get(type(value), "null")
