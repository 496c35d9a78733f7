"""REST: runs, their journal, files for them, conversations."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from atom.agents.service import AgentService
from atom.durable.jobs import JobService
from atom.errors import InvalidError
from atom.governance.models import Label
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.runs.control import Review, ReviewDecision, RunControl
from atom.runs.indexing import INDEX_JOB
from atom.runs.models import Priority, Run, RunStatus, Step, WaitReason
from atom.runs.offering import from_json as from_offered
from atom.runs.options import RunOptions
from atom.runs.ports import Workspaces
from atom.runs.recalling import from_json as from_recalled
from atom.runs.service import Order, RunService

UPLOAD_CHUNK = 256 * 1024
MULTIPART_OVERHEAD = 16_384  # boundaries and part headers around one uploaded file
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


class SourceOut(BaseModel):
    path: str
    line: int
    quote: str
    cited: bool = Field(description="The answer names or quotes this line; else it is only something the run had read.")


class ErrorOut(BaseModel):
    code: str
    message: str
    hint: str


class UsageOut(BaseModel):
    input_tokens: int | None
    output_tokens: int | None
    model_calls: int
    tool_calls: int
    cost_usd: Decimal | None = Field(description="Of calls whose price is known; null: of none.")


class RecalledOut(BaseModel):
    """Ids of episodes. What is only mentioned holds words from outside."""

    quoted: list[UUID]
    mentioned: list[UUID]


class RunOut(BaseModel):
    id: UUID
    agent: str
    agent_id: UUID
    agent_version: int
    conversation_id: UUID
    status: RunStatus
    wait_reason: str | None
    wait_detail: str | None = Field(description="What it waits for, in words.")
    resume_at: datetime | None = Field(description="When it is tried again by itself.")
    priority: Priority
    pause_requested: bool = Field(description="It stops at its next step boundary.")
    retry_of: UUID | None = Field(description="The run that this one does anew; of a line of retries, the first.")
    parent_id: UUID | None = Field(description="The run whose agent called this one's.")
    task: str
    files: list[str]
    answer: str | None
    sources: list[SourceOut]
    error: ErrorOut | None
    provider: str | None
    model: str | None
    model_note: str | None
    usage: UsageOut
    labels: list[Label] = Field(description="Of what it has read: untrusted, secret. None: only what people vouch for.")
    offered: list[str] = Field(default_factory=list, description="Skills that the agent was told of at its start.")
    recalled: RecalledOut | None = Field(description="What the agent remembered of the task before it began.")
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


HALTED = "Everything is halted by the kill switch: until that is lifted, no run goes on."


class RunPage(BaseModel):
    items: list[RunOut]
    next: str | None
    halted: bool = Field(description=HALTED)


class RunIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    task: str
    files: list[str] = Field(default_factory=list, description="Paths in the agent's workspace.")
    conversation_id: UUID | None = None
    model: str | None = Field(default=None, max_length=200)
    priority: Priority = Priority.NORMAL
    no_cache: bool = Field(default=False, description="Ask the model anew where the response cache has an answer.")
    response_schema: dict[str, Any] | None = Field(
        default=None, description="A JSON schema: the answer is then one JSON value that fits it."
    )


class OpenCallOut(BaseModel):
    """A call that began when a worker died: nobody knows whether it took effect."""

    step: str
    tool: str
    arguments: dict[str, Any]
    started_at: datetime


class RunDetailOut(RunOut):
    review: OpenCallOut | None = Field(description="What a run in review waits for a person's word on.")
    halted: bool = Field(description=HALTED)


class ReviewIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    decision: ReviewDecision = Field(
        description="retry: make the call once more. done: it happened. abort: end the run."
    )
    step: str = Field(max_length=200, description="The call that is decided on, as `review.step` of the run names it.")
    result: str | None = Field(default=None, description="With `done`: what the agent is told that the call returned.")
    note: str | None = Field(default=None, description="Why; kept with the decision.")


class NoteIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    note: str = Field(min_length=1, max_length=2000, description="What the model reads before its next turn.")


class TakeOverIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    answer: str = Field(min_length=1, max_length=200_000, description="What the run ends with, in the agent's stead.")


class StepOut(BaseModel):
    no: int
    key: str
    kind: str
    name: str
    status: str
    request: dict[str, Any]
    result: dict[str, Any] | None
    started_at: datetime
    ended_at: datetime | None


class StepPage(BaseModel):
    items: list[StepOut]
    next: str | None


class FileOut(BaseModel):
    path: str
    bytes: int


class MessageOut(BaseModel):
    role: str
    content: str
    run_id: UUID


class ConversationOut(BaseModel):
    id: UUID
    agent_id: UUID
    messages: list[MessageOut]


def routes(runs: RunService, control: RunControl, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["runs"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.RUNS_READ))
    Writer = Annotated[Principal, Depends(guard.requires(Permission.RUNS_WRITE))]  # noqa: N806 - a type

    @router.post("/agents/{agent}/runs", status_code=202)
    async def start_run(
        agent: str, body: RunIn, by: Writer, idempotency_key: Annotated[str | None, Header()] = None
    ) -> RunOut:
        order = Order(
            body.task,
            tuple(body.files),
            body.conversation_id,
            body.model,
            priority=body.priority,
            no_cache=body.no_cache,
            options=RunOptions(response_schema=body.response_schema),
        )
        async with unit_of_work(sessions) as session:
            run_id = await runs.start(session, by, agent, order, idempotency_key=idempotency_key)
            return _out(*await runs.get(session, run_id))

    @router.get("/runs", dependencies=[reader])
    async def list_runs(
        limit: Limit = 50, after: str | None = None, agent: str | None = None, status: RunStatus | None = None
    ) -> RunPage:
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await runs.page(session, agent=agent, status=status, before=cursor, limit=limit + 1)
            halted = await control.halted(session)
        page = to_page(rows, limit, lambda row: row[0].id)
        return RunPage(items=[_out(*row) for row in page.items], next=page.next, halted=halted)

    @router.get("/runs/{run_id}", dependencies=[reader])
    async def show_run(run_id: UUID) -> RunDetailOut:
        async with unit_of_work(sessions) as session:
            run, agent = await runs.get(session, run_id)
            step = await control.open_call(session, run_id) if run.wait_reason == WaitReason.REVIEW else None
            halted = await control.halted(session)
        review = _open_call(step) if step else None
        return RunDetailOut(**_out(run, agent).model_dump(), review=review, halted=halted)

    @router.get("/runs/{run_id}/steps", dependencies=[reader])
    async def list_steps(run_id: UUID, limit: Limit = 50, after: str | None = None) -> StepPage:
        number = _step_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await runs.steps(session, run_id, after=number, limit=limit + 1)
        items = [_step(row) for row in rows[:limit]]
        return StepPage(items=items, next=str(items[-1].no) if len(rows) > limit else None)

    @router.get("/conversations/{conversation_id}", dependencies=[reader])
    async def show_conversation(conversation_id: UUID) -> ConversationOut:
        async with unit_of_work(sessions) as session:
            found, turns = await runs.conversation(session, conversation_id)
        messages = [message for run in turns for message in _messages(run)]
        return ConversationOut(id=found.id, agent_id=found.agent_id, messages=messages)

    return router


def control_routes(runs: RunService, control: RunControl, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/runs/{run_id}", tags=["runs"], route_class=GuardedRoute)
    Writer = Annotated[Principal, Depends(guard.requires(Permission.RUNS_WRITE))]  # noqa: N806 - a type
    Decider = Annotated[Principal, Depends(guard.requires(Permission.APPROVALS_WRITE))]  # noqa: N806 - a type

    async def now(run_id: UUID) -> RunOut:
        async with unit_of_work(sessions) as session:
            return _out(*await runs.get(session, run_id))

    @router.post("/cancel")
    async def cancel_run(run_id: UUID, by: Writer) -> RunOut:
        """End the run, in the middle of what it does, and every run that it has started."""
        async with unit_of_work(sessions) as session:
            await control.cancel(session, by, run_id)
        return await now(run_id)

    @router.post("/pause")
    async def pause_run(run_id: UUID, by: Writer) -> RunOut:
        """Stop the run at its next step boundary, and every run that it has started. Nothing is lost."""
        async with unit_of_work(sessions) as session:
            await control.pause(session, by, run_id)
        return await now(run_id)

    @router.post("/resume")
    async def resume_run(run_id: UUID, by: Writer) -> RunOut:
        """Let a paused run go on where it stopped."""
        async with unit_of_work(sessions) as session:
            await control.resume(session, by, run_id)
        return await now(run_id)

    @router.post("/retry", status_code=202)
    async def retry_run(run_id: UUID, by: Writer, idempotency_key: Annotated[str | None, Header()] = None) -> RunOut:
        """Do the task of an ended run anew, as a new run of the agent as it is now."""
        async with unit_of_work(sessions) as session:
            new = await runs.retry(session, by, run_id, idempotency_key=idempotency_key)
        return await now(new)

    @router.post("/review")
    async def review_run(run_id: UUID, body: ReviewIn, by: Decider) -> RunOut:
        """Say what to do about a call that began when a worker died."""
        word = Review(body.decision, body.step, body.result, body.note)
        async with unit_of_work(sessions) as session:
            await control.review(session, by, run_id, word)
        return await now(run_id)

    @router.post("/correct", status_code=202)
    async def correct_run(run_id: UUID, body: NoteIn, by: Decider) -> RunOut:
        """Tell a run something: its model reads it before the next turn."""
        async with unit_of_work(sessions) as session:
            await control.correct(session, by, run_id, body.note)
        return await now(run_id)

    @router.post("/take-over")
    async def take_over_run(run_id: UUID, body: TakeOverIn, by: Decider) -> RunOut:
        """End a run that no worker has (pause it first) with your own answer."""
        async with unit_of_work(sessions) as session:
            await control.take_over(session, by, run_id, body.answer)
        return await now(run_id)

    return router


def file_routes(agents: AgentService, workspaces: Workspaces, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["agents"], route_class=GuardedRoute)
    Writer = Annotated[Principal, Depends(guard.requires(Permission.RUNS_WRITE))]  # noqa: N806 - a type

    @router.post("/agents/{agent}/files", status_code=201, max_body_size=workspaces.max_bytes + MULTIPART_OVERHEAD)
    async def upload_file(agent: str, file: UploadFile, by: Writer) -> FileOut:
        async with unit_of_work(sessions) as session:
            agent_id = (await agents.get(session, agent)).id
        path, size = await workspaces.store(agent_id, file.filename or "", _chunks(file))
        return FileOut(path=path, bytes=size)

    return router


class AcceptedOut(BaseModel):
    job_id: UUID
    status_url: str


def index_routes(agents: AgentService, jobs: JobService, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["agents"], route_class=GuardedRoute)
    Writer = Annotated[Principal, Depends(guard.requires(Permission.AGENTS_WRITE))]  # noqa: N806 - a type

    @router.post("/agents/{agent}/index", status_code=202)
    async def index_workspace(agent: str, by: Writer) -> AcceptedOut:
        """Prepare the search index of the agent's files, so that its first search is as quick as the later ones."""
        async with unit_of_work(sessions) as session:
            agent_id = (await agents.get(session, agent)).id
            job_id = await jobs.start(session, INDEX_JOB, {"agent_id": str(agent_id)}, actor=by.actor)
        return AcceptedOut(job_id=job_id, status_url=f"/api/jobs/{job_id}")

    return router


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(UPLOAD_CHUNK):
        yield chunk


