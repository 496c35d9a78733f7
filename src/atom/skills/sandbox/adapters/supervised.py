"""Both backends of this machine: a supervisor process beside each execution, told to use bubblewrap or Landlock."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from atom.errors import UnavailableError
from atom.kit.clock import Clock, SystemClock
from atom.skills.sandbox import canaries, orphans, outcome
from atom.skills.sandbox.adapters.keeper import Keeper
from atom.skills.sandbox.adapters.line import Line
from atom.skills.sandbox.egress import Gate, Outside, trust
from atom.skills.sandbox.languages import PATH, Interpreter, imports
from atom.skills.sandbox.models import (
    Artefact,
    Connection,
    ExitReason,
    Guarantee,
    Language,
    Level,
    Report,
    Result,
    Spec,
    Usage,
)
from atom.skills.sandbox.place import Place, mark_of
from atom.skills.sandbox.supervisor import wire
from atom.skills.sandbox.supervisor.confine import RESULT

log = structlog.get_logger(__name__)

GRACE_SECONDS = 30.0  # beyond the program's own limit: to begin, to end and to clean up on a busy machine


@dataclass(slots=True)
class SupervisedSandbox:
    """`name` is `bwrap` or `landlock`; `bwrap` is the program of that name."""

    name: str
    place: Place
    interpreters: Mapping[Language, Interpreter]
    keeper: Keeper
    bwrap: str = ""
    clock: Clock = field(default_factory=SystemClock)
    report: Report | None = None
    outside: Outside = field(default_factory=Outside)
    running: dict[UUID, Line] = field(default_factory=dict)

    async def probe(self) -> Report:
        account = self.place.account
        owner = None if account is None else (account.uid, account.gid)
        self.report = await canaries.probe(
            self.name, self._execute, tuple(self.interpreters), self.clock, owner, execute_outside=self._execute
        )
        return self.report

    async def run(self, spec: Spec) -> Result:
        if self.report is None:
            return self._failed(spec, ExitReason.POLICY, "Refused: no canary has run yet.")
        lacks = self.report.lacks(spec.needs)
        if lacks:
            return self._failed(spec, ExitReason.POLICY, "Refused: " + "; ".join(lacks))
        return await self._execute(spec)

    async def kill(self, execution_id: UUID) -> bool:
        line = self.running.get(execution_id)
        if line is None:
            return False
        line.hang_up()
        return True

    async def close(self) -> None:
        await asyncio.to_thread(self.keeper.close)

    async def reap_orphans(self) -> int:
        return await asyncio.to_thread(orphans.reap, self.place.folder)

    async def _execute(self, spec: Spec, outside: Outside | None = None) -> Result:
        """Without asking what was proven: the canaries do so too."""
        if not spec.hosts:
            return await self._supervise(spec, None)
        try:
            async with Gate(spec.hosts, outside or self.outside, transfer=spec.limits.transfer) as gate:
                done = await self._supervise(spec, gate)
        except OSError as error:
            return self._failed(spec, ExitReason.ENGINE, f"The proxy did not start: {error.strerror}.")
        return replace(done, connections=gate.connections() + done.connections)

    async def _supervise(self, spec: Spec, gate: Gate | None) -> Result:
        if spec.language not in self.interpreters:
            return self._failed(spec, ExitReason.POLICY, f"Refused: no {spec.language} on this machine.")
        lost = gone(spec.layers)
        if lost:
            return self._failed(spec, ExitReason.ENGINE, f"Its layer {lost} is not there: build it again.")
        nonce = secrets.token_hex(16)
        try:
            request = self._request(spec, nonce, gate)
            line = await Line.open(self.keeper)
        except UnavailableError as error:
            return self._failed(spec, ExitReason.ENGINE, error.message)
        except OSError as error:
            return self._failed(spec, ExitReason.ENGINE, f"The supervisor did not start: {error.strerror}.")
        self.running[spec.id] = line
        try:
            async with asyncio.timeout(spec.limits.seconds + GRACE_SECONDS):
                reply = await line.ask(request)
        except TimeoutError:
            return self._failed(spec, ExitReason.ENGINE, "The supervisor did not answer.")
        except (EOFError, OSError, ValueError):
            return self._failed(spec, ExitReason.ENGINE, "The supervisor broke.")
        finally:
            del self.running[spec.id]
            await asyncio.shield(self._finish(line, spec.id))
        return self._result(spec, nonce, reply)

    async def _finish(self, line: Line, execution_id: UUID) -> None:
        """A supervisor that has answered is gone at once; one that has not ends its program when nobody listens."""
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await line.end()
        except TimeoutError:
            log.exception("sandbox.supervisor_hangs", execution_id=str(execution_id), backend=self.name)
            line.kill()
        line.close()
        if not line.answered:
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS):
                    await line.gone()
            await self.reap_orphans()

    def _request(self, spec: Spec, nonce: str, gate: Gate | None) -> wire.Request:
        interpreter = self.interpreters[spec.language]
        return {
            **asked(spec, interpreter),
            "backend": self.name,
            "bwrap": self.bwrap,
            "read": [*interpreter.read, *(trust.folders() if gate else ())],
            "environment": environment(nonce, len(spec.layers)) | (trust.variables(gate.secret) if gate else {}),
            "proxy": gate.port if gate else 0,
            "state": str(self.place.folder),
            "drop": self.place.uid_for(spec.id),
        }

    def _result(self, spec: Spec, nonce: str, reply: wire.Reply) -> Result:
        reason, detail = ExitReason(str(reply["reason"])), str(reply["detail"])
        if reason is ExitReason.ENGINE:
            return self._failed(spec, reason, detail)
        raw, value, has_value = _bytes(reply["result"]), None, False
        if raw and reason is ExitReason.OK:
            try:
                value, has_value = outcome.read(raw, nonce), True
            except outcome.BadOutcomeError as error:
                reason, detail = ExitReason.ERROR, f"Its result was not taken: {error}."
        return Result(
            id=spec.id,
            backend=self.name,
            reason=reason,
            detail=detail,
            exit_code=_number(reply["code"]),
            stdout=_bytes(reply["output"]),
            stderr=_bytes(reply["errors"]),
            value=value,
            has_value=has_value,
            artefacts=tuple(Artefact(name, body) for name, body in _entries(reply["artefacts"])),
            refused=tuple((name, why) for name, why in _entries(reply["refused"])),
            usage=Usage(
                cpu_seconds=float(str(reply["cpu"])),
                memory=_number(reply["memory"]),
                bytes=_number(reply["bytes"]),
                seconds=float(str(reply["seconds"])),
            ),
            levels=self._levels(),
            connections=tuple(_direct(*entry) for entry in _entries(reply["direct"])),
        )

    def _failed(self, spec: Spec, reason: ExitReason, detail: str) -> Result:
        if reason is ExitReason.ENGINE:
            log.warning("sandbox.engine_failed", execution_id=str(spec.id), backend=self.name, detail=detail)
        return Result(id=spec.id, backend=self.name, reason=reason, detail=detail, levels=self._levels())

    def _levels(self) -> dict[Guarantee, Level]:
        return {} if self.report is None else {name: found.level for name, found in self.report.evidence.items()}


def environment(nonce: str, layers: int) -> dict[str, str]:
    """All variables a program has. `{work}` is where it works, `{layer0}` where the first layer is."""
    packages = {"PYTHONPATH": ":".join(f"{{layer{number}}}" for number in range(layers))} if layers else {}
    return {
        **packages,
        "PATH": PATH,
        "HOME": "{work}",
        "TMPDIR": "{work}/tmp",
        "LANG": "C.UTF-8",
        "OPENSSL_CONF": "/dev/null",  # Node reads one before anything else, and gives up where it may not
        "SKILL_OUTPUT": "{work}/output",
        "SKILL_RESULT_FD": str(RESULT),
        "SKILL_RESULT_NONCE": nonce,
    }


def asked(spec: Spec, interpreter: Interpreter) -> wire.Request:
    """What a supervisor is told of an execution, wherever it stands."""
    limits = spec.limits
    return {
        "id": str(spec.id),
        "mark": mark_of(spec.id),
        "command": [
            *interpreter.command(spec.entry, imports=imports(spec.entry, spec.files, spec.layers)),
            *spec.arguments,
        ],
        "layers": list(spec.layers),
        "files": dict(spec.files),
        "input": spec.input,
        "memory": limits.memory,
        "cpus": limits.cpus,
        "seconds": limits.seconds,
        "pids": limits.pids,
        "output": limits.output,
        "result": limits.output,
        "disk": limits.disk,
        "artefacts": limits.artefacts,
        "artefact_bytes": limits.artefact_bytes,
    }


def gone(layers: Sequence[str]) -> str:
    """The name of the first layer that is not there; empty when all are."""
    return next((path.name for path in map(Path, layers) if not path.is_dir()), "")


def _direct(host: str, port: int, count: int) -> Connection:
    return Connection(host, port, allowed=False, reason="direct", count=count)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _entries(value: object) -> list[tuple[Any, ...]]:
    return value if isinstance(value, list) else []
