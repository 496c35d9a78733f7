"""What Atom and a runner say to each other: JSON with a length before it, bytes inside it as base64.

Neither end trusts the other: each message is bounded, and checked against what it may be.
"""

from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atom.errors import AtomError, Kind
from atom.kit.text import shorten
from atom.skills.layers.models import Layer, Wanted
from atom.skills.sandbox.models import Report, Result, Spec

LENGTH = 8
MOST_BYTES = 512 << 20  # the files of an execution are bounded by the disk it gets, its artefacts by their own limit
HELLO_BYTES = 1024
MOST_SAID = 200
MOST_WORDS = 20_000  # characters of a sentence for people
T = TypeVar("T", bound=BaseModel)


class BadMessageError(Exception):
    """The other end said something that nobody may say."""


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_bytes="base64", val_json_bytes="base64")


class Challenge(Message):
    """The first word of a runner. `version` is that of all messages here."""

    version: int
    nonce: str


class Response(Message):
    """`proof` shows that the key is known; `nonce` asks the runner to show it too."""

    proof: str
    nonce: str


class Proof(Message):
    proof: str


class Request(Message):
    """One for each connection. To let go of the connection ends what it asked for.

    `wanted`: the packages of a program that is run, or those to build; `again`: ask their source anew.
    """

    do: Literal["run", "report", "kill", "build"]
    spec: Spec | None = None
    id: UUID | None = None
    wanted: Wanted | None = None
    again: bool = False


class Failed(Message):
    """An error that Atom raised on purpose, to be raised again at the other end."""

    kind: Kind
    code: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    message: str = Field(max_length=MOST_WORDS)
    hint: str = Field(default="", max_length=MOST_WORDS)


class Reply(Message):
    """`began`: the execution has its turn, and another reply comes at its end. `refused`: why nothing was done.

    `layer`: what a program could import from, or what was built.
    """

    began: bool = False
    report: Report | None = None
    result: Result | None = None
    layer: Layer | None = None
    done: bool | None = None
    refused: str = Field(default="", max_length=MOST_WORDS)
    failed: Failed | None = None


def running(spec: Spec, wanted: Wanted | None) -> Request:
    return Request(do="run", wanted=wanted, spec=replace(spec, files=dict(spec.files), needs=dict(spec.needs)))


def ended(result: Result, layer: Layer | None) -> Reply:
    return Reply(layer=layer, result=replace(result, levels=dict(result.levels)))


def reported(report: Report) -> Reply:
    return Reply(report=replace(report, evidence=dict(report.evidence)))


async def send(writer: StreamWriter, message: Message) -> None:
    body = message.model_dump_json().encode()
    writer.write(len(body).to_bytes(LENGTH, "little") + body)
    await writer.drain()


async def receive(reader: StreamReader, kind: type[T], *, most: int = MOST_BYTES) -> T:
    """Raises EOFError when the other end went away, BadMessageError for what is no such message."""
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH), "little")
        if length > most:
            raise BadMessageError(f"a message of {length} bytes")
        body = await reader.readexactly(length)
    except IncompleteReadError:
        raise EOFError from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise BadMessageError(f"not a {kind.__name__}: {_places(error)}") from None
    except AtomError as error:  # what a name or a limit inside it may not be
        raise BadMessageError(error.message) from None


def _places(error: ValidationError) -> str:
    """Where it is wrong; never what stands there. Of a field that nobody knows even the name is the other end's."""
    found: list[Mapping[str, object]] = [dict(one) for one in error.errors(include_url=False, include_input=False)]
    return shorten(", ".join(f"{one['loc']} {one['type']}" for one in found[:3]), MOST_SAID)
