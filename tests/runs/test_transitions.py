"""The rules of a run's status: pure, and the same in SQL."""

import itertools
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable import lease
from atom.durable.lease import FencedError
from atom.errors import ConflictError
from atom.infra.db import Sessions, unit_of_work
from atom.kit.ids import new_id
from atom.runs import store, transitions
from atom.runs.models import Run, RunStatus, WaitReason
from atom.runs.transitions import GO_ON, HAND_OVER, MAX_CRASHES, Move, State, claim, moved, park
from tests.support.databases import sessions_on

MOVES = [GO_ON, HAND_OVER, transitions.PAUSE, transitions.COMPLETE, transitions.FAIL, transitions.CANCEL]
MOVES += [park(reason) for reason in WaitReason]


def every_state() -> list[State]:
    """Each that can be: a status with or without an owner, live or silent."""
    found = []
    for status in RunStatus:
        reasons = list(WaitReason) if status is RunStatus.WAITING else [None]
        leases = [(False, False), (True, True), (True, False)] if status is RunStatus.RUNNING else [(False, False)]
        for reason, (owned, live) in itertools.product(reasons, leases):
            found.append(State(status, reason, epoch=3, owned=owned, live=live))
    return found


class Life(RuleBasedStateMachine):
    """A run in the hands of several workers and people, in any order; `epochs` are what the workers believe in."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.epochs: list[int] = []
        self.ended: RunStatus | None = None

    @rule()
    def claims(self) -> None:
        taken = claim(self.state)
        if taken is None:
            assert self.state.at_work or self.state.status not in transitions.WORKABLE
            return
        assert taken.epoch not in self.epochs
        assert taken.crashes == self.state.crashes + self.state.owned
        self.epochs.append(taken.epoch)
        self.state = taken

    @rule()
    def falls_silent(self) -> None:
        self.state = replace(self.state, live=False)

    @precondition(lambda self: self.epochs)
    @rule(data=st.data(), move=st.sampled_from(MOVES))
    def writes(self, data: st.DataObject, move: Move) -> None:
        epoch = data.draw(st.sampled_from(self.epochs))
        owner = self.state.owned and epoch == max(self.epochs)
        try:
            after = moved(self.state, epoch, move)
        except FencedError:
            assert not owner
            return
        assert owner
        assert self.state.status is RunStatus.RUNNING
        self.state = after

    @rule(wish=st.sampled_from([transitions.cancel, transitions.pause, transitions.resume]))
    def is_asked(self, wish: Any) -> None:
        before = self.state
        try:
            self.state = wish(self.state)
        except ConflictError:
            return
        if before.at_work:  # only its worker ends or parks it
            assert self.state.at_work

    @rule(abort=st.booleans())
    def is_reviewed(self, abort: bool) -> None:
        was = self.state.wait_reason
        try:
            self.state = transitions.reviewed(self.state, abort=abort)
        except ConflictError:
            assert was is not WaitReason.REVIEW
            return
        assert was is WaitReason.REVIEW

    @rule(reason=st.sampled_from(WaitReason))
    def is_woken(self, reason: WaitReason) -> None:
        awake = transitions.woken(self.state, reason)
        if awake is not None:
            assert self.state.wait_reason is reason
            self.state = awake

    @invariant()
    def an_end_is_for_ever(self) -> None:
        if self.ended is not None:
            assert self.state.status is self.ended
        if self.state.status.ended:
            self.ended = self.state.status

    @invariant()
    def it_can_be_helped_or_has_ended(self) -> None:
        """Nothing is lost: a run is at work, can be claimed, waits for something named, is paused, or has ended."""
        state = self.state
        workable = state.at_work or claim(state) is not None
        assert workable or state.wait_reason or state.status is RunStatus.PAUSED or state.status.ended

    @invariant()
    def the_row_allows_it(self) -> None:
        state = self.state
        assert (state.status is RunStatus.WAITING) == (state.wait_reason is not None)
        assert not state.owned or state.status is RunStatus.RUNNING


TestLife = Life.TestCase


@given(st.integers(0, 10))
def test_poison_is_what_crashed_three_times(crashes: int) -> None:
    assert transitions.is_poison(crashes) is (crashes >= MAX_CRASHES)


def test_silent_worker_that_nobody_followed_may_still_write() -> None:
    state = State(RunStatus.RUNNING, epoch=2, owned=True, live=False)
    assert moved(state, 2, GO_ON).live


def test_zombie_writes_nothing_after_a_person_ended_the_run() -> None:
    silent = State(RunStatus.RUNNING, epoch=2, owned=True, live=False)
    ended = transitions.cancel(silent)
    assert ended.status is RunStatus.CANCELLED
    with pytest.raises(FencedError):
        moved(ended, 2, transitions.COMPLETE)


@pytest.mark.parametrize("reason", [WaitReason.OPERATOR, WaitReason.PROVIDER, WaitReason.BUDGET, WaitReason.RESTORED])
def test_a_person_may_let_go_on_what_waits_for_no_answer(reason: WaitReason) -> None:
    assert transitions.resume(State(RunStatus.WAITING, reason)).status is RunStatus.QUEUED


@pytest.fixture
async def sessions(database: URL) -> Any:
    async with sessions_on(database) as found:
        yield found


async def a_run(session: AsyncSession) -> UUID:
    agent, run = new_id(), new_id()
    await session.execute(
        text(
            "INSERT INTO agent (id, name, instructions, tools, maturity, status, version)"
            " VALUES (:id, :name, 'x', '{}', 'student', 'active', 1)"
        ),
        {"id": agent, "name": f"a{agent.hex}"},
    )
    conversation = await store.add_conversation(session, agent)
    values = {"agent_id": agent, "agent_version": 1, "conversation_id": conversation, "trigger": "manual"}
    await store.add_run(session, {"id": run, "requested_by": "t", "task": "t", "files": [], **values})
    return run


async def put(session: AsyncSession, run: UUID, state: State) -> None:
    expires = {(True, True): "now() + interval '1 hour'", (True, False): "now() - interval '1 hour'"}
    await session.execute(
        text(
            "UPDATE agent_execution SET status = :status, wait_reason = :reason, lease_epoch = :epoch,"
            " lease_owner = :owner, crashes = :crashes, ended_at = CASE WHEN :ended THEN now() END,"
            f" lease_expires_at = {expires.get((state.owned, state.live), 'NULL')} WHERE id = :id"
        ),
        {
            "status": state.status.value, "reason": state.wait_reason, "epoch": state.epoch, "id": run,
            "owner": "w" if state.owned else None, "crashes": state.crashes, "ended": state.status.ended,
        },
    )  # fmt: skip


async def test_the_row_reads_as_the_state_that_was_written(sessions: Sessions) -> None:
    async with unit_of_work(sessions) as session:
        run = await a_run(session)
        for state in every_state():
            await put(session, run, state)
            assert (await store.locked(session, [run]))[0][1] == state


async def test_fenced_write_in_sql_is_the_pure_rule(sessions: Sessions) -> None:
    """Every state, every move, the right epoch and a wrong one."""
    refused = allowed = 0
    async with unit_of_work(sessions) as session:
        run = await a_run(session)
        for state, move, epoch in itertools.product(every_state(), MOVES, (2, 3)):
            await put(session, run, state)
            try:
                wanted: State | None = moved(state, epoch, move)
            except FencedError:
                wanted = None
            values: dict[str, Any] = {"status": move.status.value, "wait_reason": move.wait_reason}
            values |= {"ended_at": text("now()")} if move.status.ended else {}
            try:
                await lease.write(session, Run, run, epoch=epoch, seconds=None if move.release else 60, values=values)
            except FencedError:
                assert wanted is None, (state, move, epoch)
                refused += 1
                continue
            allowed += 1
            found = (await store.locked(session, [run]))[0][1]
            assert found == wanted, (state, move, epoch)
    assert allowed == 2 * len(MOVES)
    assert refused > allowed
