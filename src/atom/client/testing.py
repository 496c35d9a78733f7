"""A small Atom to test clients against: the API's shapes in memory, with faults on request. It runs no model."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from atom.kit.ids import new_id

AT = "2026-01-01T00:00:00.000Z"
TOKEN = "atom_test_token"  # noqa: S105 - opens nothing but this fake
START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Say:
    """A delta: sent to whoever is connected when its turn comes, and never again."""

    step: str
    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Happen:
    """A durable event. `run` are fields of the run that change with it."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """The stream's connection breaks; `clean` ends it as if it were complete."""

    clean: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    seconds: float


Act = Say | Happen | Cut | Rest


@dataclass(slots=True)
class Fault:
    """The next `times` requests whose path starts with `path` get this reply."""

    path: str
    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class FakeAtom:
    """`script` is what every run does. `seen` lists the requests, `bodies` what JSON they carried, `files` uploads."""

    script: Sequence[Act] = ()
    token: str = TOKEN
    largest_body: int = 1_000_000
    seen: list[Seen] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    jobs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    past: list[dict[str, Any]] = field(default_factory=list)
    position: int = 0

    def app(self) -> ASGIApp:
        routes = [
            Route("/api/agents", self._agents, methods=["GET", "POST"]),
            Route("/api/agents/{agent}", self._agent, methods=["GET", "PATCH"]),
            Route("/api/agents/{agent}/versions", self._versions),
            Route("/api/agents/{agent}/files", self._upload, methods=["POST"]),
            Route("/api/agents/{agent}/runs", self._start, methods=["POST"]),
            Route("/api/agents/{agent}/index", self._index, methods=["POST"]),
            Route("/api/agents/{agent}/{verb}", self._turn, methods=["POST"]),
            Route("/api/runs", self._runs),
            Route("/api/runs/{id}", self._run),
            Route("/api/runs/{id}/steps", self._steps),
            Route("/api/runs/{id}/cancel", self._cancel, methods=["POST"]),
            Route("/api/runs/{id}/events", self._events),
            Route("/api/conversations/{id}", self._conversation),
            Route("/api/tools", self._tools),
            Route("/api/models", self._models),
            Route("/api/tokens", self._tokens, methods=["GET", "POST"]),
            Route("/api/tokens/{id}", self._revoke, methods=["DELETE"]),
            Route("/api/jobs", self._jobs),
            Route("/api/jobs/{id}", self._job),
            Route("/api/jobs/{id}/cancel", self._job, methods=["POST"]),
            Route("/health/{probe}", self._health),
            Route("/metrics", self._metrics),
            WebSocketRoute("/api/social/ws/feed", self._feed),
        ]
        return _Door(self, Starlette(routes=routes))

    def add_agent(self, name: str, **fields: Any) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "instructions": "",
            "tools": [],
            "model": None,
            "maturity": "student",
            "status": "active",
        }
        made = {"created_at": AT, "updated_at": AT}
        self.agents[name] = {"id": str(new_id()), "name": name, **plain, "version": 1, **made, **fields}
        return self.agents[name]

    def add_run(self, agent: str, task: str, **fields: Any) -> dict[str, Any]:
        empty = dict.fromkeys(("wait_reason", "answer", "error", "provider", "model", "model_note"))
        usage = {"input_tokens": None, "output_tokens": None, "model_calls": 0, "tool_calls": 0}
        run = {"id": str(new_id()), "agent": agent, "agent_id": str(new_id()), "conversation_id": str(new_id())}
        times = {"created_at": AT, "started_at": None, "ended_at": None}
        self.runs[run["id"]] = {**run, "status": "queued", "task": task, "sources": [], "usage": usage}
        self.runs[run["id"]].update({**empty, **times, **fields})
        return self.runs[run["id"]]

    async def frames(self, run_id: str | None, after: int) -> AsyncIterator[dict[str, Any] | Cut]:
        """Past events behind `after`, then the script from where it stands."""
        for event in [event for event in self.past if event["seq"] > after]:
            yield event
        while self.position < len(self.script):
            act = self.script[self.position]
            self.position += 1
            if isinstance(act, Rest):
                await asyncio.sleep(act.seconds)
            elif isinstance(act, Cut):
                yield act
                return
            elif isinstance(act, Say):
                numbers = {"step": act.step, "attempt": act.attempt, "offset": act.offset}
                yield {"type": "delta", "run_id": run_id, **numbers, "text": act.text}
            else:
                yield self._happen(act, run_id)

    def _happen(self, act: Happen, run_id: str | None) -> dict[str, Any]:
        event = {"seq": 10 * (len(self.past) + 1), "id": str(new_id()), "type": act.type, "at": AT, "actor": "system"}
        event.update({"agent_id": None, "run_id": run_id, "data": dict(act.data), "v": 1})
        self.past.append(event)
        if run_id is not None:
            self.runs[run_id].update(act.run)
        return event

    async def _agents(self, request: Request) -> Response:
        if request.method == "GET":
            status = request.query_params.get("status")
            return _page(request, [agent for agent in self.agents.values() if status in {None, agent["status"]}])
        body = await request.json()
        if body["name"] in self.agents:
            return problem(409, "agent_exists", f"There is an agent {body['name']}.", hint="Choose another name.")
        return JSONResponse(self.add_agent(**body), 201)

    async def _agent(self, request: Request) -> Response:
        found = self._find(request)
        if found is None:
            return _unknown("agent")
        if request.method == "PATCH":
            given = {name: value for name, value in (await request.json()).items() if value is not None}
            found.update(given, version=found["version"] + 1)
            found["model"] = found["model"] or None
        return JSONResponse(found)

    def _find(self, request: Request) -> dict[str, Any] | None:
        wanted = request.path_params["agent"]
        return next((agent for agent in self.agents.values() if wanted in {agent["name"], agent["id"]}), None)

    async def _turn(self, request: Request) -> Response:
        states = {"pause": "paused", "resume": "active", "retire": "retired"}
        found, verb = self._find(request), request.path_params["verb"]
        if found is None or verb not in states:
            return _unknown("agent")
        found["status"] = states[verb]
        return JSONResponse(found)

    async def _versions(self, request: Request) -> Response:
        found = self._find(request)
        if found is None:
            return _unknown("agent")
        kept = ("name", "instructions", "tools", "model", "maturity", "status")
        version = {"version": 1, "definition": {name: found[name] for name in kept}}
        return _page(request, [{**version, "changed_by": "admin:admin", "created_at": AT}])

    async def _upload(self, request: Request) -> Response:
        async with request.form(max_part_size=100_000_000) as form:
            file = form["file"]
            if not isinstance(file, UploadFile) or file.filename is None:
                return problem(422, "invalid_input", "file: is not a file.")
            self.files[file.filename] = await file.read()
            return JSONResponse({"path": f"in/{file.filename}", "bytes": len(self.files[file.filename])}, 201)

    async def _start(self, request: Request) -> Response:
        found, body = self._find(request), await request.json()
        if found is None:
            return _unknown("agent")
        if found["status"] != "active":
            return problem(409, "agent_not_active", f"{found['name']} is {found['status']}.", hint="Resume it first.")
        key = request.headers.get("idempotency-key", str(new_id()))
        if key not in self.keys:
            self.bodies.append(body)
            self.keys[key] = self.add_run(found["name"], body["task"])["id"]
        return JSONResponse(self.runs[self.keys[key]], 202)

    async def _index(self, request: Request) -> Response:
        job_id = next(iter(self.jobs))
        return JSONResponse({"job_id": job_id, "status_url": f"/api/jobs/{job_id}"}, 202)

    async def _runs(self, request: Request) -> Response:
        wanted = {name: request.query_params.get(name) for name in ("agent", "status")}
        return _page(
            request, [run for run in self.runs.values() if all(v in {None, run[k]} for k, v in wanted.items())]
        )

    async def _run(self, request: Request) -> Response:
        run = self.runs.get(request.path_params["id"])
        return JSONResponse(run) if run else _unknown("run")

    async def _steps(self, request: Request) -> Response:
        return _page(request, self.steps)

    async def _cancel(self, request: Request) -> Response:
        run = self.runs.get(request.path_params["id"])
        if run is None:
            return _unknown("run")
        if run["status"] in {"completed", "failed", "cancelled"}:
            return problem(409, "run_ended", "This run has ended.")
        run["status"] = "cancelled"
        return JSONResponse(run)

    async def _events(self, request: Request) -> Response:
        run_id = request.path_params["id"]
        if run_id not in self.runs:
            return _unknown("run")
        frames = self.frames(run_id, int(request.query_params.get("after", "0")))
        return StreamingResponse(_sse(frames), media_type="text/event-stream")

    async def _feed(self, socket: WebSocket) -> None:
        if socket.headers.get("authorization") != f"Bearer {self.token}":
            await socket.send_denial_response(problem(401, "unauthenticated", "No valid token."))
            return
        await socket.accept()
        run_id = next(iter(self.runs), None)
        async for frame in self.frames(run_id, int(socket.query_params.get("after", "0"))):
            if isinstance(frame, Cut):
                break
            await socket.send_text(json.dumps(frame))
        await socket.close(1012)

    async def _conversation(self, request: Request) -> Response:
        said = [{"role": "user", "content": "hello", "run_id": None}]
        return JSONResponse({"id": request.path_params["id"], "agent_id": str(new_id()), "messages": said})

    async def _tools(self, request: Request) -> Response:
        tool = {"name": "read_file", "description": "Reads a file.", "risk": 1, "effect": "read", "egress": False}
        return _page(request, [{**tool, "timeout": 5.0, "parameters": {"type": "object"}}])

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"provider": "local", "model": "m", "reason": "no key", "note": None, "configured": []})

    async def _tokens(self, request: Request) -> Response:
        if request.method == "GET":
            return _page(request, self.tokens)
        body = await request.json()
        made = {"id": str(new_id()), "name": body["name"], "role": body["role"], "expires_at": None}
        self.tokens.append(made)
        self.bodies.append(body)
        return JSONResponse({**made, "token": "atom_new_secret"}, 201)

    async def _revoke(self, request: Request) -> Response:
        kept = [token for token in self.tokens if token["id"] != request.path_params["id"]]
        if len(kept) == len(self.tokens):
            return _unknown("token")
        self.tokens[:] = kept
        return Response(status_code=204)

    async def _jobs(self, request: Request) -> Response:
        return _page(request, [states[0] for states in self.jobs.values()])

    async def _job(self, request: Request) -> Response:
        """Each look at a job sees its next state."""
        states = self.jobs.get(request.path_params["id"])
        if states is None:
            return _unknown("job")
        return JSONResponse(states.pop(0) if len(states) > 1 else states[0])

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "healthy", "version": "0", "checks": {"database": "healthy"}})

    async def _metrics(self, request: Request) -> Response:
        return PlainTextResponse("atom_up 1\n")


