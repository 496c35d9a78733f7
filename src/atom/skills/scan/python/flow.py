"""Where values of a Python text come from, and where they go. Names are followed, objects are not."""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from atom.skills.scan import places
from atom.skills.scan.models import Budget, Label
from atom.skills.scan.python.calls import COMMANDS, DECODES, FETCHES, KEYRINGS, NETWORK
from atom.skills.scan.python.folding import Folder

ROUNDS = 4  # through assignments and calls of own functions
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SCOPE = int


@dataclass(slots=True)
class Flow:
    """`labels_of` a name holds for a function; what is assigned outside of all holds everywhere."""

    budget: Budget
    folder: Folder
    resolve: Callable[[ast.AST], str | None]
    names: dict[tuple[SCOPE, str], Label] = field(default_factory=lambda: defaultdict(lambda: Label.NONE))
    returns: dict[str, Label] = field(default_factory=lambda: defaultdict(lambda: Label.NONE))
    scopes: dict[int, SCOPE] = field(default_factory=dict)
    owners: dict[int, ast.AST] = field(default_factory=dict)

    def follow(self, tree: ast.Module) -> None:
        steps = []
        for scope, node, function in _scoped(tree):
            self.budget.spend()
            if isinstance(node, RELEVANT):
                steps.append((scope, node))
            if isinstance(node, ast.Return | ast.Yield) and function is not None:
                self.owners[id(node)] = function
        functions = {node.name: node for _, node in steps if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        for scope, node in steps:
            if isinstance(node, ast.Call):
                self.scopes[id(node)] = scope
        for _ in range(ROUNDS):
            before = (dict(self.names), dict(self.returns))
            for scope, node in steps:
                self._step(scope, node, functions)
            if before == (self.names, self.returns):
                return

    def labels(self, node: ast.AST, scope: SCOPE) -> Label:
        """Of everything in an expression together. One item by its name (`x["token"]`) is not all that it is from."""
        found, reads = Label.NONE, False
        for one, picked in self._parts(node):
            self.budget.spend()
            label = Label.NONE
            if isinstance(one, ast.Name | ast.Attribute):
                label = self._of_name(one, scope)
                label |= Label.ENVIRONMENT if not picked and self._is_environment(node, one) else Label.NONE
            elif isinstance(one, ast.Call):
                label = self._call(one)
                reads = reads or READS.search(self.resolve(one.func) or _method(one)) is not None
            found |= label & ~WHOLE if picked else label
        return found | Label.CREDENTIAL if reads and Label.PLACE in found and not found & FOUND else found

    def _of_name(self, node: ast.Name | ast.Attribute, scope: SCOPE) -> Label:
        if isinstance(node, ast.Attribute):
            return self.names.get((0, f".{node.attr}"), Label.NONE)
        return self.names.get((scope, node.id), Label.NONE) | self.names.get((0, node.id), Label.NONE)

    def _parts(self, node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
        """Every node below; True for what one item is taken out of. What a process is started with is left out."""
        waiting: list[tuple[ast.AST, bool]] = [(node, False)]
        while waiting:
            one, picked = waiting.pop()
            yield one, picked
            taken = one.value if isinstance(one, ast.Subscript) and self.folder.text(one.slice) is not None else None
            if (
                isinstance(one, ast.Call)
                and isinstance(one.func, ast.Attribute)
                and one.func.attr == "get"
                and one.args
            ):
                taken = one.func
            children = [c for c in ast.iter_child_nodes(one) if not (isinstance(c, ast.keyword) and c.arg == "env")]
            waiting.extend((child, picked or child is taken) for child in children)

    def _is_environment(self, whole: ast.AST, node: ast.expr) -> bool:
        """All of it; one name of it is something else."""
        if self.resolve(node) not in {"os.environ", "os.environb"}:
            return False
        for one in ast.walk(whole):
            self.budget.spend()
            if isinstance(one, ast.Subscript) and one.value is node:
                return False
            if isinstance(one, ast.Attribute) and one.value is node and one.attr not in {"items", "copy", "values"}:
                return False
            if isinstance(one, ast.keyword) and one.arg == "env" and one.value is node:
                return False
            if isinstance(one, ast.Compare) and node in one.comparators:
                return False
        return True

    def _call(self, node: ast.Call) -> Label:
        name = self.resolve(node.func) or _method(node)
        if isinstance(node.func, ast.Name) and node.func.id in self.returns:
            return self.returns[node.func.id]
        if DECODES.search(name):
            return Label.DECODED
        if KEYRINGS.search(name):
            return Label.CREDENTIAL
        if NETWORK.search(name) and FETCHES.search(name):
            return Label.DOWNLOADED
        if COMMANDS.search(name):
            return _said_by(self.folder, node)
        return self._of_path(node, name)

    def _of_path(self, node: ast.Call, name: str) -> Label:
        """Of any call that is given a path: what it gives back may be what lies there."""
        for argument in [*node.args[:3], *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]:
            text = self.folder.text(argument)
            if text is None:
                found = self.folder.fold(argument)
                text = found.text.rpartition("\0")[2] if found is not None else ""
            found_there = places.label(text) if text else Label.NONE
            if found_there:
                return Label.PLACE | found_there if READS.search(name) else Label.PLACE
        return Label.NONE

    def _step(self, scope: SCOPE, node: ast.AST, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]) -> None:
        for targets, value in self._given(node):
            found = self.labels(value, scope)
            for target in targets if found else ():
                self._mark(scope, target, found)
        if isinstance(node, ast.Call):
            self._arguments(scope, node, functions)

    def _given(self, node: ast.AST) -> Iterator[tuple[list[ast.AST], ast.expr]]:
        """What is given which value."""
        if isinstance(node, ast.Assign):
            yield [*node.targets], node.value
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
            yield [node.target], node.value
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            yield [node.target], node.iter
        elif isinstance(node, ast.With | ast.AsyncWith):
            for one in node.items:
                if one.optional_vars is not None:
                    yield [one.optional_vars], one.context_expr
        elif isinstance(node, ast.Return | ast.Yield) and node.value is not None and id(node) in self.owners:
            yield [self.owners[id(node)]], node.value

    def _mark(self, scope: SCOPE, target: ast.AST, found: Label) -> None:
        if isinstance(target, ast.FunctionDef | ast.AsyncFunctionDef):
            self.returns[target.name] |= found
        for one in ast.walk(target) if not isinstance(target, FUNCTIONS) else ():
            if isinstance(one, ast.Name):
                self.names[scope, one.id] |= found
            elif isinstance(one, ast.Attribute):
                self.names[0, f".{one.attr}"] |= found

    def _arguments(
        self, scope: SCOPE, node: ast.Call, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]
    ) -> None:
        """What an own function is called with; what a list or dict is given (`found.append(x)`)."""
        if isinstance(node.func, ast.Name) and node.func.id in functions:
            called = functions[node.func.id]
            named = [one.arg for one in called.args.args]
            pairs = [*zip(named, node.args, strict=False), *((one.arg, one.value) for one in node.keywords)]
            for name, value in pairs:
                if name is not None and (found := self.labels(value, scope)):
                    self.names[id(called), name] |= found
        elif isinstance(node.func, ast.Attribute) and node.func.attr in {
            "append",
            "add",
            "update",
            "extend",
            "write",
            "insert",
        }:
            for value in node.args:
                if found := self.labels(value, scope):
                    self._mark(scope, node.func.value, found)


