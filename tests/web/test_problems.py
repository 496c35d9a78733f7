"""Every refusal has one shape and a stable code; nothing a caller sends is a bug of ours, or is said back to them."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from atom.errors import AtomError, InternalError, Kind, LimitedError, UnavailableError
from atom.web.errors import STATUS, from_error
from atom.web.testing import RunningAtom
from tests.support.raw_http import request, send

SECRET = "hunter2-very-secret"
JSON = {"Content-Type": "application/json"}


def problem_of(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that the answer must be."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert {"type", "title", "status", "code", "detail", "hint"} <= set(body)
    assert body["type"] == f"urn:atom:error:{code}"
    assert len(answer.headers["x-request-id"]) == 36
    return body


async def test_what_is_not_there_and_what_cannot_be_done_there(web: RunningAtom) -> None:
    problem_of(await web.http.get("/nope"), 404, "not_found")
    problem_of(await web.http.get("/api/nope"), 404, "not_found")
    problem_of(await web.http.post("/", json={}), 404, "not_found")
    wrong = await web.http.put("/api/agents", json={})
    problem_of(wrong, 405, "method_not_allowed")
    assert set(wrong.headers["allow"].split(", ")) <= {"GET", "POST"}
    problem_of(await web.http.get("/api/agents/nobody"), 404, "agent_not_found")
    problem_of(await web.http.get("/api/runs/01a20a0d-8e88-7117-9c08-46edfd98777f"), 404, "run_not_found")


BODIES: dict[str, bytes] = {
    "empty": b"",
    "half": b'{"name": "a',
    "trailing": b'{"name": "a"} x',
    "not utf-8": b'{"name": "caf\xe9"}',
    "array": b"[]",
    "text": b'"name"',
    "number": b"17",
    "null": b"null",
    "nan": b'{"name": NaN}',
    "deep": b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "long number": b'{"name": ' + b"9" * 10_000 + b"}",
    "lone surrogate as a value": b'{"name": "\\ud800"}',
    "lone surrogate as a field": b'{"\\udfff": 1, "name": "x"}',
    "nul as a value": b'{"name": "a\\u0000b"}',
    "nul as a field": b'{"a\\u0000b": 1, "name": "x"}',
    "a field that is not there": b'{"name": "x", "role": "admin", "maturty": "intern"}',
    "no name": b"{}",
    "wrong types": b'{"name": 1, "tools": "read_file", "instructions": [], "model": {}}',
    "ten thousand fields": json.dumps({"name": "x", **{f"f{n}": n for n in range(10_000)}}).encode(),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_makes_no_sense_is_a_problem_of_the_caller(web: RunningAtom, name: str) -> None:
    for path in ("/api/agents", "/api/agents/nobody/runs", "/api/tokens"):
        answer = await web.http.post(path, content=BODIES[name], headers=JSON)
        assert answer.status_code in {400, 404, 422}, (path, answer.text)
        problem_of(answer, answer.status_code, answer.json()["code"])
        assert answer.json()["code"] in {"bad_request", "invalid_request", "agent_invalid", "agent_not_found"}
        assert len(answer.content) < 10_000


TYPES = [
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "",
    "x",
]


@pytest.mark.parametrize("type_", TYPES)
async def test_json_is_taken_only_as_json(web: RunningAtom, type_: str) -> None:
    body = b'{"name": "by-another-type"}'
    answer = await web.http.post("/api/agents", content=body, headers={"Content-Type": type_})
    assert problem_of(answer, 422, "invalid_request")["field"] == "body"
    problem_of(await web.http.get("/api/agents/by-another-type"), 404, "agent_not_found")


@pytest.mark.parametrize(
    "type_", ["application/json", "text/plain", "multipart/form-data", "multipart/form-data; boundary="]
)
async def test_a_file_is_taken_only_as_a_form(web: RunningAtom, type_: str) -> None:
    body = b'{"file": {"filepath": "/etc/passwd", "filename": "x"}}'
    answer = await web.http.post("/api/agents/nobody/files", content=body, headers={"Content-Type": type_})
    assert answer.status_code in {400, 422}
    problem_of(answer, answer.status_code, answer.json()["code"])


async def test_a_body_past_the_bound_is_refused_however_it_is_sent(web: RunningAtom) -> None:
    big = b'{"task": "' + b"x" * 1_000_000 + b'"}'
    said = problem_of(await web.http.post("/api/agents/nobody/runs", content=big, headers=JSON), 413, "too_large")
    assert "ATOM_WEB__MAX_BODY_BYTES" in said["hint"]

    async def pieces() -> Any:
        for _ in range(40):
            yield b"x" * 50_000

    problem_of(await web.http.post("/api/agents/nobody/runs", content=pieces(), headers=JSON), 413, "too_large")
    problem_of(await web.http.post("/api/agents/nobody/pause", content=big), 413, "too_large")
    problem_of(await web.http.request("GET", "/api/agents", content=big), 413, "too_large")
    problem_of(await web.http.post("/nope", content=big), 413, "too_large")


async def test_an_upload_has_a_bound_of_its_own(web: RunningAtom) -> None:
    await web.agent("uploads")
    limit = web.atom.settings.web.max_upload_bytes
    fits = await web.http.post("/api/agents/uploads/files", files={"file": ("a.bin", b"x" * limit)})
    assert (fits.status_code, fits.json()["bytes"]) == (201, limit)
    over = await web.http.post("/api/agents/uploads/files", files={"file": ("a.bin", b"x" * (limit + 1))})
    problem_of(over, 413, "upload_too_large")
    far = await web.http.post("/api/agents/uploads/files", files={"file": ("a.bin", b"x" * (limit + 100_000))})
    problem_of(far, 413, "too_large")
    uploads = list(web.workspaces.rglob("uploads/*/*"))
    assert [path.name for path in uploads] == ["a.bin"]


QUERIES = [
    "/api/agents?limit=0",
    "/api/agents?limit=201",
    "/api/agents?limit=x",
    "/api/agents?limit=1e9",
    f"/api/agents?limit={'9' * 5000}",
    "/api/agents?after=zzz",
    "/api/agents?after=",
    "/api/agents?after=%00",
    "/api/agents?status=asleep",
    "/api/agents/x/versions?after=-1",
    "/api/agents/x/versions?after=%D9%A3",
    f"/api/agents/x/versions?after={'9' * 400}",
    "/api/runs?status=%ED%A0%80",
    "/api/runs?agent=a%00b",
    "/api/runs?agent=%ff%fe",
    "/api/agents/a%00b",
    "/api/agents/%ED%A0%80",
    "/api/agents/%F0%9F%92%A9",
    f"/api/agents/{'x' * 4000}",
    "/api/runs/1",
    "/api/runs/%00",
    "/api/jobs/nope",
    "/api/conversations/nope",
    "/api/runs/01a20a0d-8e88-7117-9c08-46edfd98777f/steps?after=x",
    "/api/runs/01a20a0d-8e88-7117-9c08-46edfd98777f/events?after=-1",
    f"/api/runs/01a20a0d-8e88-7117-9c08-46edfd98777f/events?after={10**30}",
]


@pytest.mark.parametrize("target", QUERIES)
async def test_an_address_that_makes_no_sense_is_a_problem_of_the_caller(web: RunningAtom, target: str) -> None:
    answer = await web.http.get(target)
    assert answer.status_code in {404, 422}, answer.text
    problem_of(answer, answer.status_code, answer.json()["code"])


async def test_what_was_sent_is_never_said_back(web: RunningAtom) -> None:
    """It may be a secret in the wrong field."""
    sent = [
        web.http.post("/api/tokens", json={"name": "n", "role": SECRET}),
        web.http.post("/api/tokens", json={"name": "n", "role": "admin", "expires_in_days": SECRET}),
        web.http.post("/api/agents", json={"name": "n", "tools": SECRET, "maturity": [SECRET]}),
        web.http.post("/api/agents/x/runs", json={"task": {"a": SECRET}, "conversation_id": SECRET}),
        web.http.post("/api/agents", content=f'{{"name": {SECRET}'.encode(), headers=JSON),
        web.http.post("/api/agents", content=SECRET.encode(), headers={"Content-Type": "text/plain"}),
        web.http.get("/api/agents", params={"status": SECRET, "limit": SECRET, "after": SECRET}),
        web.http.get(f"/api/runs/{SECRET}"),
        web.http.get("/api/agents", headers={"Authorization": f"Bearer {SECRET}"}),
    ]
    for answer in await asyncio.gather(*sent):
        assert answer.status_code in {401, 422}
        assert SECRET not in answer.text


async def test_a_problem_names_the_field(web: RunningAtom) -> None:
    wrong = await web.http.post("/api/tokens", json={"name": "n", "role": "king"})
    assert problem_of(wrong, 422, "invalid_request")["field"] == "role"
    broken = await web.http.post("/api/tokens", content=b'{"name": ', headers=JSON)
    assert problem_of(broken, 422, "invalid_request")["detail"] == "body: not valid JSON at character 9."
    cursor = await web.http.get("/api/agents?after=zzz")
    assert problem_of(cursor, 422, "invalid_input")["field"] == "after"


def test_every_kind_of_error_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


def test_what_may_pass_says_when_to_try_again() -> None:
    assert from_error(UnavailableError("Away.")).headers["retry-after"] == "2"
    assert from_error(LimitedError("Slow down.", retry_after=7.2)).headers["retry-after"] == "8"
    assert "retry-after" not in from_error(InternalError("A bug.")).headers


def test_a_detail_that_looks_like_a_secret_is_masked() -> None:
    shown = from_error(AtomError("No.", token="sk-1234567890abcdef", path="a")).body
    assert b"sk-1234567890abcdef" not in shown
    assert json.loads(bytes(shown))["path"] == "a"


RAW = {
    "no version": b"GET /api/agents\r\n\r\n",
    "nonsense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "negative length": request("POST", "/api/agents", "Host: localhost", "Content-Length: -1"),
    "two lengths": request("POST", "/api/agents", "Host: localhost", "Content-Length: 1", "Content-Length: 2"),
    "length and chunks": request(
        "POST", "/api/agents", "Host: localhost", "Content-Length: 4", "Transfer-Encoding: chunked", body=b""
    )
    + b"0\r\n\r\n",
    "bad chunk": request("POST", "/api/agents", "Host: localhost", "Transfer-Encoding: chunked") + b"zz\r\nabc\r\n",
    "header with a NUL": request("GET", "/api/agents", "Host: localhost", "X-A: a\x00b"),
    "folded header": request("GET", "/api/agents", "Host: localhost", "X-A: a", " b"),
    "space before the colon": request("GET", "/api/agents", "Host : localhost"),
}


@pytest.mark.parametrize("name", RAW)
async def test_bytes_that_are_no_request_get_no_500(web: RunningAtom, name: str) -> None:
    answer = await send(web.url, RAW[name])
    assert answer.status in {0, 400, 401, 422}
    assert (await web.http.get("/health/live")).status_code == 200


async def test_a_head_without_end_is_cut_off(web: RunningAtom) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + b"X-Fill: " + b"a" * 1_000_000 + b"\r\n\r\n"
    assert (await send(web.url, head)).status in {0, 400, 431}