@dataclass(frozen=True, slots=True)
class _Door:
    """Notes each request, then the faults, the credential and the size are looked at."""

    atom: FakeAtom
    inside: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inside(scope, receive, send)
            return
        request = Request(scope)
        path = scope["path"]
        self.atom.seen.append(Seen(request.method, path, request.url.query, dict(request.headers)))
        refused = self._refusal(request, path)
        await (self.inside if refused is None else refused)(scope, receive, send)

    def _refusal(self, request: Request, path: str) -> Response | None:
        fault = next((fault for fault in self.atom.faults if fault.times > 0 and path.startswith(fault.path)), None)
        if fault is not None:
            fault.times -= 1
            return JSONResponse(dict(fault.body), fault.status, dict(fault.headers))
        if path.startswith("/api") and request.headers.get("authorization") != f"Bearer {self.atom.token}":
            return problem(401, "unauthenticated", "No valid token.", hint="Give one as Authorization: Bearer.")
        upload = path.endswith("/files")
        if not upload and int(request.headers.get("content-length", "0")) > self.atom.largest_body:
            return problem(413, "too_large", f"The body is larger than {self.atom.largest_body} bytes.")
        return None


@contextmanager
def serving(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """The address of a real server for `app` on the loopback, ended with the block."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(START_SECONDS)


def problem(status: int, code: str, detail: str, *, hint: str = "", **details: Any) -> Response:
    body = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail, "hint": hint}
    return JSONResponse({**body, **details}, status, media_type="application/problem+json")


def _unknown(what: str) -> Response:
    return problem(404, f"{what}_not_found", f"There is no such {what}.", hint=f"List the {what}s there are.")


def _page(request: Request, items: Sequence[Mapping[str, Any]]) -> Response:
    start, limit = int(request.query_params.get("after", "0")), int(request.query_params.get("limit", "50"))
    end = start + limit
    return JSONResponse({"items": items[start:end], "next": str(end) if end < len(items) else None})


async def _sse(frames: AsyncIterator[dict[str, Any] | Cut]) -> AsyncIterator[str]:
    yield ": connected\n\n"
    async for frame in frames:
        if isinstance(frame, Cut):
            if frame.clean:
                return
            raise ConnectionAbortedError
        if frame["type"] == "delta":
            yield f"event: delta\ndata: {json.dumps({k: v for k, v in frame.items() if k != 'type'})}\n\n"
        else:
            yield f"id: {frame['seq']}\nevent: {frame['type']}\ndata: {json.dumps(frame)}\n\n"
