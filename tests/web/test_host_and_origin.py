"""Only names this deployment answers to, only pages it trusts; nothing in a Host header moves a request elsewhere."""

import pytest

from atom.web.testing import RunningAtom
from tests.support.raw_http import Answer, request, send

EVIL = [
    "Host: evil.example",
    "Host: example.com/health?x=",
    "Host: localhost/health/live?x=",
    "Host: localhost/health/live#",
    "Host: localhost\\health",
    "Host: localhost@evil.example",
    "Host: evil.example@localhost",
    "Host: localhost:80@evil.example",
    "Host: localhost.evil.example",
    "Host: evil.example#localhost",
    "Host: evil.example?localhost",
    "Host: localhost,evil.example",
    "Host: localhost evil.example",
    "Host: localhost;x=1",
    "Host: localhost:port",
    "Host: localhost:8000:8000",
    "Host: localhost:999999",
    "Host: localhost:-1",
    "Host: localhost:",
    "Host: :8000",
    "Host: .localhost",
    "Host: localhost.",
    "Host: -localhost",
    "Host: 127.1",
    "Host: 2130706433",
    "Host: 0x7f000001",
    "Host: 127.0.0.1.evil.example",
    "Host: [::1",
    "Host: ::1",
    "Host: [::ffff:127.0.0.1]",
    "Host: [::1]evil.example",
    "Host: *",
    "Host: %6cocalhost",
    "Host: l\xf6calhost",
    "Host: http://localhost",
    "Host:",
    "Host: \t",
]
ROUTES = ("/api/agents", "/api/social/ws/feed")
PUBLIC = ("/health/live", "/health/ready", "/metrics")


async def ask(web: RunningAtom, target: str, *headers: str) -> Answer:
    return await send(web.url, request("GET", target, *headers))


def bearer(web: RunningAtom) -> str:
    return f"Authorization: Bearer {web.token}"


@pytest.mark.parametrize("line", EVIL)
async def test_a_strange_host_opens_nothing(web: RunningAtom, line: str) -> None:
    for route in ROUTES:
        with_token = await ask(web, route, line, bearer(web))
        assert with_token.status in {400, 422}, with_token
        assert with_token.status == 400 or with_token.json()["code"] == "host_refused"
        without = await ask(web, route, line)
        assert without.status in {400, 401, 422}, without


@pytest.mark.parametrize("line", EVIL[:4] + EVIL[-3:])
async def test_a_strange_host_does_not_close_what_is_public(web: RunningAtom, line: str) -> None:
    """A kubelet asks by the pod's address, a load balancer by its own name."""
    for route in PUBLIC:
        assert (await ask(web, route, line)).status in {200, 400}
    assert (await ask(web, "/health/live", "Host: 10.1.2.3:8000")).status == 200


async def test_a_request_has_one_host(web: RunningAtom) -> None:
    own = f"Host: {web.url.removeprefix('http://')}"
    for headers in ([], [own, own], [own, "Host: evil.example"], ["Host: evil.example", own]):
        answer = await ask(web, "/api/agents", *headers, bearer(web))
        assert answer.status in {400, 422}, headers


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:80"])
async def test_its_own_names_are_served_on_any_port(web: RunningAtom, host: str) -> None:
    assert (await ask(web, "/api/agents", f"Host: {host}", bearer(web))).status == 200


TARGETS = [
    "http://evil.example/api/agents",
    "http://evil.example/health/live",
    "//evil.example/api/agents",
    "/health/live/../../api/agents",
    "/health/live/%2e%2e/%2e%2e/api/agents",
    "/health/live;/api/agents",
    "/%61pi/agents",
    "/api/agents?x=/health/live",
    "/api//agents",
    "/API/agents",
    "/api/agents/",
    "/api/agents%00",
    "*",
]


@pytest.mark.parametrize("target", TARGETS)
async def test_no_spelling_of_a_path_steps_around_the_guard(web: RunningAtom, target: str) -> None:
    host = f"Host: {web.url.removeprefix('http://')}"
    answer = await ask(web, target, host)
    assert answer.status in {400, 401, 404} or b'{"status":"healthy"' in answer.body, answer
    assert b"items" not in answer.body
    assert "location" not in answer.headers, "a redirect would repeat the Host header of the caller"


ORIGINS = [
    "null",
    "https://evil.example",
    "http://evil.example:{port}",
    "http://{host}.evil.example",
    "http://evil{host}",
    "http://{host}@evil.example",
    "http://user@{host}",
    "http://{host}/",
    "http://{host}/path",
    "http://127.0.0.1:1",
    "http://127.0.0.1",
    "http://localhost:{port}",
    "ftp://{host}",
    "{host}",
    "file://",
    "http://127.0.0.1%2eevil.example",
    "http://l\xf6calhost:{port}",
    "http://xn--lcalhost-n4a:{port}",
    "http://{host} http://evil.example",
    "",
]


def upgrade(web: RunningAtom, *headers: str) -> bytes:
    host = web.url.removeprefix("http://")
    lines = [
        "GET /api/social/ws/feed HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        bearer(web),
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize("origin", ORIGINS)
async def test_a_foreign_page_may_not_call(web: RunningAtom, origin: str) -> None:
    host = web.url.removeprefix("http://")
    line = "Origin: " + origin.format(host=host, port=host.partition(":")[2])
    for answer in (
        await ask(web, "/api/agents", f"Host: {host}", line, bearer(web)),
        await send(web.url, upgrade(web, line)),
    ):
        assert (answer.status, answer.json()["code"]) == (403, "origin_refused")
        assert "access-control-allow-origin" not in answer.headers


async def test_its_own_page_and_a_program_without_a_page_may_call(web: RunningAtom) -> None:
    host = web.url.removeprefix("http://")
    for origin in (f"http://{host}", f"HTTP://{host}", f"https://{host}"):
        assert (await ask(web, "/api/agents", f"Host: {host}", f"Origin: {origin}", bearer(web))).status == 200
        assert (await send(web.url, upgrade(web, f"Origin: {origin}"))).status == 101
    assert (await send(web.url, upgrade(web))).status == 101


async def test_every_origin_that_is_given_must_be_trusted(web: RunningAtom) -> None:
    host = web.url.removeprefix("http://")
    lines = [f"Host: {host}", f"Origin: http://{host}", "Origin: https://evil.example", bearer(web)]
    assert (await ask(web, "/api/agents", *lines)).status == 403


async def test_a_preflight_of_a_foreign_page_is_granted_nothing(web: RunningAtom) -> None:
    lines = [f"Host: {web.url.removeprefix('http://')}", "Origin: https://evil.example"]
    answer = await send(web.url, request("OPTIONS", "/api/agents", *lines, "Access-Control-Request-Method: POST"))
    assert answer.status == 405
    assert not any(name.startswith("access-control") for name in answer.headers)
