"""The client: one method for each route of the API, grouped as the routes are."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx2

from atom.client.approvals import Approvals, Webhooks
from atom.client.audit import Audit
from atom.client.episodes import Episodes
from atom.client.follow import RUN_ENDED, Item, OnDrop, Source, follow, read_items
from atom.client.governance import Governance
from atom.client.keys import Cache, Halting, Keys
from atom.client.listing import Listing
from atom.client.maturity import Maturity, Training
from atom.client.models import (
    Agent,
    AgentVersion,
    Artefact,
    Conversation,
    Event,
    Health,
    Job,
    JobRef,
    ModelChoice,
    NewToken,
    Page,
    Run,
    RunPage,
    Step,
    Token,
    Tool,
    Upload,
)
from atom.client.skill_runs import SkillRuns
from atom.client.skills import Skills
from atom.client.transport import CONNECT_SECONDS, Pause, Transport, checked_url, segment
from atom.client.triggers import Triggers
from atom.client.upload import Progress, counted
from atom.client.watch import watch
from atom.errors import InvalidError
from atom.kit.ids import new_id

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Agents:
    transport: Transport

    async def create(self, name: str, **fields: Any) -> Agent:
        """Fields: instructions, tools, model, maturity."""
        return await self.transport.ask(Agent, "POST", "/api/agents", body={"name": name, **fields})

    def list(self, *, status: str | None = None) -> Listing[Agent]:
        return Listing(self.transport, Page[Agent], "/api/agents", {"status": status})

    async def get(self, agent: str) -> Agent:
        return await self.transport.ask(Agent, "GET", _agent(agent))

    async def update(self, agent: str, **fields: Any) -> Agent:
        """A new version with the given fields changed; the others stay."""
        return await self.transport.ask(Agent, "PATCH", _agent(agent), body=fields)

    async def pause(self, agent: str) -> Agent:
        return await self.transport.ask(Agent, "POST", f"{_agent(agent)}/pause")

    async def resume(self, agent: str) -> Agent:
        return await self.transport.ask(Agent, "POST", f"{_agent(agent)}/resume")

    async def retire(self, agent: str) -> Agent:
        return await self.transport.ask(Agent, "POST", f"{_agent(agent)}/retire")

    def versions(self, agent: str) -> Listing[AgentVersion]:
        return Listing(self.transport, Page[AgentVersion], f"{_agent(agent)}/versions")

    async def upload(self, agent: str, name: str, file: BinaryIO, *, progress: Progress | None = None) -> Upload:
        """Put a file into the agent's workspace. `progress` hears the bytes sent so far."""
        content = counted(file, progress) if progress else file
        return await self.transport.ask(Upload, "POST", f"{_agent(agent)}/files", file=(name, content))

    async def index(self, agent: str) -> JobRef:
        """Prepare the search index of the workspace: a job."""
        return await self.transport.ask(JobRef, "POST", f"{_agent(agent)}/index")


