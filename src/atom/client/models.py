"""What Atom's replies hold, typed. Fields and states this client does not know are kept, not refused."""

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer

from atom.kit.clock import rfc3339

At = Annotated[datetime, PlainSerializer(rfc3339, when_used="json")]
ENDED = frozenset({"completed", "failed", "cancelled"})


class Wire(BaseModel):
    """One JSON object of the API. `plain()` gives it back as JSON-able values."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def plain(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


W = TypeVar("W", bound=Wire)


class Page(Wire, Generic[W]):
    """A slice of a list. `next` is the cursor of the following slice, None at the end."""

    items: tuple[W, ...]
    next: str | None = None


class Agent(Wire):
    id: str
    name: str
    instructions: str = ""
    tools: tuple[str, ...] = ()
    model: str | None = None
    maturity: str
    class_maturity: dict[str, str] = {}
    status: str
    version: int
    max_running: int | None = None
    created_at: At | None = None
    updated_at: At | None = None


class Definition(Wire):
    """What an agent was told and given."""

    instructions: str = ""
    tools: tuple[str, ...] = ()
    model: str | None = None
    maturity: str | None = None
    status: str | None = None


class AgentVersion(Wire):
    version: int
    definition: Definition
    changed_by: str = ""
    created_at: At | None = None


class Upload(Wire):
    """`path` is relative to the agent's workspace: what a run's `files` name."""

    path: str
    bytes: int


class Source(Wire):
    path: str
    line: int
    quote: str
    cited: bool = False


class Failure(Wire):
    code: str
    message: str
    hint: str | None = None


class Usage(Wire):
    """Tokens are None where the provider reported none: unknown is not zero."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    model_calls: int = 0
    tool_calls: int = 0
    cost_usd: str | None = None


class OpenCall(Wire):
    """A call that began when a worker died: a person says what to do about it."""

    step: str
    tool: str
    arguments: dict[str, Any] = {}
    started_at: At | None = None


class RecalledAtStart(Wire):
    """Ids of episodes: those that the agent was shown, and those that were only mentioned to it."""

    quoted: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()


class Run(Wire):
    id: str
    agent: str
    agent_id: str | None = None
    conversation_id: str | None = None
    status: str
    wait_reason: str | None = None
    wait_detail: str | None = None
    resume_at: At | None = None
    priority: str = "normal"
    labels: tuple[str, ...] = ()
    recalled: RecalledAtStart | None = None
    offered: tuple[str, ...] = ()
    pause_requested: bool = False
    retry_of: str | None = None
    parent_id: str | None = None
    review: OpenCall | None = None
    halted: bool = False
    task: str = ""
    answer: str | None = None
    sources: tuple[Source, ...] = ()
    error: Failure | None = None
    provider: str | None = None
    model: str | None = None
    model_note: str | None = None
    usage: Usage = Usage()
    created_at: At | None = None
    started_at: At | None = None
    ended_at: At | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class RunPage(Page[Run]):
    """`halted`: the kill switch holds every run."""

    halted: bool = False


class Artefact(Wire):
    """A file that a run left in its workspace."""

    path: str
    bytes: int
    sha256: str
    step: str = ""
    written_at: At | None = None


class Step(Wire):
    no: int
    key: str
    kind: str
    status: str
    name: str
    request: Any = None
    result: Any = None
    started_at: At | None = None
    ended_at: At | None = None


class Yes(Wire):
    by: str
    at: At | None = None
    note: str | None = None


class EditedFrom(Wire):
    """What the agent had asked for, before a person changed it."""

    digest: str
    arguments: Any = None


class Approval(Wire):
    """A question to a person. `digest` binds the decision to agent version, action and arguments."""

    id: str
    run_id: str
    agent: str
    agent_version: int = 0
    action: str
    arguments: Any = None
    digest: str = ""
    reason: str = ""
    explanation: str = ""
    status: str
    requested_at: At | None = None
    expires_at: At | None = None
    decided_at: At | None = None
    decided_by: str | None = None
    note: str | None = None
    eyes: str = "any"
    requested_by: str | None = None
    approvals: tuple[Yes, ...] = ()
    assignee: str | None = None
    edited_by: str | None = None
    edited_from: EditedFrom | None = None


class Message(Wire):
    role: str
    content: str
    run_id: str | None = None


class Conversation(Wire):
    id: str
    agent_id: str
    messages: tuple[Message, ...] = ()


class Tool(Wire):
    name: str
    description: str
    risk: int
    effect: str
    egress: bool
    timeout: float
    parameters: dict[str, Any]


class ModelChoice(Wire):
    """Which model Atom asks when an agent names none, and why."""

    provider: str
    model: str
    reason: str
    note: str | None = None
    configured: tuple[Any, ...] = ()


class Token(Wire):
    id: str
    name: str
    role: str
    created_by: str = ""
    expires_at: At | None = None
    revoked_at: At | None = None
    created_at: At | None = None
    last_used_at: At | None = None


class NewToken(Token):
    """`token` is the secret itself: Atom says it this once."""

    token: str


class JobRef(Wire):
    job_id: str
    status_url: str


class Job(Wire):
    id: str
    kind: str
    status: str
    done: int = 0
    total: int | None = None
    report: Any = None
    error: Any = None
    created_at: At | None = None
    started_at: At | None = None
    ended_at: At | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class Health(Wire):
    status: str
    version: str | None = None
    checks: dict[str, str] = {}


class Event(Wire):
    """A durable event. `seq` orders them all and is the cursor to go on from."""

    seq: int
    id: str
    type: str
    at: At
    actor: str
    agent_id: str | None = None
    run_id: str | None = None
    data: dict[str, Any] = {}
    v: int = 1


class Delta(Wire):
    """A piece of a model's text, `offset` characters into attempt `attempt` of step `step`. It may never arrive.

    `step` is the key that the reply has in the journal and in its event.
    """

    run_id: str
    step: str
    attempt: int
    offset: int
    text: str
