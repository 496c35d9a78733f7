"""What the attempts of one run cost: kept until a transaction of the run writes them down, whatever becomes of it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, after_commit, unit_of_work
from atom.kit.ids import new_id
from atom.llm.budgets.service import BudgetService
from atom.llm.calls import AttemptRecord, FailedOver
from atom.llm.catalogue import Estimate
from atom.llm.errors import OverBudgetError
from atom.llm.ledger.service import LedgerService, Place
from atom.llm.routes import Config, Route

ATTEMPTS_OF_OWNER = 100  # the next owner of a run numbers its attempts behind those: none of its text looks like theirs
AWAY = (DatabaseUnavailableError, PoolExhaustedError)
log = structlog.get_logger(service="agent_execution")


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where spending is accounted for. `config` is what people have set, as this process knows it now."""

    sessions: Sessions = field(repr=False)
    ledger: LedgerService
    budgets: BudgetService
    config: Callable[[], Config] = field(repr=False)


@dataclass(slots=True)
class Spending:
    """Of one owner of a run. `first` is the number before its first attempt."""

    run_id: UUID
    agent_id: UUID
    first: int
    accounts: Accounts
    admit: Callable[[], Awaitable[None]]
    _pending: dict[UUID, tuple[Place, AttemptRecord]] = field(default_factory=dict, init=False)
    _reserved: set[UUID] = field(default_factory=set, init=False)  # whose attempts have not ended
    _limits_version: int = field(default=0, init=False)

    def place(self, step: str) -> Place:
        return Place(self.run_id, self.agent_id, step)

    def note(self, step: str, record: AttemptRecord) -> None:
        self._pending[record.id] = (self.place(step), record)
        if record.reservation is not None:
            self._reserved.discard(record.reservation)

    async def flush(self, session: AsyncSession, *, replied: UUID | None = None, last: bool = False) -> None:
        """Writes down what is not on record yet, in the caller's transaction. What is rolled back stays pending.

        An answered attempt is written with its reply (`replied`): on record before it, it would be taken for paid twice
        when this worker dies in between. `last`: this owner asks no model any more. Then answers whose replies were
        not kept are written, too, and what it reserved for attempts that never began is given back.
        """
        written = [
            (id_, (place, record))
            for id_, (place, record) in self._pending.items()
            if last or record.outcome != "ok" or id_ == replied
        ]
        unused = sorted(self._reserved) if last else []
        settled = [record.reservation for _, (_, record) in written if record.reservation is not None]
        if settled or unused:
            await self.accounts.budgets.lock(session, [*settled, *unused])
        for _, (place, record) in written:
            await self.accounts.ledger.write(session, place, record, attempt=self.first + record.attempt)
        for id_ in unused:
            await self.accounts.budgets.settle(session, id_, tokens=0, usd=Decimal(0))
        if written or unused:
            after_commit(session, lambda: self._forget([id_ for id_, _ in written], unused))

    async def flush_alone(self) -> None:
        """For an owner that lost its run: what it paid for is on record all the same."""
        if not self._pending and not self._reserved:
            return
        try:
            async with unit_of_work(self.accounts.sessions) as session:
                await self.flush(session, last=True)
        except AWAY as error:
            lost = [str(id_) for id_ in self._pending]
            log.error("execution.spending_not_recorded", error_code=error.code, calls=lost, run_id=str(self.run_id))

    async def reserve(self, route: Route, estimate: Estimate) -> UUID | None:
        """The door of every attempt. Raises OverBudgetError, and HaltedError while everything is halted."""
        await self.admit()
        config = self.accounts.config()
        self._limits_version = config.version
        if not config.budgets:
            return None
        id_ = new_id()
        self._reserved.add(id_)  # before: a commit whose reply is lost, or whose task is cancelled, is given back later
        held = False
        try:
            async with unit_of_work(self.accounts.sessions) as session:
                held = await self.accounts.budgets.reserve(
                    session,
                    config.budgets,
                    id_=id_,
                    run_id=self.run_id,
                    agent_id=self.agent_id,
                    route=route,
                    estimate=estimate,
                )
        except OverBudgetError:
            self._reserved.discard(id_)
            raise
        if not held:
            self._reserved.discard(id_)
        return id_ if held else None

    async def limits_changed(self, session: AsyncSession) -> bool:
        """Since the last attempt was refused or let through. No limit changes from here to the end of the transaction:
        whoever changes one then finds this run parked."""
        return await self.accounts.budgets.hold_config(session) != self._limits_version

    async def lost_call(self, session: AsyncSession, step: str | None) -> None:
        """A worker died, and if there is a step, where it may have been asking a model."""
        if step is not None:
            await self.accounts.ledger.unknown(session, self.place(step), attempt=self.first)
        await self.accounts.budgets.abandoned(session, self.run_id)

    def _forget(self, ids: Sequence[UUID], unused: Sequence[UUID]) -> None:
        for id_ in ids:
            self._pending.pop(id_, None)
        self._reserved.difference_update(unused)


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