READS = re.compile(
    r"(^|\.)(open|read|read_text|read_bytes|readlines?|load|loads|connect|copy\w*|run|check_output|getoutput|popen)$"
)
WHOLE = Label.ENVIRONMENT | Label.OWN_SECRET | Label.ACCOUNT | Label.PLACE
FOUND = Label.CREDENTIAL | Label.ACCOUNT | Label.OWN_SECRET


def _method(node: ast.Call) -> str:
    return f".{node.func.attr}" if isinstance(node.func, ast.Attribute) else ""


RELEVANT = (
    ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.With, ast.AsyncWith,
    ast.comprehension,
    ast.Return, ast.Call, ast.FunctionDef, ast.AsyncFunctionDef, ast.Yield,
)  # fmt: skip


def _scoped(tree: ast.Module) -> Iterator[tuple[SCOPE, ast.AST, ast.AST | None]]:
    """Every node with the innermost function it is in; 0 outside of all."""
    waiting: list[tuple[SCOPE, ast.AST, ast.AST | None]] = [(0, tree, None)]
    while waiting:
        scope, node, function = waiting.pop()
        yield scope, node, function
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            scope, function = id(node), node
        waiting.extend((scope, child, function) for child in reversed(list(ast.iter_child_nodes(node))))


def _said_by(folder: Folder, node: ast.Call) -> Label:
    """Of what a command prints."""
    first = node.args[0] if node.args else None
    if isinstance(first, ast.List | ast.Tuple):
        words = [folder.text(one) or "" for one in first.elts[:30]]
    else:
        words = (folder.text(first) or "").split() if first is not None else []
    text = " ".join(words)
    if (
        any(places.is_credential(word) for word in words)
        or "find-generic-password" in text
        or "find-internet-password" in text
    ):
        return Label.CREDENTIAL
    if words and words[0].rpartition("/")[2] in {"curl", "wget"}:
        return Label.DOWNLOADED
    return Label.ENVIRONMENT if text in {"env", "printenv", "set"} else Label.NONE
