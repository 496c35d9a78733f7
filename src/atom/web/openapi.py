"""What FastAPI cannot know of our routes: the credential and permission of each operation, and how errors look."""

from collections.abc import Sequence
from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute

from atom.identity.guard import Requires, calls_of

SCHEME = "bearer"
NEEDS_CALLER = ("401", "403")
PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}


def complete(schema: dict[str, Any], routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """`schema` with `security` and `x-permission` on each operation; one that is public answers no 401 and no 403."""
    schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes[SCHEME] = {"type": "http", "scheme": "bearer", "description": "An API key: `atom token create`."}
    for path, method, needed in _operations(routes):
        operation = schema["paths"].get(path, {}).get(method)
        if operation is not None:
            _complete(operation, needed)
    return schema


def _complete(operation: dict[str, Any], needed: Sequence[Requires]) -> None:
    if needed:
        operation["security"] = [{SCHEME: []}]
        operation["x-permission"] = needed[0].permission.value
    else:
        for status in NEEDS_CALLER:
            operation["responses"].pop(status, None)
    for answer in operation["responses"].values():
        if PROBLEM in answer.get("content", {}).values():
            answer["content"] = {"application/problem+json": PROBLEM}


def _operations(routes: Sequence[BaseRoute]) -> list[tuple[str, str, list[Requires]]]:
    found = []
    for context in iter_route_contexts(routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            needed = [call for call in calls_of(route.dependant) if isinstance(call, Requires)]
            found += [(context.path_format or "", method.lower(), needed) for method in context.methods or ()]
    return found