def _step_cursor(after: str | None) -> int:
    if after is None:
        return 0
    if not after.isdecimal() or len(after) > 9:
        raise InvalidError(
            "after: this is not a cursor.", hint="Take the value of `next` of the page before.", field="after"
        )
    return int(after)


def _messages(run: Run) -> list[MessageOut]:
    asked = [MessageOut(role="user", content=run.task, run_id=run.id)]
    return asked if run.answer is None else [*asked, MessageOut(role="assistant", content=run.answer, run_id=run.id)]


def _open_call(step: Step) -> OpenCallOut:
    arguments = step.request.get("arguments") or {}
    return OpenCallOut(step=step.key, tool=step.name, arguments=arguments, started_at=step.started_at)


def _offered(run: Run) -> list[str]:
    found = from_offered(run.offered)
    return [] if found is None else list(found.skills)


def _recalled(run: Run) -> RecalledOut | None:
    found = from_recalled(run.recalled)
    return None if found is None else RecalledOut(quoted=list(found.quoted), mentioned=list(found.mentioned))


def _step(step: Step) -> StepOut:
    return StepOut(
        no=step.step_no,
        key=step.key,
        kind=step.kind,
        name=step.name,
        status=step.status,
        request=step.request,
        result=step.result,
        started_at=step.started_at,
        ended_at=step.ended_at,
    )


def _out(run: Run, agent: str) -> RunOut:
    return RunOut(
        id=run.id,
        agent=agent,
        agent_id=run.agent_id,
        agent_version=run.agent_version,
        conversation_id=run.conversation_id,
        status=RunStatus(run.status),
        wait_reason=run.wait_reason,
        wait_detail=run.wait_detail if run.status == RunStatus.WAITING else None,
        resume_at=run.resume_at if run.status == RunStatus.WAITING else None,
        priority=Priority.of(run.priority),
        pause_requested=run.pause_requested_at is not None,
        retry_of=run.retry_of,
        parent_id=run.parent_id,
        task=run.task,
        files=list(run.files),
        answer=run.answer,
        sources=[SourceOut(**source) for source in run.sources],
        error=ErrorOut(**run.error) if run.error else None,
        provider=run.provider,
        model=run.model,
        model_note=run.model_note,
        usage=UsageOut(
            input_tokens=run.input_tokens,
            output_tokens=run.output_tokens,
            model_calls=run.model_calls,
            tool_calls=run.tool_calls,
            cost_usd=run.cost_usd,
        ),
        labels=[Label(label) for label in run.labels],
        recalled=_recalled(run),
        offered=_offered(run),
        requested_by=run.requested_by,
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )
