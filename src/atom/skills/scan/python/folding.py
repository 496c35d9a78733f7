"""What an expression of literals comes to, without running anything."""

import ast
import base64
import binascii
import codecs
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atom.skills.scan.models import Budget

HOLE = "\0"
"""Stands in a text for what is not known."""
DEEPEST = 40
LONGEST = 64 * 1024
TEXT = str | bytes


@dataclass(frozen=True, slots=True)
class Folded:
    """`hidden`: it took more than putting literals together to read it."""

    value: TEXT
    hidden: bool = False

    @property
    def text(self) -> str:
        return self.value if isinstance(self.value, str) else self.value.decode("utf-8", "replace")

    @property
    def whole(self) -> bool:
        return HOLE not in self.text


@dataclass(frozen=True, slots=True)
class Folder:
    """`resolve` gives the dotted name of an expression; `bindings` are the values that each name is given, in order."""

    budget: Budget
    resolve: Callable[[ast.AST], str | None]
    bindings: Mapping[str, list[tuple[str, ast.expr]]]
    known: dict[str, Folded | None] = field(default_factory=dict)

    def fold(self, node: ast.AST, depth: int = 0) -> Folded | None:
        """None when nothing of it is known; else with holes for what is not."""
        self.budget.spend()
        if depth > DEEPEST:
            return None
        method = KINDS.get(type(node))
        found = method(self, node, depth + 1) if method is not None else None
        return found if found is None or len(found.value) <= LONGEST else None

    def text(self, node: ast.AST) -> str | None:
        """Only where all of it is known."""
        found = self.fold(node)
        return found.text if found is not None and found.whole else None

    def number(self, node: ast.AST) -> int | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return int(node.value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor | ast.Add | ast.Sub):
            left, right = node.left, node.right
            if isinstance(left, ast.Constant) and isinstance(right, ast.Constant):
                return _calculated(node.op, left.value, right.value)
        return None

    def numbers(self, node: ast.AST) -> list[int] | None:
        """A literal list of character codes."""
        if isinstance(node, ast.Name) and len(self.bindings.get(node.id, ())) == 1:
            node = self.bindings[node.id][0][1]
        if not isinstance(node, ast.List | ast.Tuple):
            return None
        self.budget.spend(len(node.elts))
        found = [self.number(one) for one in node.elts]
        return [n for n in found if n is not None and 0 <= n < 0x110000] if found and None not in found else None


def _calculated(operator: ast.operator, left: object, right: object) -> int | None:
    if not isinstance(left, int) or not isinstance(right, int) or max(abs(left), abs(right)) > 1 << 32:
        return None
    return (
        left ^ right
        if isinstance(operator, ast.BitXor)
        else left + right
        if isinstance(operator, ast.Add)
        else left - right
    )


def _constant(_: Folder, node: ast.AST, __: int) -> Folded | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return (
        Folded(value.replace("\0", ""))
        if isinstance(value, str)
        else Folded(value)
        if isinstance(value, bytes)
        else None
    )


def _name(folder: Folder, node: ast.AST, depth: int) -> Folded | None:
    assert isinstance(node, ast.Name)
    given = folder.bindings.get(node.id, [])
    plain = sum(how == "=" for how, _ in given)
    if plain != 1 or given[0][0] != "=" or len(given) > 200:
        return None
    if node.id not in folder.known:
        folder.known[node.id] = None  # what leads back to itself
        folder.known[node.id] = _joined(folder, [value for _, value in given], depth)
    return folder.known[node.id]


def _f_string(folder: Folder, node: ast.AST, depth: int) -> Folded | None:
    assert isinstance(node, ast.JoinedStr)
    return _joined(
        folder, [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values], depth
    )


def _operation(folder: Folder, node: ast.AST, depth: int) -> Folded | None:
    assert isinstance(node, ast.BinOp)
    if isinstance(node.op, ast.Add):
        return _joined(folder, _spine(node, ast.Add), depth)
    if isinstance(node.op, ast.Div):
        parts = _spine(node, ast.Div)
        found = [folder.fold(part, depth) for part in parts]
        return _path(found) if any(found) else None
    left = folder.fold(node.left, depth)
    if isinstance(node.op, ast.Mult) and left is not None:
        times = folder.number(node.right)
        return Folded(left.value * times, left.hidden) if times and 0 < times * len(left.value) <= LONGEST else None
    if isinstance(node.op, ast.Mod) and left is not None:
        given = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
        return _filled(folder, left, "%s", given, depth)
    return None


def _spine(node: ast.expr, operator: type[ast.operator]) -> list[ast.expr]:
    """`a + b + c` as three parts: it leans to the left as deep as it is long."""
    parts: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, operator):
        parts.append(node.right)
        node = node.left
    return [node, *reversed(parts)]


