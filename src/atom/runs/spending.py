"""What the attempts of one run cost: kept until a transaction of the run writes them down, whatever becomes of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, after_commit, unit_of_work
from atom.llm.budgets.service import BudgetService
from atom.llm.calls import AttemptRecord, FailedOver
from atom.llm.catalogue import Estimate
from atom.llm.ledger.service import LedgerService, Place
from atom.llm.routes import Budget, Route

ATTEMPTS_OF_OWNER = 100  # the next owner of a run numbers its attempts behind those: none of its text looks like theirs
AWAY = (DatabaseUnavailableError, PoolExhaustedError)
log = structlog.get_logger(service="agent_execution")


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where spending is accounted for. `limits` are those in force now."""

    sessions: Sessions = field(repr=False)
    ledger: LedgerService
    budgets: BudgetService
    limits: Callable[[], tuple[Budget, ...]] = field(repr=False)


@dataclass(slots=True)
class Spending:
    """Of one owner of a run. `first` is the number before its first attempt."""

    run_id: UUID
    agent_id: UUID
    first: int
    accounts: Accounts
    _pending: dict[UUID, tuple[Place, AttemptRecord]] = field(default_factory=dict, init=False)

    def place(self, step: str) -> Place:
        return Place(self.run_id, self.agent_id, step)

    def note(self, step: str, record: AttemptRecord) -> None:
        self._pending[record.id] = (self.place(step), record)

    async def flush(self, session: AsyncSession) -> None:
        """Writes down what is not on record yet, in the caller's transaction. What is rolled back stays pending."""
        if not self._pending:
            return
        written = list(self._pending.items())
        for _, (place, record) in written:
            await self.accounts.ledger.write(session, place, record, attempt=self.first + record.attempt)
        after_commit(session, lambda: self._forget([id_ for id_, _ in written]))

    async def flush_alone(self) -> None:
        """For an owner that lost its run: what it paid for is on record all the same."""
        if not self._pending:
            return
        try:
            async with unit_of_work(self.accounts.sessions) as session:
                await self.flush(session)
        except AWAY as error:
            lost = [str(id_) for id_ in self._pending]
            log.error("execution.spending_not_recorded", error_code=error.code, calls=lost, run_id=str(self.run_id))

    async def reserve(self, route: Route, estimate: Estimate) -> UUID | None:
        limits = self.accounts.limits()
        if not limits:
            return None
        async with unit_of_work(self.accounts.sessions) as session:
            return await self.accounts.budgets.reserve(
                session, limits, run_id=self.run_id, agent_id=self.agent_id, route=route, estimate=estimate
            )

    async def lost_call(self, session: AsyncSession, step: str) -> None:
        """A worker died where it may have been asking a model."""
        await self.accounts.ledger.unknown(session, self.place(step), attempt=self.first)

    def _forget(self, ids: list[UUID]) -> None:
        for id_ in ids:
            self._pending.pop(id_, None)


@dataclass(frozen=True, slots=True)
class StepHooks:
    """`CallHooks` of one step of a run."""

    spending: Spending
    step: str
    announce: Callable[[str, FailedOver], Awaitable[None]]

    def note(self, record: AttemptRecord) -> None:
        self.spending.note(self.step, record)

    async def reserve(self, route: Route, estimate: Estimate) -> UUID | None:
        return await self.spending.reserve(route, estimate)

    async def failed_over(self, change: FailedOver) -> None:
        """A database that is away does not stop the call: the ledger has it later, the view is only poorer."""
        try:
            await self.announce(self.step, change)
        except AWAY as error:
            log.warning("execution.failover_not_shown", error_code=error.code, run_id=str(self.spending.run_id))
