"""YAML as a tree that knows where everything stands. It makes no objects, resolves no types and is bounded."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from atom.skills.findings import Rule

MOST_BYTES = 64 * 1024
MOST_DEPTH = 20
MOST_ALIASES = 20
MOST_NODES = 5_000  # after aliases are filled in
STRING = "tag:yaml.org,2002:str"
# What `yaml` does not read at all or takes for a line end; `hidden` has reported it, and places stay what they are.
UNREAD = re.compile("[^\x09\x0a\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


class YamlProblem(Exception):
    """Where `yaml` stops understanding; `line` and `column` count from 0."""

    def __init__(self, message: str, line: int, column: int, rule: Rule = Rule.YAML_SYNTAX) -> None:
        super().__init__(message)
        self.message, self.line, self.column, self.rule = message, line, column, rule


@dataclass(slots=True)
class Scalar:
    """`tag` is what other readers take it for: a plain `1.0` is a float to them."""

    value: str
    tag: str
    line: int
    column: int


@dataclass(slots=True)
class YamlList:
    items: "list[Node]"
    line: int
    column: int


@dataclass(slots=True)
class YamlMap:
    pairs: "list[tuple[Scalar, Node]]"
    line: int
    column: int


Node = Scalar | YamlList | YamlMap


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was read, and that strict readers refuse."""

    rule: Rule
    what: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Tree:
    """`root` is None when there is nothing but space and comments."""

    root: Node | None
    notes: Sequence[Note]


@dataclass(slots=True)
class _Build:
    """The state of reading: open collections, the deepest last; `keys` are those that wait for their value."""

    open: list[YamlList | YamlMap] = field(default_factory=list)
    keys: list[Scalar | None] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    root: Node | None = None
    aliases: int = 0

    def add(self, node: Node) -> None:
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        if isinstance(parent, YamlList):
            parent.items.append(node)
        elif (key := self.keys[-1]) is not None:
            parent.pairs.append((key, node))
            self.keys[-1] = None
        elif isinstance(node, Scalar):
            self.keys[-1] = node
        else:
            raise YamlProblem("A key that is a list or a mapping.", node.line, node.column)


