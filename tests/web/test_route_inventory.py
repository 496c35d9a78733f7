"""Every way in names who may take it, and refuses everybody else."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import Depends
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts
from sqlalchemy import event, make_url, text

from atom.identity import tokens
from atom.identity.guard import GuardedRoute, Requires, calls_of, public
from atom.identity.models import GRANTS, Permission, Role
from atom.infra.db import unit_of_work
from atom.settings import WebSettings
from atom.web.app import AtomApi, create_app
from atom.web.openai.errors import OpenAiRoute
from atom.web.routes import routers
from atom.web.testing import RunningAtom, settings_for_tests
from atom.wiring import build
from tests.support import raw_http

SIGNED = "/api/triggers/{trigger}/webhook"  # its signature says who sends
PUBLIC = {"/health/live", "/health/ready", "/metrics", "/health/metrics", SIGNED}
SOME_ID = "01a20a0d-8e88-7117-9c08-46edfd98777f"


def make_app(**web: Any) -> AtomApi:
    """The application as every process makes it; nothing is connected."""
    settings = settings_for_tests(Path("/nowhere"), web=WebSettings(**web))
    nowhere = make_url("postgresql+psycopg://nobody@127.0.0.1:9/none")
    return create_app(routers(settings, build(settings, nowhere, nowhere).parts), settings.web)


@pytest.fixture(scope="module")
def app() -> AtomApi:
    return make_app()


def unguarded(app: AtomApi) -> list[str]:
    """Routes that declare neither a permission nor that they are public, or both."""
    found = []
    for path, route in leaves(app):
        declared = declarations(route)
        needs = [one for one in declared if isinstance(one, Requires)]
        if bool(needs) == (public in declared):
            found.append(path)
    return found


def leaves(app: AtomApi) -> Iterator[tuple[str, Any]]:
    for context in iter_route_contexts(app.routes):
        yield str(context.path), context.original_route


def declarations(route: Any) -> list[object]:
    return list(calls_of(route.dependant)) if isinstance(route, APIRoute | APIWebSocketRoute) else []


def test_every_route_declares_its_permission(app: AtomApi) -> None:
    paths = {path for path, _ in leaves(app)}
    assert {"/api/agents/{agent}", "/api/social/ws/feed", "/metrics", "/api/runs/{run_id}/events"} <= paths
    assert len(paths) > 25
    assert unguarded(app) == []
    assert {path for path, route in leaves(app) if public in declarations(route)} == PUBLIC
    assert {type(route) for _, route in leaves(app)} == {GuardedRoute, OpenAiRoute, APIWebSocketRoute}


def test_metrics_can_be_closed() -> None:
    app = make_app(metrics_public=False)
    assert unguarded(app) == []
    open_to_all = {path for path, route in leaves(app) if public in declarations(route)}
    assert open_to_all == {"/health/live", "/health/ready", SIGNED}


def test_the_inventory_finds_a_route_that_declares_nothing(web: RunningAtom) -> None:
    """Also a WebSocket, and one that a framework's own mount would add."""
    app = make_app()

    async def nothing() -> None: ...

    app.add_api_route("/open", nothing)
    app.add_api_route(
        "/both", nothing, dependencies=[Depends(public), Depends(web.atom.parts.guard.requires(Permission.OPS_READ))]
    )
    app.add_api_websocket_route("/ws", nothing)
    app.add_route("/plain", nothing)  # type: ignore[arg-type]
    app.mount("/mount", AtomApi())
    assert set(unguarded(app)) == {"/open", "/both", "/ws", "/plain", "/mount"}


def test_the_permissions_are_these() -> None:
    """A change here is a change of who may do what: make it on purpose."""
    assert {role.value: sorted(p.value for p in GRANTS[role]) for role in Role if role is not Role.ADMIN} == {
        "viewer": [
            "agents:read", "approvals:read", "audit:read", "feed:read", "governance:read", "jobs:read",
            "memory:read", "models:read", "ops:read", "runs:read", "skills:read",
            "triggers:read",
        ],
        "operator": [
            "agents:read", "agents:write", "approvals:read", "approvals:write", "audit:read", "feed:read",
            "governance:read", "jobs:read", "jobs:write", "memory:read", "memory:write", "models:read", "ops:read",
            "runs:read", "runs:write", "skills:read", "skills:write", "triggers:read", "triggers:write",
        ],
        "agent": ["agents:read", "runs:read", "runs:write"],
    }  # fmt: skip
    assert GRANTS[Role.ADMIN] == frozenset(Permission)


Operation = tuple[str, str, Permission]


@pytest.fixture(scope="module")
def operations(app: AtomApi) -> list[Operation]:
    """Method, concrete path and permission of every protected HTTP route and of the WebSocket (method WS)."""
    found = []
    for context in iter_route_contexts(app.routes):
        route: Any = context.original_route
        needed = [one for one in declarations(route) if isinstance(one, Requires)]
        path = str(context.path).replace("{agent}", "nobody")
        for name in ("run_id", "job_id", "token_id", "conversation_id", "proposal_id", "episode_id"):
            path = path.replace(f"{{{name}}}", SOME_ID)
        methods = ["WS"] if isinstance(route, APIWebSocketRoute) else sorted(context.methods or ())
        found += [(method, path, needed[0].permission) for method in methods if needed]
    return found


def call(web: RunningAtom, method: str, path: str, *headers: str) -> Any:
    host = f"Host: {web.url.removeprefix('http://')}"
    if method == "WS":
        upgrade = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        lines = [f"GET {path} HTTP/1.1", host, *upgrade, "Connection: Upgrade", *headers, "", ""]
        return raw_http.send(web.url, "\r\n".join(lines).encode())
    body = b"{not json" if method in {"POST", "PATCH", "PUT"} else b""
    return raw_http.send(
        web.url, raw_http.request(method, path, host, "Content-Type: application/json", *headers, body=body)
    )


