"""REST: `/v1`, as clients of OpenAI speak it. An agent is a model; a call of it is a run like any other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from atom.agents.models import Agent, AgentStatus
from atom.agents.service import AgentService
from atom.feed.viewer import Viewer, ViewLimits
from atom.identity.guard import Guard
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.runs.control import RunControl
from atom.runs.journal import MAX_STEPS
from atom.runs.service import RunService
from atom.web.openai.answering import Answering, Call, ClientGoneError
from atom.web.openai.chat import ChatChunks, completion
from atom.web.openai.errors import RUN_FAILED, ErrorBody, OpenAiRoute
from atom.web.openai.outcome import Links, words
from atom.web.openai.requests import Asked, ChatBody, ResponseBody, read_chat, read_response, run_of
from atom.web.openai.responses import Frame, ResponseEvents, response
from atom.web.openai.watching import Standing

MAX_AGENTS = 1000
LIMITS = ViewLimits()
CLIENT_GONE = 499
SHAPES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 409, 413, 422, 429, RUN_FAILED, 503)
}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}, "text/event-stream": {}}, "description": "With `stream`: its events."}
}
Key = Annotated[str | None, Header(description="A request that comes again with its key is the same request.")]
NoCache = Annotated[str | None, Header(description="`no-cache`: ask the model, whatever the response cache has.")]


class ModelOut(BaseModel):
    id: str
    object: str = "model"
    created: int
    owned_by: str = "atom"


class ModelsOut(BaseModel):
    object: str = "list"
    data: list[ModelOut]


@dataclass(frozen=True, slots=True)
class Door:
    """What the routes stand on."""

    agents: AgentService
    runs: RunService
    control: RunControl
    answering: Answering
    sessions: Sessions
    guard: Guard


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that was started for a request."""

    call: Call
    created: int
    links: Links


def model_routes(door: Door) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=OpenAiRoute, responses=SHAPES)
    reader = Depends(door.guard.requires(Permission.AGENTS_READ))

    @router.get("/models", dependencies=[reader])
    async def list_agents_as_models() -> ModelsOut:
        """Each agent that can be given work."""
        async with unit_of_work(door.sessions) as session:
            found = await door.agents.page(session, status=AgentStatus.ACTIVE, before=None, limit=MAX_AGENTS)
        return ModelsOut(data=[_model(agent) for agent in found])

    @router.get("/models/{model:path}", dependencies=[reader])
    async def show_agent_as_model(model: str) -> ModelOut:
        async with unit_of_work(door.sessions) as session:
            return _model(await door.agents.get(session, model))

    return router


def chat_routes(door: Door) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=OpenAiRoute, responses=SHAPES)
    writer = door.guard.requires(Permission.RUNS_WRITE)
    Writer = Annotated[Principal, Depends(writer)]  # noqa: N806 - a type

    @router.post("/chat/completions", response_model=None, responses=STREAMED)
    async def complete_chat(
        request: Request, body: ChatBody, by: Writer, idempotency_key: Key = None, cache_control: NoCache = None
    ) -> Response:
        """Give an agent a task: the last message. What was said before is its context."""
        asked = read_chat(body, no_cache=_no_cache(cache_control))
        begun = await _begin(door, Viewer(request, writer, LIMITS), by, asked, idempotency_key)
        call = begun.call
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            whole = asked.order.options.response_schema is not None
            chunks = ChatChunks(call.run_id, body.model, begun.created, begun.links, whole=whole, with_usage=usage)
            return door.answering.streamed(call, chunks)
        try:
            standing = await door.answering.whole(call)
        except ClientGoneError:
            return Response(status_code=CLIENT_GONE)
        return _json(completion(body.model, begun.created, standing, begun.links))

    return router


def response_routes(door: Door) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=OpenAiRoute, responses=SHAPES)
    writer = door.guard.requires(Permission.RUNS_WRITE)
    Writer = Annotated[Principal, Depends(writer)]  # noqa: N806 - a type

    @router.post("/responses", response_model=None, responses=STREAMED)
    async def create_response(
        request: Request, body: ResponseBody, by: Writer, idempotency_key: Key = None, cache_control: NoCache = None
    ) -> Response:
        """Give an agent a task: the last message of the input."""
        asked = read_response(body, no_cache=_no_cache(cache_control))
        begun = await _begin(door, Viewer(request, writer, LIMITS), by, asked, idempotency_key)
        call = replace(begun.call, keep=begun.call.keep or bool(body.background))
        frame = Frame(call.run_id, body.model, begun.created, body.previous_response_id, body.instructions)
        if body.stream:
            events = ResponseEvents(frame, begun.links, whole=asked.order.options.response_schema is not None)
            return door.answering.streamed(call, events)
        if body.background:
            return _json(frame.response("queued", ()))
        try:
            standing = await door.answering.whole(call)
        except ClientGoneError:
            return Response(status_code=CLIENT_GONE)
        return _json(await _response(door, frame, standing, begun.links, foreground=True))

    @router.get("/responses/{response_id}", dependencies=[Depends(door.guard.requires(Permission.RUNS_READ))])
    async def show_response(request: Request, response_id: str) -> Mapping[str, Any]:
        """A response as it stands: queued, in progress, or ended."""
        return await _shown(door, request, response_id)

    @router.post("/responses/{response_id}/cancel")
    async def cancel_response(request: Request, response_id: str, by: Writer) -> Mapping[str, Any]:
        """End the run behind a response."""
        async with unit_of_work(door.sessions) as session:
            await door.control.cancel(session, by, run_of(response_id))
        return await _shown(door, request, response_id)

    return router


async def _begin(door: Door, viewer: Viewer, by: Principal, asked: Asked, key: str | None) -> Begun:
    order = asked.order
    async with unit_of_work(door.sessions) as session:
        if asked.before is not None:
            earlier, _ = await door.runs.get(session, asked.before)
            order = replace(order, conversation_id=earlier.conversation_id)
        run_id = await door.runs.start(session, by, asked.agent, order, idempotency_key=key)
        run, _ = await door.runs.get(session, run_id)
    request = viewer.connection
    assert isinstance(request, Request)
    call = Call(request, viewer, by, run_id, keep=key is not None)
    return Begun(call, _seconds(run.created_at), _links(request))


async def _shown(door: Door, request: Request, id_: str) -> Mapping[str, Any]:
    standing = await door.answering.watch.standing(run_of(id_))
    frame = Frame(standing.run.id, standing.agent, _seconds(standing.run.created_at))
    return await _response(door, frame, standing, _links(request), foreground=False)


async def _response(
    door: Door, frame: Frame, standing: Standing, links: Links, *, foreground: bool
) -> Mapping[str, Any]:
    async with unit_of_work(door.sessions) as session:
        steps = await door.runs.steps(session, standing.run.id, after=0, limit=MAX_STEPS)
    if foreground:  # a run that failed has no response here: its client gets an error
        words(standing, links)
    return response(frame, standing, steps, links, foreground=foreground)


def _model(agent: Agent) -> ModelOut:
    return ModelOut(id=agent.name, created=_seconds(agent.created_at))


def _json(body: Mapping[str, Any]) -> JSONResponse:
    return JSONResponse(dict(body))


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _links(request: Request) -> Links:
    """Under the name that the client used, which was checked to be one of ours."""
    return Links(str(request.base_url).rstrip("/"))


def _no_cache(header: str | None) -> bool:
    return header is not None and "no-cache" in header.lower()
