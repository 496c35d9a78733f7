"""The style budgets that no ready-made linter has: each rule reads one parsed file."""

import ast
import re
from collections.abc import Callable, Iterator

from scripts.house.tree import Problem, Source

FILE_LINES = 500
FUNCTION_LINES = 60
BANNED_NAME = re.compile(r"^(.*_)?(utils?|helpers?|manager)$|^core$|_v\d+$|^(enhanced|new)_")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|\bplaceholder\b|\bfor now\b|\bstubbed?\b")

# The supervisors: what they run may fail in any way, and they log it with the trace and go on.
SUPERVISORS = (
    "src/atom/web/server.py", "src/atom/runs/worker.py", "src/atom/durable/jobs.py", "src/atom/cli/app.py",
)  # fmt: skip
COMMITTERS = ("src/atom/infra/db.py", "src/atom/infra/schema.py", "src/atom/migrations/")
ENVIRONMENT = ("src/atom/settings/reading.py", "src/atom/llm/adapters/local_process.py")  # the second: of its child

Rule = Callable[[Source], Iterator[Problem]]


def file_length(file: Source) -> Iterator[Problem]:
    if len(file.lines) > FILE_LINES:
        yield file.problem(
            FILE_LINES, f"{len(file.lines)} lines; a file stops at {FILE_LINES}: does it answer one question?"
        )


def function_length(file: Source) -> Iterator[Problem]:
    for node in file.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield file.problem(node.lineno, f"{node.name} has {lines} lines; a function stops at {FUNCTION_LINES}")


def file_name(file: Source) -> Iterator[Problem]:
    for part in file.path.removesuffix(".py").split("/"):
        if BANNED_NAME.search(part):
            yield file.problem(1, f"the name {part!r} says nothing about what is inside")


def optional_import(file: Source) -> Iterator[Problem]:
    for node in file.nodes:
        if isinstance(node, ast.Try) and any(isinstance(part, ast.Import | ast.ImportFrom) for part in node.body):
            yield file.problem(node.lineno, "an import inside try: extras load in one adapter")


def unfinished(file: Source) -> Iterator[Problem]:
    if not file.inside("src/"):
        return
    for number, line in enumerate(file.lines, 1):
        if UNFINISHED.search(line):
            yield file.problem(number, f"unfinished: {line.strip()[:80]}")


def broad_except(file: Source) -> Iterator[Problem]:
    if not file.inside("src/") or file.inside(*SUPERVISORS):
        return
    for node in file.nodes:
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _raises_again(node):
            yield file.problem(node.lineno, "a broad except outside the supervisors: catch the narrow thing")


def commit(file: Source) -> Iterator[Problem]:
    if not file.inside("src/") or file.inside(*COMMITTERS):
        return
    for node in file.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit":
            yield file.problem(node.lineno, "commit(): only the unit of work in infra/db.py commits")


def environment(file: Source) -> Iterator[Problem]:
    if not file.inside("src/") or file.inside(*ENVIRONMENT):
        return
    for node in file.nodes:
        name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        imported = (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {n.name for n in node.names} & {"environ", "getenv"}
        )
        if name in {"os.environ", "os.getenv", "os.putenv"} or imported:
            yield file.problem(getattr(node, "lineno", 1), "the environment is read in settings/reading.py only")


def event_name(file: Source) -> Iterator[Problem]:
    if not file.inside("src/"):
        return
    for call in _calls(file, {"debug", "info", "warning", "error", "exception", "critical"}):
        if call.args and _is_built(call.args[0]):
            yield file.problem(call.lineno, "the event of a log line is constant: data goes into keys")


def built_sql(file: Source) -> Iterator[Problem]:
    if not file.inside("src/") or file.inside("src/atom/migrations/"):  # a migration has no input
        return
    for call in _calls(file, {"text", "execute", "exec_driver_sql", "executemany", "scalar", "scalars", "SQL"}):
        if call.args and _is_built(call.args[0]):
            yield file.problem(call.lineno, "SQL put together from strings: bind parameters, or psycopg.sql for names")


def own_code_patched(file: Source) -> Iterator[Problem]:
    if not file.inside("tests/"):
        return
    ours = {
        name for node in file.nodes if isinstance(node, ast.Import | ast.ImportFrom) for name in _bound_from_atom(node)
    }
    for call in _calls(file, {"patch", "object", "dict", "multiple", "setattr", "delattr"}):
        words = ast.unparse(call.func)
        if call.args and ("patch" in words) and _is_ours(call.args[0], ours):
            yield file.problem(call.lineno, "patches our own code: pass a fake through the constructor")


def asserts_nothing(file: Source) -> Iterator[Problem]:
    if not file.inside("tests/"):
        return
    for node in file.nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        if not re.search(r"assert|raises|pytest\.fail|expect", " ".join(ast.unparse(part) for part in node.body)):
            yield file.problem(node.lineno, f"{node.name} asserts nothing")


RULES: tuple[Rule, ...] = (
    file_length, function_length, file_name, optional_import, unfinished, broad_except, commit, environment, event_name,
    built_sql, own_code_patched, asserts_nothing,
)  # fmt: skip


def check(files: list[Source]) -> list[Problem]:
    problems: list[Problem] = []
    for file in files:
        try:
            file.nodes  # noqa: B018 - parses it once
        except SyntaxError as error:
            problems.append(file.problem(error.lineno or 1, f"does not parse: {error.msg}"))
            continue
        problems += [problem for rule in RULES for problem in rule(file)]
    return problems


def _calls(file: Source, names: set[str]) -> Iterator[ast.Call]:
    for node in file.nodes:
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in names:
                yield node


def _is_built(node: ast.expr) -> bool:
    """An f-string with a hole, `+` or `%` on strings, or `.format(...)`."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_format_of_text(node.func)


def _is_format_of_text(called: ast.Attribute) -> bool:
    """psycopg's `SQL(...).format(Identifier(...))` quotes what it is given; a plain string's does not."""
    return called.attr == "format" and not ast.unparse(called.value).startswith(("sql.SQL(", "SQL("))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_broad(node: ast.ExceptHandler) -> bool:
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds)


def _raises_again(node: ast.ExceptHandler) -> bool:
    last = node.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _bound_from_atom(node: ast.Import | ast.ImportFrom) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        ours = (node.module or "").split(".")[0] == "atom"
        return {name.asname or name.name for name in node.names} if ours else set()
    return {name.asname or "atom" for name in node.names if name.name.split(".")[0] == "atom"}


def _is_ours(node: ast.expr, ours: set[str]) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value.startswith("atom.")
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in ours
