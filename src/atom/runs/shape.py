"""Answers that have to fit a JSON schema: whether a schema can be used, and whether an answer fits it. Pure.

References to other documents are never fetched, and patterns are left to the provider: a regular expression of a
stranger may take for ever.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from atom.kit.text import shorten
from atom.runs.errors import SchemaInvalidError

MAX_SCHEMA_CHARS = 65_536
MAX_DEPTH = 32
FENCE = "```"


def _left_to_the_provider(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    return iter(())


_Validator = extend(
    Draft202012Validator, {"pattern": _left_to_the_provider, "patternProperties": _left_to_the_provider}
)
_NOTHING_ELSE: Registry[Any] = Registry()


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises SchemaInvalidError, which says what is wrong and where."""
    try:
        size = len(json.dumps(schema))
        Draft202012Validator.check_schema(schema)
        deep = _depth(schema) > MAX_DEPTH
    except SchemaError as error:
        place = ".".join(str(part) for part in error.absolute_path) or "the schema"
        raise SchemaInvalidError(
            f"response schema: {shorten(place, 200)}: {shorten(error.message, 300)}.", field="response_schema"
        ) from None
    except (RecursionError, TypeError, ValueError) as error:
        raise SchemaInvalidError("response schema: it is no JSON schema.", field="response_schema") from error
    if size > MAX_SCHEMA_CHARS or deep:
        raise SchemaInvalidError(
            f"response schema: larger than {MAX_SCHEMA_CHARS} characters, or deeper than {MAX_DEPTH}.",
            hint="Ask for less at once.",
            field="response_schema",
        )


def shaped(text: str) -> str:
    """The JSON of an answer: itself, or the one fenced block that it consists of."""
    bare = text.strip()
    if bare.startswith(FENCE) and bare.endswith(FENCE) and bare.count(FENCE) == 2:
        return bare.removeprefix(FENCE).removeprefix("json").removesuffix(FENCE).strip()
    return bare


def misfit(text: str, schema: Mapping[str, Any]) -> str | None:
    """Why an answer does not fit, in words for the model; None when it fits."""
    try:
        value = json.loads(shaped(text))
        error = next(_Validator(schema, registry=_NOTHING_ELSE).iter_errors(value), None)
    except ValueError as unreadable:
        return f"It is not JSON: {shorten(str(unreadable), 200)}."
    except RecursionError:
        return "It is nested too deeply."
    except Unresolvable:
        return None  # the schema points to a document that nobody fetches: nothing can be said
    if error is None:
        return None
    place = ".".join(str(part) for part in error.absolute_path) or "the value"
    return f"{shorten(place, 200)}: {shorten(error.message, 300)}."


def _depth(value: object) -> int:
    """Levels of objects and lists, without recursion."""
    deepest, level = 0, [value]
    while level and deepest <= MAX_DEPTH + 1:
        deepest += 1
        level = [inner for outer in level for inner in _inside(outer)]
    return deepest - 1


def _inside(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