@dataclass(frozen=True, slots=True)
class Runs:
    transport: Transport

    async def start(
        self,
        agent: str,
        task: str,
        *,
        files: Sequence[str] = (),
        conversation_id: str | None = None,
        model: str | None = None,
        priority: str | None = None,
        no_cache: bool = False,
        response_schema: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Run:
        """Give an agent a task. `key` (made up when not given) lets a cut request be repeated without a second run.

        `response_schema`: a JSON schema that the answer has to fit.
        """
        body: dict[str, Any] = {"task": task}
        optional = {
            "files": list(files) or None,
            "conversation_id": conversation_id,
            "model": model,
            "priority": priority,
            "no_cache": no_cache or None,
            "response_schema": None if response_schema is None else dict(response_schema),
        }
        body.update({name: value for name, value in optional.items() if value is not None})
        return await self.transport.ask(Run, "POST", f"{_agent(agent)}/runs", body=body, key=key or str(new_id()))

    def list(self, *, agent: str | None = None, status: str | None = None) -> Listing[Run]:
        return Listing(self.transport, RunPage, "/api/runs", {"agent": agent, "status": status})

    async def get(self, run_id: str) -> Run:
        return await self.transport.ask(Run, "GET", _run(run_id))

    def steps(self, run_id: str) -> Listing[Step]:
        return Listing(self.transport, Page[Step], f"{_run(run_id)}/steps")

    def artefacts(self, run_id: str) -> Listing[Artefact]:
        """Files that the run left in its workspace, by path."""
        return Listing(self.transport, Page[Artefact], f"{_run(run_id)}/artefacts")

    async def download(self, run_id: str, path: str) -> bytes:
        """The bytes of an artefact, if it still is as the run left it."""
        where = "/".join(segment(part) for part in path.split("/"))
        return await self.transport.exchange("GET", f"{_run(run_id)}/artefacts/{where}")

    async def cancel(self, run_id: str) -> Run:
        return await self.transport.ask(Run, "POST", f"{_run(run_id)}/cancel")

    async def pause(self, run_id: str) -> Run:
        return await self.transport.ask(Run, "POST", f"{_run(run_id)}/pause")

    async def resume(self, run_id: str) -> Run:
        return await self.transport.ask(Run, "POST", f"{_run(run_id)}/resume")

    async def retry(self, run_id: str, *, key: str | None = None) -> Run:
        """The task of an ended run as a new run. `key` is as in `start`."""
        return await self.transport.ask(Run, "POST", f"{_run(run_id)}/retry", key=key or str(new_id()))

    async def review(
        self, run_id: str, step: str, decision: str, *, result: str | None = None, note: str | None = None
    ) -> Run:
        """Decide a call of unknown outcome: `retry`, `done` with a result, or `abort`."""
        body: dict[str, Any] = {"decision": decision, "step": step}
        body.update({name: value for name, value in {"result": result, "note": note}.items() if value is not None})
        return await self.transport.ask(Run, "POST", f"{_run(run_id)}/review", body=body)

    async def correct(self, run_id: str, note: str) -> Run:
        """Tell a run something that its model reads before its next turn."""
        return await self.transport.ask(Run, "POST", f"{_run(run_id)}/correct", body={"note": note})

    async def take_over(self, run_id: str, answer: str) -> Run:
        """End a paused run with a person's own answer."""
        return await self.transport.ask(Run, "POST", f"{_run(run_id)}/take-over", body={"answer": answer})

    def follow(self, run_id: str, after: int = 0, *, on_drop: OnDrop | None = None) -> AsyncIterator[Item]:
        """Events and deltas behind `after` up to the end of the run, over as many connections as it takes."""

        async def connect(seq: int) -> AsyncGenerator[Item, None]:
            async with self.transport.stream(f"{_run(run_id)}/events", {"after": seq}) as frames:
                async for frame in frames:
                    for item in read_items(self.transport.url, frame.data, delta=frame.event == "delta"):
                        yield item

        async def over() -> bool:
            return (await self.get(run_id)).ended

        def last(event: Event) -> bool:
            return event.type in RUN_ENDED and event.run_id in {run_id, None}

        return follow(
            Source(self.transport.url, connect, over, last), after, pause=self.transport.pause, on_drop=on_drop
        )


@dataclass(frozen=True, slots=True)
class Jobs:
    transport: Transport

    def list(self) -> Listing[Job]:
        return Listing(self.transport, Page[Job], "/api/jobs")

    async def get(self, job_id: str) -> Job:
        return await self.transport.ask(Job, "GET", f"/api/jobs/{segment(job_id)}")

    async def cancel(self, job_id: str) -> Job:
        return await self.transport.ask(Job, "POST", f"/api/jobs/{segment(job_id)}/cancel")

    def watch(self, job_id: str, *, on_drop: OnDrop | None = None) -> AsyncIterator[Job]:
        """The job as it goes on, until it has ended."""
        return watch(lambda: self.get(job_id), pause=self.transport.pause, on_drop=on_drop)


@dataclass(frozen=True, slots=True)
class Tokens:
    transport: Transport

    async def create(self, name: str, role: str, *, expires_in_days: int | None = None) -> NewToken:
        """The reply is the only time the secret is shown."""
        body: dict[str, Any] = {"name": name, "role": role}
        if expires_in_days is not None:
            body["expires_in_days"] = expires_in_days
        return await self.transport.ask(NewToken, "POST", "/api/tokens", body=body)

    def list(self) -> Listing[Token]:
        return Listing(self.transport, Page[Token], "/api/tokens")

    async def revoke(self, token_id: str) -> None:
        await self.transport.exchange("DELETE", f"/api/tokens/{segment(token_id)}")


class AtomClient:
    """Atom's API at `url`. Use it in one event loop; `atom.client.blocking` wraps it for code without one.

    `timeout` is the seconds one exchange may take. `transport` and `pause` are there for tests.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self.url = checked_url(url)
        local = httpx2.URL(self.url).host in LOOPBACK
        http = httpx2.AsyncClient(
            base_url=self.url,
            headers=_headers(token),
            timeout=httpx2.Timeout(timeout, connect=CONNECT_SECONDS),
            transport=transport,
            trust_env=not local,  # a proxy set for the internet must not see calls to this machine
        )
        self.transport = Transport(http, self.url, timeout, pause)
        self.agents = Agents(self.transport)
        self.runs = Runs(self.transport)
        self.approvals = Approvals(self.transport)
        self.webhooks = Webhooks(self.transport)
        self.jobs = Jobs(self.transport)
        self.tokens = Tokens(self.transport)
        self.keys = Keys(self.transport)
        self.cache = Cache(self.transport)
        self.halting = Halting(self.transport)
        self.maturity = Maturity(self.transport)
        self.training = Training(self.transport)
        self.governance = Governance(self.transport)
        self.audit = Audit(self.transport)
        self.triggers = Triggers(self.transport)
        self.episodes = Episodes(self.transport)
        self.skills = Skills(self.transport)
        self.skill_runs = SkillRuns(self.transport)

    async def conversation(self, conversation_id: str) -> Conversation:
        return await self.transport.ask(Conversation, "GET", f"/api/conversations/{segment(conversation_id)}")

    def tools(self) -> Listing[Tool]:
        return Listing(self.transport, Page[Tool], "/api/tools")

    async def models(self) -> ModelChoice:
        return await self.transport.ask(ModelChoice, "GET", "/api/models")

    async def health(self, probe: str = "ready") -> Health:
        """`ready` or `live`. A server that is not ready says so in the reply: it is no error here."""
        return await self.transport.ask(Health, "GET", f"/health/{segment(probe)}", accept=frozenset({503}))

    async def metrics(self) -> str:
        """The metrics in Prometheus' text form."""
        return (await self.transport.exchange("GET", "/metrics")).decode()

    async def aclose(self) -> None:
        await self.transport.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _headers(token: str | None) -> dict[str, str]:
    headers = {"User-Agent": "atom-client", "Accept": "application/json"}
    if token is None:
        return headers
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise InvalidError("The token has characters that no token of Atom has.", hint="Copy it again into ATOM_TOKEN.")
    return {**headers, "Authorization": f"Bearer {token}"}


def _agent(agent: str) -> str:
    return f"/api/agents/{segment(agent)}"


def _run(run_id: str) -> str:
    return f"/api/runs/{segment(run_id)}"
