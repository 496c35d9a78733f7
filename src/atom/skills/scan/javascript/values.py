"""What names and expressions of a JavaScript text stand for."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atom.skills.ports import Syntax
from atom.skills.scan import obfuscation
from atom.skills.scan.models import Budget
from atom.skills.scan.offsets import Offsets

DEEPEST = 40
LONGEST = 64 * 1024
HOLE = "\0"
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u\{?([0-9a-fA-F]{1,6})\}?|(\r?\n)|(.))", re.DOTALL)
NAMED = {"n": "\n", "t": "\t", "r": "\r", "0": "", "b": "", "f": "", "v": ""}
GLOBALS = ("globalThis.", "window.", "global.", "self.", "module.", "process.mainModule.")


@dataclass(frozen=True, slots=True)
class Value:
    """With holes for what is not known. `hidden`: it took more than putting literals together to read it."""

    text: str
    hidden: bool = False

    @property
    def whole(self) -> bool:
        return HOLE not in self.text


@dataclass(slots=True)
class Values:
    """`aliases`: dotted names. `bindings`: the values of names that are given one."""

    offsets: Offsets
    budget: Budget
    aliases: dict[str, str] = field(default_factory=dict)
    bindings: dict[str, list[Syntax]] = field(default_factory=dict)
    known: dict[str, Value | None] = field(default_factory=dict)

    def raw(self, node: Syntax) -> str:
        return self.offsets.text(node.start, node.end)

    def learn(self, nodes: list[Syntax]) -> None:
        declared = [node for node in nodes if node.kind in {"variable_declarator", "assignment_expression"}]
        for node in nodes:
            if node.kind == "import_statement":
                self._import(node)
        for node in nodes:
            if node.kind == "augmented_assignment_expression" and (left := node.of("left")) is not None:
                self.bindings.setdefault(self.raw(left), []).extend([node, node])  # more than one value
            elif node.kind == "call_expression":
                self._then(node)
        for node in declared:
            name, value = node.of("name") or node.of("left"), node.of("value") or node.of("right")
            if name is None or value is None:
                continue
            if name.kind == "identifier":
                self.bindings.setdefault(self.raw(name), []).append(value)
            self._alias(name, value)

    def _import(self, node: Syntax) -> None:
        source = node.of("source")
        module = module_of(self.text(source) or "") if source is not None else ""
        for clause in node.children:
            for one in clause.children if clause.kind == "import_clause" else ():
                if one.kind == "identifier":
                    self.aliases[self.raw(one)] = module
                elif one.kind == "namespace_import" and one.children:
                    self.aliases[self.raw(one.children[-1])] = module
                for inner in one.children if one.kind == "named_imports" else ():
                    name, alias = inner.of("name"), inner.of("alias") or inner.of("name")
                    if name is not None and alias is not None:
                        self.aliases[self.raw(alias)] = f"{module}.{self.raw(name)}"

    def _then(self, node: Syntax) -> None:
        """`import("x").then(x => ...)`."""
        function, given = node.of("function"), self.arguments(node)
        base = function.of("object") if function is not None else None
        if base is None or base.kind != "call_expression" or not given or given[0].kind != "arrow_function":
            return
        parameter, module = given[0].of("parameter"), self.resolve(base)
        if parameter is None and (many := given[0].of("parameters")) is not None and len(many.children) == 1:
            parameter = many.children[0]
        if parameter is not None and module is not None and not module.endswith(")"):
            self._alias_to(parameter, module)

    def _alias(self, name: Syntax, value: Syntax) -> None:
        dotted = self.resolve(value)
        if dotted is not None:
            self._alias_to(name, dotted)

    def _alias_to(self, name: Syntax, dotted: str) -> None:
        if name.kind == "identifier":
            if dotted != self.raw(name):
                self.aliases.setdefault(self.raw(name), dotted)
        elif name.kind == "object_pattern":
            for one in name.children:
                key, target = one.of("key"), one.of("value")
                if one.kind == "shorthand_property_identifier_pattern":
                    self.aliases[self.raw(one)] = f"{dotted}.{self.raw(one)}"
                elif key is not None and target is not None and target.kind == "identifier":
                    self.aliases[self.raw(target)] = f"{dotted}.{self.raw(key)}"

    def resolve(self, node: Syntax, depth: int = 0) -> str | None:
        self.budget.spend()
        if depth > DEEPEST:
            return None
        method = NAMES.get(node.kind)
        found = method(self, node, depth + 1) if method is not None else None
        for prefix in GLOBALS if found is not None else ():
            found = found.removeprefix(prefix) if found else found
        return found

    def text(self, node: Syntax) -> str | None:
        found = self.fold(node)
        return found.text if found is not None and found.whole else None

    def fold(self, node: Syntax, depth: int = 0) -> Value | None:
        self.budget.spend()
        if depth > DEEPEST or node.end - node.start > LONGEST:
            return None
        method = VALUES.get(node.kind)
        found = method(self, node, depth + 1) if method is not None else None
        return found if found is None or len(found.text) <= LONGEST else None

    def arguments(self, node: Syntax) -> list[Syntax]:
        found = node.of("arguments")
        return [one for one in found.children if one.kind != "comment"] if found is not None else []

    def joined(self, parts: list[Syntax], depth: int, between: str = "") -> Value | None:
        found = [self.fold(part, depth) for part in parts]
        if not any(found):
            return None
        return Value(
            between.join(HOLE if one is None else one.text for one in found), any(one.hidden for one in found if one)
        )


def module_of(name: str) -> str:
    return name.removeprefix("node:").removesuffix("/promises")


def _identifier(values: Values, node: Syntax, _: int) -> str:
    name = values.raw(node)
    return values.aliases.get(name, name)


def _member(values: Values, node: Syntax, depth: int) -> str | None:
    base, key = node.of("object"), node.of("property") or node.of("index")
    if base is None or key is None:
        return None
    name = values.resolve(base, depth)
    said = values.raw(key) if node.kind == "member_expression" else values.text(key)
    return f"{name}.{said}" if name is not None and said else None


def _called(values: Values, node: Syntax, depth: int) -> str | None:
    function = node.of("function") or node.of("constructor")
    name = (
        values.resolve(function, depth)
        if function is not None
        else "import"
        if values.raw(node).startswith("import(")
        else None
    )
    given = values.arguments(node)
    if name in {"require", "import", "process.getBuiltinModule"} and given:
        module = values.text(given[0])
        return module_of(module) if module else None
    return None if name is None else f"{name}()"


def _inside(values: Values, node: Syntax, depth: int) -> str | None:
    return values.resolve(node.children[-1], depth) if node.children else None


def _string(values: Values, node: Syntax, _: int) -> Value:
    raw = values.raw(node)[1:-1]

    def said(match: re.Match[str]) -> str:
        number = match[1] or match[2]
        if number:
            code = int(number, 16)
            return chr(code) if code < 0x110000 else ""
        return "" if match[3] else NAMED.get(match[4], match[4])

    return Value(
        ESCAPE.sub(said, raw).replace("\0", ""),
        hidden=obfuscation.ESCAPE.search(raw) is not None and obfuscation.is_words(raw),
    )


def _template(values: Values, node: Syntax, depth: int) -> Value | None:
    text, hidden, at = "", False, node.start + 1
    for child in node.children:
        if child.kind == "template_substitution":
            text += values.offsets.text(at, child.start)
            found = values.fold(child.children[0], depth) if child.children else None
            text += HOLE if found is None else found.text
            hidden, at = hidden or (found is not None and found.hidden), child.end
    return Value(text + values.offsets.text(at, node.end - 1), hidden)


def _sum(values: Values, node: Syntax, depth: int) -> Value | None:
    parts: list[Syntax] = []
    while node.kind == "binary_expression":
        left, right, operator = node.of("left"), node.of("right"), node.of("operator")
        if left is None or right is None or operator is None or values.raw(operator) != "+":
            return (
                values.fold(right, depth)
                if right is not None and operator is not None and values.raw(operator) in {"||", "??"}
                else None
            )
        parts.append(right)
        node = left
    return values.joined([node, *reversed(parts)], depth)


def _bound(values: Values, node: Syntax, depth: int) -> Value | None:
    name = values.raw(node)
    given = values.bindings.get(name, [])
    if len(given) != 1:
        return None
    if name not in values.known:
        values.known[name] = None  # what leads back to itself
        values.known[name] = values.fold(given[0], depth)
    return values.known[name]


def _home(values: Values, node: Syntax, _: int) -> Value | None:
    return Value("~") if values.resolve(node) in {"process.env.HOME", "process.env.USERPROFILE"} else None


def _parenthesised(values: Values, node: Syntax, depth: int) -> Value | None:
    return values.fold(node.children[-1], depth) if node.children else None


def _call(values: Values, node: Syntax, depth: int) -> Value | None:
    function = node.of("function") or node.of("constructor")
    name, given = values.resolve(node.of("function") or node) or "", values.arguments(node)
    if name in {"os.homedir", "homedir"}:
        return Value("~")
    if name in {"path.join", "path.resolve", "join", "path.posix.join"} and given:
        found = values.joined(given, depth, "/")
        return Value(found.text.replace("//", "/"), found.hidden) if found is not None else None
    if name in {"String.fromCharCode", "String.fromCodePoint"} and given:
        return _codes(values, given)
    if name in {"atob", "Buffer.from", "Buffer"} and given:
        return _decoded(values, name, given, depth)
    if name in {"String", "decodeURIComponent", "unescape", "URL", "URL()"} and given:
        return values.fold(given[0], depth)
    return (
        _method(values, function, given, depth)
        if function is not None and function.kind == "member_expression"
        else None
    )


def _codes(values: Values, given: list[Syntax]) -> Value | None:
    numbers = [
        values.raw(one) for one in (given[0].children if given[0].kind in {"spread_element", "array"} else given)
    ]
    if len(numbers) == 1 and numbers[0].startswith("["):
        numbers = [part.strip() for part in numbers[0].strip("[]").split(",")]
    codes = [int(one, 0) for one in numbers if re.fullmatch(r"0x[0-9a-fA-F]{1,6}|[1-9]\d{0,6}", one)]
    found = "".join(chr(code) for code in codes if code < 0x110000)
    return Value(found, hidden=True) if found and len(codes) == len(numbers) else None


def _decoded(values: Values, name: str, given: list[Syntax], depth: int) -> Value | None:
    found = values.fold(given[0], depth)
    if found is None or not found.whole:
        return _codes(values, given) if name.startswith("Buffer") and given[0].kind == "array" else None
    how = "base64" if name == "atob" else values.text(given[1]) if len(given) > 1 else ""
    if how not in {"base64", "hex", "base64url"}:
        return found
    said = obfuscation.decoded(found.text)
    return Value(said, hidden=True) if said is not None else None


def _method(values: Values, function: Syntax, given: list[Syntax], depth: int) -> Value | None:
    base, key = function.of("object"), function.of("property")
    if base is None or key is None:
        return None
    name = values.raw(key)
    if name == "join" and base.kind == "array":
        return values.joined(base.children, depth, (values.text(given[0]) or "") if given else ",")
    if name == "concat":
        return values.joined([base, *given], depth)
    found = values.fold(base, depth)
    if found is None or name not in {
        "toString",
        "trim",
        "split",
        "join",
        "reverse",
        "toLowerCase",
        "toUpperCase",
        "replace",
        "replaceAll",
        "href",
    }:
        return None
    if name == "reverse":
        return Value(found.text[::-1], hidden=True)
    if name in {"replace", "replaceAll"} and len(given) == 2:
        old, new = values.text(given[0]), values.text(given[1])
        return Value(found.text.replace(old, new)[:LONGEST], hidden=True) if old and new is not None else None
    return found


NAMES: Mapping[str, Callable[[Values, Syntax, int], str | None]] = {
    "identifier": _identifier, "member_expression": _member, "subscript_expression": _member,
    "call_expression": _called,
    "new_expression": _called, "await_expression": _inside, "parenthesized_expression": _inside,
    "sequence_expression": _inside,
    "import": lambda _, __, ___: "import",
}  # fmt: skip
VALUES: Mapping[str, Callable[[Values, Syntax, int], Value | None]] = {
    "string": _string, "template_string": _template, "binary_expression": _sum, "identifier": _bound,
    "call_expression": _call,
    "member_expression": _home, "subscript_expression": _home, "parenthesized_expression": _parenthesised,
    "await_expression": _parenthesised,
    "new_expression": _call,
}  # fmt: skip
