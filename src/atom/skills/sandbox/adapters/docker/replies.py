"""What a container answers, read as if an enemy wrote it: a program could have broken the supervisor inside."""

import json
import posixpath
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from atom.skills.sandbox import outcome
from atom.skills.sandbox.models import Artefact, ExitReason, Limits, Usage
from atom.skills.sandbox.supervisor import wire

HEAD_BYTES = 4 << 20
STREAMS = 3  # output, errors, result
DETAIL = 1000

Read = Callable[[int], Awaitable[bytes]]


class BadReplyError(Exception):
    """What is wrong with it, in a few words."""


@dataclass(frozen=True, slots=True)
class Reply:
    reason: ExitReason
    detail: str
    code: int
    output: bytes
    errors: bytes
    result: bytes
    artefacts: tuple[Artefact, ...]
    refused: tuple[tuple[str, str], ...]
    usage: Usage


async def hello(read: Read) -> dict[str, str]:
    """The path of each interpreter inside, by language.

    Raises BadReplyError, also where the supervisor is not the first process of a namespace: a program could end it.
    """
    head = await _head(read)
    if head.get("pid") != 1:
        raise BadReplyError("the container has no processes of its own: its first one is not our supervisor")
    found = head.get("programs")
    if not isinstance(found, dict) or not all(isinstance(path, str) for path in found.values()):
        raise BadReplyError("no interpreters")
    return {str(name): path for name, path in found.items()}


async def reply(read: Read, token: str, limits: Limits) -> Reply:
    """Raises BadReplyError for one that is not signed with `token`, or has more than `limits` allow."""
    head = await _head(read)
    if head.get("token") != token:
        raise BadReplyError("it is not signed")
    names, sizes = _names(head, limits), _sizes(head, limits)
    if len(sizes) != len(names) + STREAMS:
        raise BadReplyError("its parts are not those it names")
    blobs = [await read(size) for size in sizes]
    output, errors, result = blobs[:STREAMS]
    try:
        return Reply(
            reason=ExitReason(head["reason"]),
            detail=str(head["detail"])[:DETAIL],
            code=int(head.get("code", -1)),
            output=output,
            errors=errors,
            result=result,
            artefacts=tuple(Artefact(name, body) for name, body in zip(names, blobs[STREAMS:], strict=True)),
            refused=tuple((str(name), str(why)) for name, why in head.get("refused", [])),
            usage=Usage(
                cpu_seconds=float(head.get("cpu", 0)),
                memory=int(head.get("memory", 0)),
                bytes=int(head.get("bytes", 0)),
                seconds=float(head.get("seconds", 0)),
            ),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadReplyError(f"it lacks something: {error}") from error


async def _head(read: Read) -> dict[str, Any]:
    length = int.from_bytes(await read(wire.LENGTH), "little")
    if length > HEAD_BYTES:
        raise BadReplyError("its head is too long")
    try:
        text = (await read(length)).decode("ascii")
        outcome.check_depth(text)
        found = json.loads(text)
    except (ValueError, outcome.BadOutcomeError) as error:
        raise BadReplyError(f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadReplyError("it is not an object")
    return found


def _names(head: dict[str, Any], limits: Limits) -> list[str]:
    names = head.get("names")
    if not isinstance(names, list) or len(names) > limits.artefacts or len(set(map(str, names))) != len(names):
        raise BadReplyError("its files are too many, or doubled")
    if not all(isinstance(name, str) and _is_plain(name) for name in names):
        raise BadReplyError("a file's name is not a plain relative path")
    return names


def _sizes(head: dict[str, Any], limits: Limits) -> list[int]:
    sizes = head.get("sizes")
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise BadReplyError("it names no sizes")
    if any(size > limits.output for size in sizes[:STREAMS]) or sum(sizes[STREAMS:]) > limits.artefact_bytes:
        raise BadReplyError("it is larger than its limits")
    return sizes


def _is_plain(name: str) -> bool:
    """Relative to the output folder, and inside it."""
    inside = name not in {"", "."} and name.split("/", 1)[0] not in {"", ".."}
    return inside and posixpath.normpath(name) == name and name.isprintable() and "\\" not in name
