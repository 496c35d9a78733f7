"""Rows of executions: how one begins, how it ends, and the line in the log that says so."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.events.models import EventType
from atom.events.service import Outbox
from atom.kit.text import clean, clean_json
from atom.skills.execution import store
from atom.skills.execution.codes import Ending
from atom.skills.execution.models import ExecutionStatus, FileKind, Purpose, SkillExecution
from atom.skills.execution.orders import Order
from atom.skills.registry.using import Usable
from atom.skills.sandbox.models import Result

KEPT_CHARS = 64_000  # of what a script printed: the end, where it says what went wrong
QUEUE_DAY = 86_400.0  # seconds after which nobody runs any more what waits
log = structlog.get_logger(service="skill_sandbox")


def row_of(id_: UUID, order: Order, usable: Usable, script: str, *, waits: bool) -> dict[str, Any]:
    inputs = [described(name, body) for name, body in sorted(order.files.items())]
    return {
        "id": id_,
        "skill_name": usable.name,
        "version_id": usable.version_id,
        "digest": usable.digest,
        "purpose": order.purpose.value,
        "actor": order.actor,
        "agent_id": order.agent_id,
        "run_id": order.run_id,
        "call_key": order.call_key,
        "script": script,
        "arguments": list(order.arguments),
        "input": clean(order.input),
        "inputs": clean_json(inputs),
        "status": (ExecutionStatus.QUEUED if waits else ExecutionStatus.RUNNING).value,
        "ends_by": func.now() + func.make_interval(0, 0, 0, 0, 0, 0, QUEUE_DAY),
    }


def order_of(row: SkillExecution, files: Mapping[str, bytes]) -> Order:
    """What a person has asked for."""
    return Order(
        skill=row.skill_name,
        actor=row.actor,
        script=row.script,
        arguments=row.arguments,
        input=row.input,
        files=files,
        version=row.digest,
        purpose=Purpose(row.purpose),
    )


def described(name: str, body: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


async def keep_files(session: AsyncSession, id_: UUID, kind: FileKind, files: Mapping[str, bytes]) -> None:
    """In place of those of an earlier attempt."""
    await store.drop_files(session, id_, kind)
    for name, body in files.items():
        about = described(name, body)
        values = {"name": name, "size": about["bytes"], "sha256": about["sha256"], "body": body}
        await store.put_file(session, id_, kind, values)


async def end(
    session: AsyncSession, outbox: Outbox, place: tuple[UUID, int], ending: Ending, result: Result | None
) -> SkillExecution | None:
    """`place`: id and attempt. None when a later attempt has taken over."""
    id_, attempt = place
    values = _of_ending(ending) | ({} if result is None else _of_result(result))
    if not await store.end(session, id_, attempt, values):
        return None
    row = await store.get(session, id_)
    assert row is not None
    await _announce(session, outbox, row, ending)
    return row


async def lose(session: AsyncSession, outbox: Outbox, row: SkillExecution, ending: Ending) -> None:
    """One that nobody runs any more; the caller has locked it."""
    await store.mark_lost(session, row.id, _of_ending(ending))
    await _announce(session, outbox, row, ending)


def tell(row: SkillExecution, ending: Ending, seconds: float | None) -> None:
    """What the guide greps for: one line for each, with its code and its advice."""
    about = {"skill": row.skill_name, "script": row.script, "execution_id": str(row.id), "seconds": seconds}
    if row.run_id is not None:
        about["run_id"] = str(row.run_id)
    if ending.code is None:
        log.info("skill.ended", status=ending.status.value, **about)
        return
    code, message, advice = ending.code.value, ending.message, ending.advice
    log.error("skill.execution_error", error_code=code, error=message, advice=advice, **about)


async def _announce(session: AsyncSession, outbox: Outbox, row: SkillExecution, ending: Ending) -> None:
    status = ending.status.value
    data = {"execution": str(row.id), "skill": row.skill_name, "script": row.script, "status": status}
    if ending.code is not None:
        data |= {"error_code": ending.code.value}
    await outbox.emit(
        session, EventType.SKILL_ENDED, actor=row.actor, agent_id=row.agent_id, run_id=row.run_id, data=data
    )


def _of_ending(ending: Ending) -> dict[str, Any]:
    return {
        "status": ending.status.value,
        "error_code": None if ending.code is None else ending.code.value,
        "error_message": ending.message or None,
        "advice": ending.advice or None,
    }


def _of_result(result: Result) -> dict[str, Any]:
    usage = result.usage
    return {
        "exit_reason": result.reason.value,
        "exit_code": result.exit_code,
        "value": clean_json({"value": result.value}) if result.has_value else None,
        "stdout": _tail(result.stdout),
        "stderr": _tail(result.stderr),
        "artefacts": clean_json([described(one.name, one.body) for one in result.artefacts]),
        "refused": clean_json([{"name": name, "why": why} for name, why in result.refused]),
        "connections": clean_json([dataclasses.asdict(one) for one in result.connections]),
        "usage": {
            "cpu_seconds": usage.cpu_seconds,
            "memory": usage.memory,
            "bytes": usage.bytes,
            "seconds": usage.seconds,
        },
        "backend": result.backend,
        "guarantees": {str(name): str(level) for name, level in result.levels.items()},
    }


def _tail(raw: bytes) -> str:
    return clean(raw[-4 * KEPT_CHARS :].decode("utf-8", "replace"))[-KEPT_CHARS:]
