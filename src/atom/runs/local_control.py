"""What this process's worker is told about the runs it works on: stop at once, stop at the next boundary."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from atom.errors import AtomError
from atom.governance.halt import halted_error
from atom.kit.ids import parse_id
from atom.runs.errors import HandOverError, PauseError


@dataclass(slots=True)
class LocalControl:
    """Whoever tells it has put the wish on record before: it is only the faster way."""

    draining: bool = False
    halted: bool = False
    heard: int = 0  # changes of `halted`, so that what was read before one is not taken for news after it
    _tasks: dict[UUID, asyncio.Task[None]] = field(default_factory=dict, init=False)
    _cancelled: set[UUID] = field(default_factory=set, init=False)
    _pausing: set[UUID] = field(default_factory=set, init=False)
    _stopped: set[UUID] = field(default_factory=set, init=False)
    _leaving: set[UUID] = field(default_factory=set, init=False)

    @contextmanager
    def at_work(self, run_id: UUID, task: asyncio.Task[None]) -> Iterator[None]:
        self._tasks[run_id] = task
        try:
            yield
        finally:
            if self._tasks.get(run_id) is task:
                del self._tasks[run_id]
                self._cancelled.discard(run_id)
                self._pausing.discard(run_id)
                self._stopped.discard(run_id)
                self._leaving.discard(run_id)

    def halt(self) -> None:
        """The kill switch: stop every run now, in the middle of whatever it does. They go on when it is lifted."""
        self.halted = True
        self.heard += 1
        for run_id, task in self._tasks.items():
            if run_id not in self._stopped | self._leaving:
                self._stopped.add(run_id)
                task.cancel()

    def lift(self) -> None:
        self.halted = False
        self.heard += 1

    def leave(self, run_id: UUID) -> None:
        """The run's work here is over, and its owner lets go of it: stopped in that, it would keep its lease, and the
        next owner would take it for dead."""
        self._leaving.add(run_id)

    def stopped(self, run_id: UUID) -> bool:
        """By the kill switch."""
        return run_id in self._stopped

    def drain(self) -> None:
        """Hand every run over at its next step boundary, and claim no more."""
        self.draining = True

    def cancel(self, run_id: UUID) -> None:
        """Stop the run now, in the middle of whatever it does, if this process works on it."""
        task = self._tasks.get(run_id)
        if task is not None and run_id not in self._leaving:
            self._cancelled.add(run_id)
            task.cancel()

    def note_cancelled(self, run_id: UUID) -> None:
        self._cancelled.add(run_id)

    def cancelled(self, run_id: UUID) -> bool:
        return run_id in self._cancelled

    def pause(self, run_id: UUID) -> None:
        """Stop the run at its next step boundary, if this process works on it."""
        if run_id in self._tasks:
            self._pausing.add(run_id)

    def reason_to_leave(self, run_id: UUID) -> AtomError | None:
        """Asked at each step boundary."""
        if run_id in self._pausing:
            return PauseError("Somebody wants the run to stop here.")
        if self.halted:
            return halted_error()
        return HandOverError("This worker is stopping.") if self.draining else None

    def hear_cancel(self, payload: str) -> None:
        """What another process said by NOTIFY: a run's id, or nothing of use."""
        run_id = parse_id(payload)
        if run_id is not None:
            self.cancel(run_id)

    def hear_halt(self, payload: str) -> None:
        """`halt` or `lift`. One that was missed is found before the next model call and by each run's heartbeat."""
        if payload == "halt":
            self.halt()
        elif payload == "lift":
            self.lift()

    def hear_pause(self, payload: str) -> None:
        run_id = parse_id(payload)
        if run_id is not None:
            self.pause(run_id)
