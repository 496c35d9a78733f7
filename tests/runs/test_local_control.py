"""What a worker is told about its runs, and when it is too late to stop one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from atom.governance.halt import HaltedError
from atom.infra.db import Sessions
from atom.kit.clock import FrozenClock
from atom.runs.halting import HaltWatch
from atom.runs.local_control import LocalControl

RUN = UUID(int=1)


@asynccontextmanager
async def at_work(control: LocalControl) -> AsyncIterator["asyncio.Task[None]"]:
    task: asyncio.Task[None] = asyncio.ensure_future(asyncio.sleep(30))
    with control.at_work(RUN, task):
        yield task
    task.cancel()


async def test_a_run_that_its_owner_lets_go_of_is_not_stopped_in_that() -> None:
    """It would keep its lease, and the next owner would take it for the trace of a crash."""
    control = LocalControl()
    async with at_work(control) as task:
        control.leave(RUN)
        control.halt()
        control.cancel(RUN)
        await asyncio.sleep(0)
        assert not task.cancelled()
        assert task.cancelling() == 0
    async with at_work(control) as task:  # the next time it is a run like any other
        control.halt()
        assert task.cancelling() == 1


def test_a_halt_and_a_drain_are_told_apart() -> None:
    control = LocalControl(draining=True)
    assert not isinstance(control.reason_to_leave(RUN), HaltedError)
    control.halt()
    assert isinstance(control.reason_to_leave(RUN), HaltedError)


class SlowGovernance:
    """Says what was so when it was asked, late. `meanwhile` happens before the answer arrives."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def halted(self, _: object) -> bool:
        self.asked += 1
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        self.meanwhile()
        return answer


def watch(sessions: Sessions, governance: SlowGovernance) -> tuple[HaltWatch, FrozenClock]:
    clock = FrozenClock()
    return HaltWatch(sessions, governance, LocalControl(), clock), clock  # type: ignore[arg-type]


async def test_one_look_serves_all_calls_of_a_moment_and_none_of_the_next(sessions: Sessions) -> None:
    governance = SlowGovernance(False, True, False)
    halts, clock = watch(sessions, governance)
    await asyncio.gather(*(halts.admit() for _ in range(50)))
    assert governance.asked == 1
    clock.advance(0.3)
    await halts.admit()
    assert governance.asked == 1
    clock.advance(0.2)
    with pytest.raises(HaltedError):
        await halts.admit()
    clock.advance(0.5)
    await halts.admit()  # the word of the lift was lost, too
    assert governance.asked == 3


async def test_what_is_heard_while_looking_is_newer_than_what_was_seen(sessions: Sessions) -> None:
    governance = SlowGovernance(False)
    halts, _ = watch(sessions, governance)
    governance.meanwhile = lambda: halts.hear("halt")
    with pytest.raises(HaltedError):
        await halts.admit()


async def test_a_listener_that_comes_back_makes_the_process_look(sessions: Sessions) -> None:
    halts, _ = watch(sessions, SlowGovernance(True))
    halts.hear("")
    async with asyncio.timeout(5):
        while not halts.control.heard:
            await asyncio.sleep(0.01)
    assert halts.control.halted
