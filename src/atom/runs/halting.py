"""The kill switch as this process knows it: told by NOTIFY, and looked up where a model is about to be asked."""

import asyncio
from dataclasses import dataclass, field

import structlog

from atom.errors import UnavailableError
from atom.governance.halt import halted_error
from atom.governance.service import GovernanceService
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import Clock
from atom.runs.local_control import LocalControl

MAX_AGE = 0.4  # seconds; with the statement itself, a halt whose notification was lost binds within one
log = structlog.get_logger(service="worker")


@dataclass(slots=True)
class HaltWatch:
    """Effects are stopped at their own door, in the transaction that puts them on record. This is the door of model
    calls, which have no transaction of their own: one look serves all calls of 0.4 seconds."""

    sessions: Sessions = field(repr=False)
    governance: GovernanceService = field(repr=False)
    control: LocalControl
    clock: Clock
    _read_at: float = field(default=float("-inf"), init=False)
    _reading: "asyncio.Task[None] | None" = field(default=None, init=False)
    _look: "asyncio.Task[None] | None" = field(default=None, init=False)

    async def admit(self) -> None:
        """Raises HaltedError while everything is halted, and what the database raises when it cannot be asked."""
        oldest = self.clock.monotonic() - MAX_AGE
        while self._read_at < oldest:  # at most twice: a look that began before may be too old
            await self._join()
        if self.control.halted:
            raise halted_error()

    def hear(self, payload: str) -> None:
        """`halt`, `lift`, or nothing: then something may have been said while nobody listened."""
        self.control.hear_halt(payload)
        if not payload:
            self._look = asyncio.ensure_future(self._look_now())

    async def _look_now(self) -> None:
        try:
            await self._join()
        except UnavailableError as error:
            log.debug("worker.halt_not_read", error_code=error.code)

    async def _join(self) -> None:
        """All who ask at once share one look, also its failure."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(_seen)
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        began, heard = self.clock.monotonic(), self.control.heard
        async with unit_of_work(self.sessions) as session:
            halted = await self.governance.halted(session)
        self._read_at = began
        if self.control.heard != heard:
            return  # what was heard meanwhile is newer
        if halted:
            self.control.halt()
        else:
            self.control.lift()


def _seen(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
