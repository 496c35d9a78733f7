"""Bodies of requests, and what is asked of an agent by them. What agents do not do is refused, never ignored, where
ignoring it would change the meaning of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from atom.kit.ids import parse_id
from atom.runs.options import MAX_CONTEXT_MESSAGES, RunOptions
from atom.runs.service import Order
from atom.web.openai.errors import UnsupportedError
from atom.web.openai.said import Said, read_input, read_messages

CONVERSATION = "conversation_id"
RESPONSE_PREFIX = "resp_"
ANY_OBJECT: dict[str, Any] = {"type": "object"}
Temperature = Annotated[float | None, Field(ge=0, le=2)]
Tokens = Annotated[int | None, Field(ge=1, le=10_000_000)]
Items = list[dict[str, Any]]


class StreamOptions(BaseModel):
    include_usage: bool | None = None


class ChatBody(BaseModel):
    """`POST /v1/chat/completions`. Sampling beside the temperature is the agent's own: such parameters are ignored."""

    model_config = ConfigDict(hide_input_in_errors=True)
    model: str = Field(description="Name or id of an agent.")
    messages: Items = Field(min_length=1, max_length=MAX_CONTEXT_MESSAGES)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Temperature = None
    max_tokens: Tokens = None
    max_completion_tokens: Tokens = None
    response_format: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = Field(default=None, description="`conversation_id` continues a conversation.")
    n: int | None = None
    tools: list[Any] | None = Field(default=None, description="Not supported: an agent has its own.")
    functions: list[Any] | None = None
    logprobs: bool | None = None
    audio: dict[str, Any] | None = None


class ResponseBody(BaseModel):
    """`POST /v1/responses`."""

    model_config = ConfigDict(hide_input_in_errors=True)
    model: str = Field(description="Name or id of an agent.")
    input: str | Items
    instructions: str | None = None
    stream: bool | None = False
    background: bool | None = Field(default=False, description="Answer at once; GET /v1/responses/{id} follows it.")
    previous_response_id: str | None = Field(default=None, description="Goes on in that response's conversation.")
    temperature: Temperature = None
    max_output_tokens: Tokens = None
    text: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = Field(default=None, description="`conversation_id` continues a conversation.")
    tools: list[Any] | None = Field(default=None, description="Not supported: an agent has its own.")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request comes to. `before`: the run whose conversation it goes on in."""

    agent: str
    order: Order
    before: UUID | None = None


def read_chat(body: ChatBody, *, no_cache: bool) -> Asked:
    """Raises UnsupportedError."""
    _refuse_tools(body.tools or body.functions, "tools" if body.tools else "functions")
    if body.n not in {None, 1}:
        raise UnsupportedError(f"n: {body.n} answers at once are not supported.", hint="Ask n times.", field="n")
    if body.logprobs:
        raise UnsupportedError("logprobs: an agent's answer has none.", field="logprobs")
    if body.audio:
        raise UnsupportedError("audio: agents answer in text.", field="audio")
    options = RunOptions(
        response_schema=_schema(body.response_format, "response_format"),
        temperature=body.temperature,
        max_tokens=body.max_completion_tokens or body.max_tokens,
    )
    said, conversation = read_messages(body.messages), _conversation(body.metadata)
    return Asked(body.model, _order(said, options, conversation, keeps=conversation is not None, no_cache=no_cache))


def read_response(body: ResponseBody, *, no_cache: bool) -> Asked:
    """Raises UnsupportedError."""
    _refuse_tools(body.tools, "tools")
    options = RunOptions(
        response_schema=_schema((body.text or {}).get("format"), "text.format"),
        temperature=body.temperature,
        max_tokens=body.max_output_tokens,
    )
    before = None if body.previous_response_id is None else run_of(body.previous_response_id)
    said, conversation = read_input(body.input, body.instructions), _conversation(body.metadata)
    keeps = conversation is not None or before is not None
    return Asked(body.model, _order(said, options, conversation, keeps=keeps, no_cache=no_cache), before)


def run_of(response_id: str) -> UUID:
    """Raises UnsupportedError for what is no id of a response."""
    id_ = parse_id(response_id.removeprefix(RESPONSE_PREFIX))
    if id_ is None or not response_id.startswith(RESPONSE_PREFIX):
        raise UnsupportedError(
            f"{response_id[:80]!r} is not the id of a response.", hint="It looks like resp_0199...", field="response_id"
        )
    return id_


def _order(said: Said, options: RunOptions, conversation: UUID | None, *, keeps: bool, no_cache: bool) -> Order:
    """`keeps`: a stored conversation is continued, and what came before is taken from there, not from the request."""
    context = () if keeps else said.context
    whole = RunOptions(
        context, said.instructions, options.response_schema, options.temperature, options.max_tokens
    )  # fmt: skip
    return Order(said.task, conversation_id=conversation, no_cache=no_cache, options=whole)


def _refuse_tools(tools: object, field: str) -> None:
    if tools:
        raise UnsupportedError(
            f"{field}: tools of the client are not supported.",
            hint="An agent uses its own: `atom agents update NAME --tools ...` gives it some.",
            field=field,
        )


def _schema(asked: Mapping[str, Any] | None, field: str) -> Mapping[str, Any] | None:
    """Of either protocol: in one the schema stands below `json_schema`, in the other beside `type`."""
    kind = "text" if asked is None else asked.get("type")
    match kind:
        case "text":
            return None
        case "json_object":
            return ANY_OBJECT
        case "json_schema":
            inner = (asked or {}).get("json_schema", asked)
            schema = inner.get("schema") if isinstance(inner, Mapping) else None
            if isinstance(schema, Mapping):
                return dict(schema)
            raise UnsupportedError(f"{field}: it has no schema.", hint="It belongs under json_schema.", field=field)
    raise UnsupportedError(
        f"{field}.type: {str(kind)[:40]!r} is not supported.", hint="text, json_object or json_schema.", field=field
    )


def _conversation(metadata: Mapping[str, Any] | None) -> UUID | None:
    given = (metadata or {}).get(CONVERSATION)
    if given is None:
        return None
    id_ = parse_id(given) if isinstance(given, str) else None
    if id_ is None:
        field = f"metadata.{CONVERSATION}"
        raise UnsupportedError(f"{field}: it is not the id of a conversation.", hint="Leave it out.", field=field)
    return id_
