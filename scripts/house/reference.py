"""docs/reference, generated from the code: settings, commands, REST."""

import sys
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import typer
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute, RouteContext, iter_route_contexts
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from typer.core import TyperGroup
from typer.main import get_command

from atom import settings
from atom.identity.guard import Requires, public
from atom.infra.database_url import parse_database_url

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "docs/reference"
NOTE = "Generated from the code by `scripts/reference`; do not edit."
KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path", SecretStr: "secret"}
Command = Any  # typer brings a click of its own, which it does not export
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def render() -> dict[str, str]:
    """Every generated page, by its path."""
    pages = {"settings.md": settings_page()}
    if command := command_line():
        pages["cli.md"] = commands_page(command)
    if app := application():
        pages["api.md"] = api_page(app)
    return {f"{FOLDER}/{name}": text for name, text in pages.items()}


def stale(root: Path, pages: dict[str, str]) -> list[str]:
    """The pages that do not say what the code says."""
    return [
        name for name, text in pages.items() if not (root / name).is_file() or (root / name).read_text("utf-8") != text
    ]


def variables() -> set[str]:
    return set(settings.PLAIN) | {settings.variable_name(*place) for place in settings.FIELDS}


def command_line() -> Command:
    return get_command(import_module("atom.cli.app").build()) if find_spec("atom.cli.app") else None


def application() -> FastAPI | None:
    """The app as a server would make it. Wiring opens nothing, so no database is needed."""
    if not find_spec("atom.web.app") or not find_spec("atom.wiring"):
        return None
    values = settings.load({"ATOM_HOME": str(ROOT / "build" / "nowhere")})
    url = parse_database_url(SecretStr("postgresql://atom@localhost/atom"))
    parts = import_module("atom.wiring").build(values, url, url).parts
    routers = import_module("atom.web.routes").routers(values, parts)
    app: FastAPI = import_module("atom.web.app").create_app(routers, values.web)
    return app


def commands() -> set[str]:
    """Full names of all commands and groups, without `atom`."""
    command = command_line()
    return {" ".join(words) for words, _ in _walk(command, ())} - {""} if command else set()


def settings_page() -> str:
    lines = [
        "# Settings", "", NOTE, "",
        "Atom reads its settings from the environment, once, at start. An unknown `ATOM_` name stops the start.",
        "`atom config show` prints the effective values with their source.", "",
    ]  # fmt: skip
    for group in ("", *settings.GROUPS):
        lines += [f"## {group or 'general'}", "", "| setting | default | values | meaning |", "|---|---|---|---|"]
        lines += [_row(group, name, field) for (of, name), field in settings.FIELDS.items() if of == group]
        lines.append("")
    return "\n".join(lines)


def commands_page(command: Command) -> str:
    lines = [
        "# Commands",
        "",
        NOTE,
        "",
        "Exit status: 0 done, 1 the answer is no, 2 usage, 3 cannot reach Atom or could not run.",
        "",
    ]
    return "\n".join([*lines, *(line for words, entry in _walk(command, ()) for line in _command(words, entry))])


def _command(words: tuple[str, ...], entry: Command) -> list[str]:
    context = typer.Context(entry, info_name=" ".join(("atom", *words)))
    title = [f"## {context.info_name}", "", _one_line(entry.help), ""]
    if isinstance(entry, TyperGroup):
        return title
    usage = " ".join(entry.collect_usage_pieces(context))
    example = _one_line((entry.epilog or "").replace("\b", "")).removeprefix("Example: ")
    rows = [record for parameter in entry.get_params(context) if (record := parameter.get_help_record(context))]
    return [
        *title,
        f"`{context.info_name} {usage}`",
        "",
        *([f"Example: `{example}`", ""] if example else []),
        "| option | meaning |",
        "|---|---|",
        *(f"| `{_cell(name)}` | {_cell(text)} |" for name, text in rows),
        "",
    ]


def api_page(app: FastAPI) -> str:
    lines = [
        "# REST API",
        "",
        NOTE,
        "",
        "Every route needs the header `Authorization: Bearer TOKEN` with the permission it names; `public` needs none.",
        "Errors (401, 403, 404, 409, 413, 422, 429, 500, 503) are `application/problem+json` with a stable `code`.",
        "Lists take `limit` and `after`, and answer `items` and `next`.",
        "",
        "| method | path | permission | answers | meaning |",
        "|---|---|---|---|---|",
    ]
    contexts = sorted(iter_route_contexts(app.routes), key=lambda context: context.path or "")
    rows = [row for context in contexts for row in _route(app, context)]
    return "\n".join([*lines, *rows, ""])


def _route(app: FastAPI, context: RouteContext) -> list[str]:
    route = context.original_route
    if isinstance(route, APIWebSocketRoute):
        return [f"| WebSocket | `{context.path}` | {_permission(context.dependant)} | 101 | {_first(route.endpoint)} |"]
    if not isinstance(route, APIRoute) or not context.include_in_schema:
        return []
    described = app.openapi()["paths"][context.path_format]
    return [
        f"| {method} | `{context.path}` | {_permission(context.dependant)} "
        f"| {_successes(described[method.lower()])} | {_first(route.endpoint)} |"
        for method in sorted(context.methods or ())
    ]


def _successes(operation: dict[str, Any]) -> str:
    return ", ".join(status for status in operation["responses"] if status < "4")


def _permission(dependant: Dependant) -> str:
    for inner in dependant.dependencies:
        if inner.call is public:
            return "public"
        if isinstance(inner.call, Requires):
            return f"`{inner.call.permission.value}`"
        if (found := _permission(inner)) != "none":
            return found
    return "none"


def _first(endpoint: Callable[..., Any]) -> str:
    """The first paragraph of the handler's docstring, else its name in words."""
    said = (endpoint.__doc__ or "").strip().split("\n\n")[0]
    return _cell(said) or endpoint.__name__.replace("_", " ").capitalize() + "."


def _walk(command: Command, words: tuple[str, ...]) -> list[tuple[tuple[str, ...], Command]]:
    rows: list[tuple[tuple[str, ...], Command]] = [(words, command)]
    if isinstance(command, TyperGroup):
        context = typer.Context(command)
        for name in command.list_commands(context):
            sub: Command = command.resolve_command(context, [name])[1]  # a group may load its commands here
            rows += [] if sub.hidden else _walk(sub, (*words, name))
    return rows


def _row(group: str, name: str, field: FieldInfo) -> str:
    variable = settings.variable_name(group, name)
    plain = [word for word, place in settings.PLAIN.items() if place == (group, name) and word != variable]
    names = " or ".join(f"`{word}`" for word in [variable, *plain])
    return f"| {names} | {_default(field)} | {_values(field)} | {_cell(field.description or '')} |"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if field.is_required() or value is None or value == ():
        return "unset"
    text = (
        ",".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)
    )
    return f"`{text}`"


def _values(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) in {UnionType, type(int | None)}:
        kind = next(part for part in get_args(kind) if part is not type(None))
    bounds = [
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in SIGNS.items()
        if hasattr(rule, name)
    ]
    if get_args(kind) and all(isinstance(part, str) for part in get_args(kind)):
        return ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "list"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(kind)
    return ", ".join([KINDS.get(kind, "text"), *bounds]) if isinstance(kind, type) else "text"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def main() -> int:
    pages = render()
    for name in stale(ROOT, pages):
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(pages[name], encoding="utf-8")
        print(f"reference: wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
