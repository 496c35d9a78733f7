"""Where in a call's arguments a rule looks: `$.amount`, `$.items[0].price`, `$.to[*].address`, `$['odd name']`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PART = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(\d{1,4})\]|\[(\*)\]|\['([^'\\]{1,100})'\]")
MAX_CHARS = 200
MAX_FOUND = 1_000


class MissingError(Exception):
    """There is nothing at the path, or too much. What was expected is the message."""


@dataclass(frozen=True, slots=True)
class JsonPath:
    """`parts`: names of members, places in lists, or None for every element of a list."""

    text: str
    parts: tuple[str | int | None, ...]

    def find(self, arguments: Mapping[str, Any]) -> list[Any]:
        """Every value it leads to; several only with `[*]`, and none for a list that is empty. Raises MissingError."""
        found: list[Any] = [arguments]
        for part in self.parts:
            found = [inner for value in found for inner in _step(value, part, self.text)]
            if len(found) > MAX_FOUND:
                raise MissingError(f"{self.text} leads to more than {MAX_FOUND} values")
        return found


def parse_path(text: str) -> JsonPath:
    """Raises ValueError."""
    if not text.startswith("$") or len(text) > MAX_CHARS:
        raise ValueError("a path begins with $ and has at most 200 characters, for example $.amount or $.to[*].address")
    parts: list[str | int | None] = []
    at = 1
    while at < len(text):
        match = PART.match(text, at)
        if match is None:
            raise ValueError(f"the path cannot be read at {text[at : at + 20]!r}; use .name, [0], [*] or ['odd name']")
        name, place, every, quoted = match.groups()
        parts.append(None if every else int(place) if place is not None else name or quoted)
        at = match.end()
    return JsonPath(text, tuple(parts))


def _step(value: Any, part: str | int | None, path: str) -> Iterator[Any]:
    if isinstance(part, str):
        if not isinstance(value, Mapping) or part not in value:
            raise MissingError(f"there is no {path}")
        yield value[part]
        return
    if not isinstance(value, list | tuple) or (part is not None and part >= len(value)):
        raise MissingError(f"there is no {path}")
    if part is None:
        yield from value
    else:
        yield value[part]