def parse(text: str) -> Tree:
    """Raises YamlProblem."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise YamlProblem(f"More than {MOST_BYTES} bytes.", 0, 0, Rule.FRONTMATTER_LARGE)
    build = _Build()
    try:
        for event, loader in _events(UNREAD.sub("\ufffd", text)):
            _take(event, loader, build)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"{error.problem or error.context}".removeprefix("while ").capitalize()
        raise YamlProblem(f"{message}.", mark.line if mark else 0, mark.column if mark else 0) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise YamlProblem("It is no YAML.", 0, 0) from error
    if build.root is not None:
        _check_size(build.root)
        build.notes.extend(_looked_through(build.root))
    return Tree(build.root, build.notes)


def plain(node: Node) -> Any:
    """Mappings, lists and the simplest of scalars: what looks like JSON is JSON, all else is text."""
    if isinstance(node, YamlList):
        return [plain(item) for item in node.items]
    if isinstance(node, YamlMap):
        return {key.value: plain(value) for key, value in node.pairs}
    if node.tag == STRING:
        return node.value
    simple = {"true": True, "false": False, "null": None, "~": None, "": None}
    if node.value.lower() in simple:
        return simple[node.value.lower()]
    return int(node.value) if re.fullmatch(r"-?(?:0|[1-9]\d{0,17})", node.value, re.ASCII) else node.value


def _events(text: str) -> Iterator[tuple[yaml.Event, yaml.SafeLoader]]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_event():
            yield loader.get_event(), loader  # type: ignore[no-untyped-call]
    finally:
        loader.dispose()


def _take(event: yaml.Event, loader: yaml.SafeLoader, build: _Build) -> None:
    line, column = _at(event)
    if isinstance(event, yaml.DocumentStartEvent) and build.root is not None:
        raise YamlProblem("A second document begins.", line, column)
    if isinstance(event, yaml.AliasEvent):
        build.add(_alias(str(event.anchor), line, column, build))
    elif isinstance(event, yaml.ScalarEvent):
        _note_anchor_and_tag(event, build)
        tag = event.tag or loader.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        node = Scalar(event.value, tag, line, column)
        _name(event.anchor, node, build)
        build.add(node)
    elif isinstance(event, yaml.CollectionStartEvent):
        _note_anchor_and_tag(event, build)
        _begin(event, line, column, build)
    elif isinstance(event, yaml.CollectionEndEvent):
        build.open.pop()
        build.keys.pop()


def _at(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line, mark.column) if mark is not None else (0, 0)


def _begin(event: yaml.CollectionStartEvent, line: int, column: int, build: _Build) -> None:
    if len(build.open) >= MOST_DEPTH:
        raise YamlProblem(f"More than {MOST_DEPTH} levels.", line, column, Rule.FRONTMATTER_DEEP)
    if event.flow_style and not any(note.rule is Rule.YAML_FLOW for note in build.notes):
        build.notes.append(Note(Rule.YAML_FLOW, "{ } or [ ]", line, column))
    is_list = isinstance(event, yaml.SequenceStartEvent)
    node = YamlList([], line, column) if is_list else YamlMap([], line, column)
    build.add(node)
    build.open.append(node)
    build.keys.append(None)
    _name(event.anchor, node, build)


def _name(anchor: str | None, node: Node, build: _Build) -> None:
    if anchor is not None:
        build.anchors[anchor] = node


def _alias(anchor: str, line: int, column: int, build: _Build) -> Node:
    node = build.anchors.get(anchor)
    build.aliases += 1
    if node is None:
        raise YamlProblem(f"*{anchor[:40]} names nothing.", line, column, Rule.YAML_ALIAS)
    if build.aliases > MOST_ALIASES or any(node is one for one in build.open):
        raise YamlProblem("Aliases that multiply or hold themselves.", line, column, Rule.YAML_ALIAS_BOMB)
    return node


def _note_anchor_and_tag(event: yaml.NodeEvent, build: _Build) -> None:
    line, column = _at(event)
    if event.anchor is not None:
        build.notes.append(Note(Rule.YAML_ALIAS, f"&{event.anchor[:40]}", line, column))
    if getattr(event, "tag", None) is not None:
        build.notes.append(Note(Rule.YAML_TAG, str(event.tag)[:60], line, column))  # type: ignore[attr-defined]


def _check_size(root: Node) -> None:
    """Aliases filled in, it must not be deeper or larger than it may be written."""
    left, stack = MOST_NODES, [(root, 1)]
    while stack:
        node, depth = stack.pop()
        left -= 1
        if left < 0 or depth > MOST_DEPTH + 1:
            rule = Rule.YAML_ALIAS_BOMB if left < 0 else Rule.FRONTMATTER_DEEP
            raise YamlProblem("More than a frontmatter may hold.", node.line, node.column, rule)
        stack.extend((child, depth + 1) for child in _children(node))


def _children(node: Node) -> list[Node]:
    if isinstance(node, YamlList):
        return node.items
    return [value for _, value in node.pairs] if isinstance(node, YamlMap) else []


def _looked_through(root: Node) -> Iterator[Note]:
    stack, seen_nodes = [root], set[int]()
    while stack:
        node = stack.pop()
        if id(node) in seen_nodes:
            continue
        seen_nodes.add(id(node))
        stack.extend(_children(node))
        if isinstance(node, YamlMap):
            yield from _strictly(node)


def _strictly(node: YamlMap) -> Iterator[Note]:
    """Keys that are there twice, and mappings in it that are not indented alike (StrictYAML wants that)."""
    seen, indent = set[str](), None
    for key, value in node.pairs:
        if key.value in seen:
            yield Note(Rule.YAML_DUPLICATE_KEY, key.value[:60], key.line, key.column)
        seen.add(key.value)
        if isinstance(value, YamlMap):
            indent = value.column if indent is None else indent
            if value.column != indent:
                yield Note(Rule.YAML_UNEVEN, "", value.line, value.column)