def code_of(answer: raw_http.Answer) -> str:
    """Errors below /v1 have the shape of that protocol, and our codes."""
    body = answer.json()
    return str(body["error"]["code"] if "error" in body else body["code"])


async def issue(web: RunningAtom, role: Role) -> dict[str, Any]:
    answer = await web.http.post("/api/tokens", json={"name": f"{role} {uuid4().hex[:6]}", "role": role.value})
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json()
    return made


async def expired(web: RunningAtom) -> str:
    made = await issue(web, Role.ADMIN)
    async with unit_of_work(web.atom.parts.base.sessions) as session:
        query = text("UPDATE api_key SET expires_at = now() - interval '1 second' WHERE id = :id")
        await session.execute(query, {"id": UUID(made["id"])})
    return str(made["token"])


async def revoked(web: RunningAtom) -> str:
    made = await issue(web, Role.ADMIN)
    assert (await web.http.delete(f"/api/tokens/{made['id']}")).status_code == 204
    return str(made["token"])


def wrong_secret(token: str) -> str:
    """The right key id with another secret, and a checksum that fits."""
    other = tokens.generate().text.split("_")
    body = "_".join(["atom", "key", token.split("_")[2], other[3]])
    return f"{body}_{tokens._checksum(body)}"


async def refusals(web: RunningAtom) -> dict[str, tuple[list[str], str]]:
    token = web.token
    return {
        "absent": ([], "credential_missing"),
        "empty": (["Authorization:"], "credential_invalid"),
        "scheme only": (["Authorization: Bearer"], "credential_invalid"),
        "other scheme": ([f"Authorization: Basic {token}"], "credential_invalid"),
        "no scheme": ([f"Authorization: {token}"], "credential_invalid"),
        "garbage": (["Authorization: Bearer \xff\x00garbage'; --".replace("\x00", "")], "credential_invalid"),
        "wrong checksum": ([f"Authorization: Bearer {token[:-8]}00000000"], "credential_invalid"),
        "wrong secret": ([f"Authorization: Bearer {wrong_secret(token)}"], "credential_invalid"),
        "unknown key": ([f"Authorization: Bearer {tokens.generate().text}"], "credential_invalid"),
        "twice the same": ([f"Authorization: Bearer {token}"] * 2, "credential_invalid"),
        "right and wrong": ([f"Authorization: Bearer {token}", "Authorization: Bearer x"], "credential_invalid"),
        "list in one header": ([f"Authorization: Bearer {token}, Bearer x"], "credential_invalid"),
        "expired": ([f"Authorization: Bearer {await expired(web)}"], "credential_invalid"),
        "revoked": ([f"Authorization: Bearer {await revoked(web)}"], "credential_invalid"),
        "in the query only": ([f"X-Api-Key: {token}", f"Cookie: token={token}"], "credential_missing"),
    }


async def test_every_route_refuses_every_bad_credential_before_it_reads_the_body(
    web: RunningAtom, operations: list[Operation]
) -> None:
    bad = await refusals(web)
    few = asyncio.Semaphore(8)  # as many as the pool has connections: this is no test of its queue

    async def refused(method: str, path: str, headers: list[str]) -> Any:
        async with few:
            return await call(web, method, path, *headers)

    for name, (headers, code) in bad.items():
        done = await asyncio.gather(*(refused(method, path, headers) for method, path, _ in operations))
        for (method, path, _), answer in zip(operations, done, strict=True):
            said = (
                answer.status,
                code_of(answer),
                answer.headers["content-type"],
                answer.headers["www-authenticate"],
            )
            kind = "application/json" if path.startswith("/v1/") else "application/problem+json"
            assert said == (401, code, kind, "Bearer"), (name, method, path)


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_opens_exactly_the_routes_of_its_permissions(
    web: RunningAtom, operations: list[Operation], role: Role
) -> None:
    token = (await issue(web, role))["token"]
    for method, path, permission in operations:
        answer = await call(web, method, path, f"Authorization: Bearer {token}")
        if permission in GRANTS[role]:
            assert answer.status not in {0, 401, 403, 500}, (method, path, answer)
        else:
            assert (answer.status, code_of(answer)) == (403, "permission_missing"), (method, path)
            assert permission.value in answer.body.decode(), (method, path)


async def test_a_credential_in_the_address_is_not_one(web: RunningAtom) -> None:
    for query in (f"token={web.token}", f"access_token={web.token}", f"api_key={web.token}"):
        assert (await call(web, "GET", f"/api/agents?{query}")).status == 401
        assert (await call(web, "WS", f"/api/social/ws/feed?{query}")).status == 401


async def test_a_revoked_token_is_refused_at_once(web: RunningAtom) -> None:
    made = await issue(web, Role.VIEWER)
    header = f"Authorization: Bearer {made['token']}"
    assert (await call(web, "GET", "/api/agents", header)).status == 200
    assert (await web.http.delete(f"/api/tokens/{made['id']}")).status_code == 204
    assert (await call(web, "GET", "/api/agents", header)).status == 401


async def test_a_call_asks_the_database_once_who_is_calling(web: RunningAtom) -> None:
    """The route's guard and its dependency share one look."""
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        asked.append(statement)

    engine = web.atom.parts.base.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert (await call(web, "GET", "/api/tools", f"Authorization: Bearer {web.token}")).status == 200
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert sum("FROM api_key" in statement for statement in asked) == 1