def _joined(folder: Folder, parts: list[ast.expr], depth: int, between: str = "") -> Folded | None:
    found = [folder.fold(part, depth) for part in parts]
    known = [one for one in found if one is not None]
    if not known or sum(len(one.value) for one in known) > LONGEST:
        return None
    hidden = any(one.hidden for one in known)
    if len(known) == len(found) and all(isinstance(one.value, bytes) for one in known):
        return Folded(between.encode().join(bytes(one.value) for one in known if isinstance(one.value, bytes)), hidden)
    return Folded(between.join(HOLE if one is None else one.text for one in found), hidden)


def _path(found: list[Folded | None]) -> Folded:
    texts = [HOLE if one is None else one.text for one in found]
    for number in range(len(texts) - 1, 0, -1):
        if texts[number].startswith(("/", "~")):
            texts = texts[number:]
            break
    return Folded("/".join(text.rstrip("/") for text in texts), any(one.hidden for one in found if one))


def _filled(folder: Folder, left: Folded, mark: str, given: list[ast.expr], depth: int) -> Folded:
    text, hidden = left.text, left.hidden
    for value in given[:50]:
        one = folder.fold(value, depth)
        text = text.replace(mark, HOLE if one is None else one.text, 1)[:LONGEST]
        hidden = hidden or (one is not None and one.hidden)
    return Folded(text, hidden)


def _subscript(folder: Folder, node: ast.AST, depth: int) -> Folded | None:
    assert isinstance(node, ast.Subscript)
    if folder.resolve(node.value) == "os.environ":
        return Folded("~") if folder.text(node.slice) in {"HOME", "USERPROFILE"} else None
    step = node.slice.step if isinstance(node.slice, ast.Slice) else None
    found = folder.fold(node.value, depth)
    if found is None or not isinstance(step, ast.UnaryOp) or not isinstance(step.op, ast.USub):
        return None
    return Folded(found.value[::-1], hidden=True)


def _conditional(folder: Folder, node: ast.AST, depth: int) -> Folded | None:
    assert isinstance(node, ast.BoolOp | ast.IfExp | ast.NamedExpr | ast.Await)
    options = (
        node.values
        if isinstance(node, ast.BoolOp)
        else [node.body, node.orelse]
        if isinstance(node, ast.IfExp)
        else [node.value]
    )
    return next((found for one in reversed(options) if (found := folder.fold(one, depth)) is not None), None)


def _call(folder: Folder, node: ast.AST, depth: int) -> Folded | None:
    assert isinstance(node, ast.Call)
    name = folder.resolve(node.func) or ""
    first = node.args[0] if node.args else None
    if name in HOME:
        return Folded("~")
    if name in {"os.getenv", "os.environ.get"}:
        return Folded("~") if first is not None and folder.text(first) in {"HOME", "USERPROFILE"} else None
    if name in PATHS and node.args:
        found = [folder.fold(one, depth) for one in node.args[:50]]
        return _path(found) if any(found) else None
    if name in {"chr", "bytes", "bytearray"} and first is not None:
        return _of_codes(folder, name, first)
    if name in DECODERS and first is not None:
        return _decoded(DECODERS[name], folder.fold(first, depth))
    if name == "codecs.decode" and len(node.args) > 1:
        return _decoded(CODECS.get(folder.text(node.args[1]) or ""), folder.fold(first, depth)) if first else None
    if isinstance(node.func, ast.Attribute):
        return _method(folder, node, node.func, depth)
    return folder.fold(first, depth) if name in {"str", "format", "repr", "reversed"} and first is not None else None


def _of_codes(folder: Folder, name: str, first: ast.expr) -> Folded | None:
    if name == "chr":
        number = folder.number(first)
        return Folded(chr(number), hidden=True) if number is not None and 0 <= number < 0x110000 else None
    numbers = folder.numbers(first)
    return Folded(bytes(n & 255 for n in numbers), hidden=True) if numbers else folder.fold(first)


def _method(folder: Folder, node: ast.Call, function: ast.Attribute, depth: int) -> Folded | None:
    if function.attr == "join" and node.args:
        return _join(folder, function.value, node.args[0], depth)
    base = folder.fold(function.value, depth)
    if base is None:
        return None
    if function.attr == "format":
        return _filled(folder, base, "{}", node.args, depth)
    if function.attr in SAME:
        return base
    if function.attr == "replace" and len(node.args) == 2:
        old, new = folder.text(node.args[0]), folder.text(node.args[1])
        return Folded(base.text.replace(old, new)[:LONGEST], hidden=True) if old and new is not None else None
    if function.attr in {"lower", "upper", "swapcase"}:
        return Folded(getattr(base.text, function.attr)(), base.hidden)
    return _path([base, *(folder.fold(one, depth) for one in node.args)]) if function.attr == "joinpath" else None


