"""What the policies say to one call: its arguments, the time, and what has been spent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.decide import Spoken
from atom.governance.policies.rules import Moment, Rule, Spent
from atom.governance.wish import Wish
from atom.kit.clock import Clock, SystemClock
from atom.llm.ledger.service import LedgerService

NO_RUN = UUID(int=0)  # of a wish that is only explained


class Costs(Protocol):
    async def spent(self, session: AsyncSession, scope: str, wish: Wish, now: datetime) -> Spent | None:
        """Dollars so far in a scope (`run`, `agent_day`, `day`; days in UTC). None: there is no such thing here."""
        ...


class NobodyKnows:
    """Without a ledger every amount counts as exceeded."""

    async def spent(self, session: AsyncSession, scope: str, wish: Wish, now: datetime) -> Spent | None:
        return None


@dataclass(frozen=True, slots=True)
class LedgerCosts:
    ledger: LedgerService

    async def spent(self, session: AsyncSession, scope: str, wish: Wish, now: datetime) -> Spent | None:
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if scope == "run":
            if wish.run_id == NO_RUN:
                return None
            usd, unpriced = await self.ledger.spent(session, run_id=wish.run_id)
        elif scope == "agent_day":
            usd, unpriced = await self.ledger.spent(session, agent_id=wish.agent_id, since=day)
        else:
            usd, unpriced = await self.ledger.spent(session, since=day)
        return Spent(usd, unpriced == 0)


@dataclass(frozen=True, slots=True)
class PolicyJudge:
    clock: Clock = field(default_factory=SystemClock)
    costs: Costs = field(default_factory=NobodyKnows)

    async def judge(self, session: AsyncSession, rules: Sequence[Rule], wish: Wish) -> tuple[Spoken, ...]:
        """The ledger is read only when a rule is about money."""
        now = self.clock.now()
        spent: dict[str, Spent] = {}
        for scope in sorted(frozenset().union(*(rule.needs for rule in rules))):
            found = await self.costs.spent(session, scope, wish, now)
            if found is not None:
                spent[scope] = found
        moment = Moment(wish.arguments, now, spent)
        return tuple(said for rule in rules if (said := rule.judge(moment)) is not None)
