"""What FastAPI cannot know of our routes: the credential and permission of each operation, and how errors look."""

from collections.abc import Sequence
from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute

from atom.identity.guard import Requires, calls_of, signed

SCHEME = "bearer"
NEEDS_CALLER = ("401", "403")
PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}


def complete(schema: dict[str, Any], routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """`schema` with `security` and `x-permission` on each operation; one that is public answers no 403, and no 401
    unless it is signed."""
    schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes[SCHEME] = {"type": "http", "scheme": "bearer", "description": "An API key: `atom token create`."}
    for path, method, calls in _operations(routes):
        operation = schema["paths"].get(path, {}).get(method)
        if operation is not None:
            _complete(operation, calls)
    return schema


def _complete(operation: dict[str, Any], calls: Sequence[object]) -> None:
    needed = [call for call in calls if isinstance(call, Requires)]
    if needed:
        operation["security"] = [{SCHEME: []}]
        operation["x-permission"] = needed[0].permission.value
    else:
        for status in NEEDS_CALLER[1:] if signed in calls else NEEDS_CALLER:
            operation["responses"].pop(status, None)
    for answer in operation["responses"].values():
        if PROBLEM in answer.get("content", {}).values():
            answer["content"] = {"application/problem+json": PROBLEM}


def _operations(routes: Sequence[BaseRoute]) -> list[tuple[str, str, list[object]]]:
    """Path, method, and what the route depends on."""
    found = []
    for context in iter_route_contexts(routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            calls = list(calls_of(route.dependant))
            found += [(context.path_format or "", method.lower(), calls) for method in context.methods or ()]
    return found
