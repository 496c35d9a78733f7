"""What the names of a Python text stand for: imports, aliases, and the ways around both."""

import ast
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atom.skills.scan.models import Budget

DEEPEST = 30
IMPORTERS = {"__import__", "importlib.import_module", "importlib.__import__"}
SPACES = {
    "globals()",
    "locals()",
    "vars()",
    "__builtins__",
    "__builtins__.__dict__",
    "builtins.__dict__",
    "vars(builtins)",
}
STAR = {  # of `from x import *`, the names that matter
    "os": ("system", "popen", "environ", "getenv", "execv", "execvp", "chmod"),
    "subprocess": ("run", "Popen", "call", "check_call", "check_output", "getoutput"),
    "base64": ("b64decode", "urlsafe_b64decode", "b32decode"),
    "requests": ("get", "post", "put", "request"),
    "urllib.request": ("urlopen", "urlretrieve", "Request"),
    "socket": ("socket", "create_connection"),
}
TEXT = Callable[[ast.AST], str | None]


@dataclass(slots=True)
class Naming:
    """`bindings`: the values that each name is given, in order, with `=` or `+=`."""

    budget: Budget
    aliases: dict[str, str] = field(default_factory=dict)
    bindings: dict[str, list[tuple[str, ast.expr]]] = field(default_factory=lambda: defaultdict(list))
    text: TEXT = lambda _: None

    def learn(self, tree: ast.AST) -> None:
        """Imports first, then assignments, which may name them."""
        nodes = list(ast.walk(tree))
        self.budget.spend(len(nodes))
        for node in nodes:
            if isinstance(node, ast.Import):
                for one in node.names:
                    self.aliases[one.asname or one.name.partition(".")[0]] = (
                        one.name if one.asname else one.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                self._from(node)
        assigned = [pair for node in nodes for pair in _assigned(node)]
        for name, how, value in assigned:
            self.bindings[name].append((how, value))
        for name, how, value in assigned:
            dotted = self.resolve(value) if how == "=" and isinstance(value, TARGETS) else None
            if dotted is not None and name not in self.aliases and dotted != name:
                self.aliases[name] = dotted

    def _from(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        for one in node.names:
            if one.name == "*":
                self.aliases.update({name: f"{module}.{name}" for name in STAR.get(module, ())})
            else:
                self.aliases[one.asname or one.name] = f"{module}.{one.name}"

    def resolve(self, node: ast.AST, depth: int = 0) -> str | None:
        """The dotted name of what `node` is, as `subprocess.run` and `requests.Session()`; None when it has none."""
        self.budget.spend()
        if depth > DEEPEST:
            return None
        method = KINDS.get(type(node))
        found = method(self, node, depth + 1) if method is not None else None
        return found.removeprefix("builtins.").removeprefix("__builtins__.") if found is not None else None


def _assigned(node: ast.AST) -> list[tuple[str, str, ast.expr]]:
    if isinstance(node, ast.Assign):
        return [pair for target in node.targets for pair in _pairs(target, node.value)]
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return _pairs(node.target, node.value)
    if isinstance(node, ast.AugAssign):
        how = "+=" if isinstance(node.op, ast.Add) else "="
        return [(name, how, node.value) for name in _named(node.target)]
    if isinstance(node, ast.NamedExpr):
        return [(node.target.id, "=", node.value)]
    if isinstance(node, ast.With | ast.AsyncWith):
        return [
            (n, "=", one.context_expr) for one in node.items if one.optional_vars for n in _named(one.optional_vars)
        ]
    if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        return [(name, "in", node.iter) for name in _named(node.target)]
    return []


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[str, str, ast.expr]]:
    if (
        isinstance(target, ast.Tuple | ast.List)
        and isinstance(value, ast.Tuple | ast.List)
        and len(target.elts) == len(value.elts)
    ):
        return [(name, "=", one) for inner, one in zip(target.elts, value.elts, strict=True) for name in _named(inner)]
    how = "in" if isinstance(target, ast.Tuple | ast.List) else "="
    return [(name, how, value) for name in _named(target)]


def _named(target: ast.expr) -> list[str]:
    """Names, and attributes as `.x`: whose they are is not followed."""
    if isinstance(target, ast.Tuple | ast.List):
        return [name for one in target.elts[:50] for name in _named(one)]
    if isinstance(target, ast.Starred):
        return _named(target.value)
    return (
        [target.id]
        if isinstance(target, ast.Name)
        else [f".{target.attr}"]
        if isinstance(target, ast.Attribute)
        else []
    )


def _name(naming: Naming, node: ast.AST, _: int) -> str:
    assert isinstance(node, ast.Name)
    return naming.aliases.get(node.id, node.id)


def _attribute(naming: Naming, node: ast.AST, depth: int) -> str | None:
    assert isinstance(node, ast.Attribute)
    if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
        return naming.aliases.get(f".{node.attr}")
    base = naming.resolve(node.value, depth)
    return None if base is None else f"{base}.{node.attr}"


def _call(naming: Naming, node: ast.AST, depth: int) -> str | None:
    assert isinstance(node, ast.Call)
    name = naming.resolve(node.func, depth)
    if name in IMPORTERS and node.args:
        return naming.text(node.args[0])
    if name == "getattr" and len(node.args) > 1:
        base, attribute = naming.resolve(node.args[0], depth), naming.text(node.args[1])
        return f"{base}.{attribute}" if base is not None and attribute else None
    if name == "vars" and node.args:
        return f"{naming.resolve(node.args[0], depth)}.__dict__"
    return None if name is None else f"{name}()"


def _subscript(naming: Naming, node: ast.AST, depth: int) -> str | None:
    assert isinstance(node, ast.Subscript)
    base = naming.resolve(node.value, depth)
    if base is None:
        return None
    key = naming.text(node.slice)
    if key and (base in SPACES or base == "__dict__"):
        return naming.aliases.get(key, key)
    if key and base == "sys.modules":
        return key
    return f"{base.removesuffix('.__dict__')}.{key}" if key and base.endswith(".__dict__") else None


def _inner(naming: Naming, node: ast.AST, depth: int) -> str | None:
    assert isinstance(node, ast.Await | ast.NamedExpr)
    return naming.resolve(node.value, depth)


def _choice(naming: Naming, node: ast.AST, depth: int) -> str | None:
    """`(eval if x else exec)`, `a or b`: the last of them that has a name."""
    options = (
        [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values if isinstance(node, ast.BoolOp) else []
    )
    return next((found for one in reversed(options) if (found := naming.resolve(one, depth))), None)


TARGETS = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Await, ast.IfExp, ast.BoolOp)
KINDS: Mapping[type[ast.AST], Callable[[Naming, ast.AST, int], str | None]] = {
    ast.Name: _name, ast.Attribute: _attribute, ast.Call: _call, ast.Subscript: _subscript, ast.Await: _inner,
    ast.NamedExpr: _inner, ast.IfExp: _choice, ast.BoolOp: _choice,
}  # fmt: skip