def _join(folder: Folder, between: ast.expr, parts: ast.expr, depth: int) -> Folded | None:
    glue = folder.fold(between, depth)
    if glue is None:
        return None
    if isinstance(parts, ast.Name) and len(folder.bindings.get(parts.id, ())) == 1:
        parts = folder.bindings[parts.id][0][1]
    if isinstance(parts, ast.List | ast.Tuple):
        return _joined(folder, list(parts.elts), depth, glue.text)
    codes = _codes_of(folder, parts)
    if codes is not None:
        return Folded(glue.text.join(chr(code) for code in codes), hidden=True)
    return folder.fold(parts, depth) if not glue.value else None


def _codes_of(folder: Folder, node: ast.expr) -> list[int] | None:
    """`chr(c) for c in [...]` and `map(chr, [...])`, also with a number that each code is mixed with."""
    if isinstance(node, ast.Call) and folder.resolve(node.func) == "map" and len(node.args) == 2:
        return folder.numbers(node.args[1])
    if not isinstance(node, ast.GeneratorExp | ast.ListComp) or len(node.generators) != 1:
        return None
    numbers, made = folder.numbers(node.generators[0].iter), node.elt
    if numbers is None or not (isinstance(made, ast.Call) and folder.resolve(made.func) == "chr" and made.args):
        return None
    inner = made.args[0]
    if not isinstance(inner, ast.BinOp) or not isinstance(inner.op, ast.BitXor | ast.Add | ast.Sub):
        return numbers
    key = folder.number(inner.right)
    if key is None:
        return numbers
    mixed = [_calculated(inner.op, number, key) or 0 for number in numbers]
    return [code for code in mixed if 0 <= code < 0x110000]


def _decoded(decode: Callable[[bytes], bytes] | None, found: Folded | None) -> Folded | None:
    if decode is None or found is None or not found.whole:
        return None
    data = found.value if isinstance(found.value, bytes) else found.value.encode("utf-8", "replace")
    try:
        return Folded(decode(data), hidden=True)
    except (ValueError, binascii.Error, zlib.error, EOFError):
        return None


def _unzipped(data: bytes) -> bytes:
    return zlib.decompressobj(47).decompress(data, LONGEST)


def _rot13(data: bytes) -> bytes:
    return codecs.encode(data.decode("utf-8", "replace"), "rot13").encode("utf-8", "replace")


KINDS: Mapping[type[ast.AST], Callable[[Folder, ast.AST, int], Folded | None]] = {
    ast.Constant: _constant, ast.Name: _name, ast.JoinedStr: _f_string, ast.BinOp: _operation, ast.Call: _call,
    ast.Subscript: _subscript, ast.BoolOp: _conditional, ast.IfExp: _conditional, ast.NamedExpr: _conditional,
    ast.Await: _conditional,
}  # fmt: skip
HOME = {"pathlib.Path.home", "os.path.expanduser.home"}
PATHS = {
    "pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "os.path.join", "os.path.expanduser",
    "os.path.expandvars", "os.path.abspath",
    "os.path.realpath", "os.path.normpath", "os.fspath", "glob.glob", "glob.iglob",
}  # fmt: skip
SAME = {
    "expanduser",
    "resolve",
    "absolute",
    "strip",
    "rstrip",
    "lstrip",
    "encode",
    "decode",
    "as_posix",
    "__str__",
    "tobytes",
}
DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "base64.b64decode": base64.b64decode, "base64.standard_b64decode": base64.b64decode,
    "base64.decodebytes": base64.decodebytes,
    "base64.urlsafe_b64decode": base64.urlsafe_b64decode, "base64.b32decode": base64.b32decode,
    "base64.b16decode": base64.b16decode,
    "base64.b85decode": base64.b85decode, "base64.a85decode": base64.a85decode,
    "binascii.unhexlify": binascii.unhexlify,
    "binascii.a2b_base64": binascii.a2b_base64, "bytes.fromhex": lambda data: bytes.fromhex(data.decode("ascii",
    "replace")),
    "zlib.decompress": _unzipped, "gzip.decompress": _unzipped,
}  # fmt: skip
CODECS: Mapping[str, Callable[[bytes], bytes]] = {
    "rot13": _rot13, "rot_13": _rot13, "base64": base64.b64decode, "hex": binascii.unhexlify,
    "hex_codec": binascii.unhexlify,
    "zlib": _unzipped,
}  # fmt: skip
