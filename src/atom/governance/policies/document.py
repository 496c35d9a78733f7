"""YAML of people becomes plain values, with the line and column of each. Only the parser of the library is used: what
its loader would build (objects, dates, `yes` as true, 10:30 as 630) does not exist here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from atom.governance.policies.errors import PolicyInvalidError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_NODES = 20_000
CHARS_A_NODE = 16  # a long text counts as several
MAX_ALIASES = 20  # of what they stand for each use counts as nodes of its own: no bomb grows from a few
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,3})?")
WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """`places`: where each value stands, by its path; a mapping's entry stands where its key does."""

    value: Any
    places: dict[Path, Place]

    def place(self, path: Path) -> Place:
        """Of the value, or of what it is missing in."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def parse(text: str) -> Document:
    """Raises PolicyInvalidError."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise PolicyInvalidError(f"the document has more than {MAX_BYTES} bytes.", line=1, column=1)
    try:
        return _Reader(yaml.parse(text, Loader=yaml.SafeLoader)).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise PolicyInvalidError(f"this is not YAML: {said}.", line=line, column=column) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PolicyInvalidError("a character that YAML does not allow.", line=line, column=1) from error


@dataclass(slots=True)
class _Reader:
    """Pulls values out of the events, with bounds. `kept`: what anchors stand for, and how many nodes that is."""

    events: Iterator[Event]
    places: dict[Path, Place] = field(default_factory=dict)
    kept: dict[str, tuple[Any, int]] = field(default_factory=dict)
    nodes: int = 0
    aliases: int = 0

    def read(self) -> Document:
        started = 0
        value: Any = None
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                started += 1
                if started > 1:
                    raise _wrong(event, "one document at a time; apply the others by themselves.")
                value = self._value(next(self.events), (), depth=0)
        if not started:
            raise PolicyInvalidError("the document is empty.", line=1, column=1)
        return Document(value, self.places)

    def _value(self, event: Event, path: Path, *, depth: int) -> Any:
        self.places.setdefault(path, _place(event))
        begun = self.nodes
        self._count(event, 1 + (len(event.value) // CHARS_A_NODE if isinstance(event, ScalarEvent) else 0))
        if isinstance(event, AliasEvent):
            return self._alias(event)
        assert isinstance(event, NodeEvent)
        if depth > MAX_DEPTH:
            raise _wrong(event, f"nested more than {MAX_DEPTH} deep.")
        if isinstance(event, ScalarEvent):
            value: Any = _scalar(event)
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(event, path, depth=depth)
        else:
            value = self._sequence(event, path, depth=depth)
        if event.anchor is not None:
            self.kept[event.anchor] = (value, self.nodes - begun)
        return value

    def _mapping(self, event: CollectionStartEvent, path: Path, *, depth: int) -> dict[str, Any]:
        _plain(event)
        found: dict[str, Any] = {}
        while not isinstance(key := next(self.events), MappingEndEvent):
            if not isinstance(key, ScalarEvent):
                raise _wrong(key, "a key is a plain word.")
            name = key.value
            if name in found:
                raise _wrong(key, f"{name[:64]!r} is given twice.")
            self.places[(*path, name)] = _place(key)
            found[name] = self._value(next(self.events), (*path, name), depth=depth + 1)
        return found

    def _sequence(self, event: Event, path: Path, *, depth: int) -> list[Any]:
        _plain(event)
        found: list[Any] = []
        while not isinstance(item := next(self.events), SequenceEndEvent):
            found.append(self._value(item, (*path, len(found)), depth=depth + 1))
        return found

    def _alias(self, event: AliasEvent) -> Any:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise _wrong(event, f"more than {MAX_ALIASES} aliases.")
        name = event.anchor or ""
        if name not in self.kept:
            raise _wrong(event, f"the alias *{name[:64]} stands for nothing that came before.")
        value, nodes = self.kept[name]
        self._count(event, nodes)
        return value

    def _count(self, event: Event, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise _wrong(event, f"more than {MAX_NODES} values.")


def _scalar(event: ScalarEvent) -> Any:
    """Null, booleans and numbers as YAML 1.2 and JSON spell them; everything else, and what is quoted, is text."""
    _plain(event)
    text = event.value
    if "\x00" in text or any("\ud800" <= one <= "\udfff" for one in text):
        raise _wrong(event, "a text with NUL or half of a surrogate pair.")
    if not event.implicit[0]:
        return text
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return _finite(event) if FLOAT.fullmatch(text) else text


def _finite(event: ScalarEvent) -> float:
    value = float(event.value)
    if value in {float("inf"), float("-inf")}:
        raise _wrong(event, "the number is too large.")
    return value


def _plain(event: Event) -> None:
    tag = getattr(event, "tag", None)
    if tag is not None and tag != "!":  # a lone `!` says that it is text
        raise _wrong(event, f"the tag {str(tag)[:64]} is not allowed here.")


def _place(event: Event) -> Place:
    assert event.start_mark is not None
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _wrong(event: Event, message: str) -> PolicyInvalidError:
    place = _place(event)
    return PolicyInvalidError(message, line=place.line, column=place.column)
