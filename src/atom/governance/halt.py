"""The kill switch: while it stands, no run is claimed and no effect is authorised, on any replica."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import InvalidError, UnavailableError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance import store
from atom.kit.text import clean, shorten

CHANNEL = "atom_halt"  # its payload is `halt` or `lift`
MAX_REASON = 500


class HaltedError(UnavailableError):
    """Everything is stopped. Whoever gets this lets go of what it does and waits."""

    code = "halted"


def halted_error() -> HaltedError:
    return HaltedError("Everything is halted.", hint="`atom halt` says why, `atom halt --lift` lets it go on.")


class HaltReasonError(InvalidError):
    code = "halt_reason_missing"


@dataclass(frozen=True, slots=True)
class Halt:
    reason: str
    halted_by: str
    halted_at: datetime


@dataclass(frozen=True, slots=True)
class HaltService:
    outbox: Outbox

    async def standing(self, session: AsyncSession) -> Halt | None:
        row = await store.halt(session)
        return None if row is None else Halt(row.reason, row.halted_by, row.halted_at)

    async def halt(self, session: AsyncSession, by: str, reason: str) -> Halt:
        """Stops every claim and every effect. Doing it again changes nothing. Raises HaltReasonError."""
        said = clean(shorten(reason.strip(), MAX_REASON))
        if not said:
            raise HaltReasonError(
                "reason: it is empty.", hint="Whoever finds this at 3 a.m. wants to know why.", field="reason"
            )
        if await store.set_halt(session, reason=said, by=by):
            await self._record(session, by, "halted", EventType.HALTED, said)
        await session.execute(select(func.pg_notify(CHANNEL, "halt")))
        found = await self.standing(session)
        assert found is not None
        return found

    async def lift(self, session: AsyncSession, by: str) -> bool:
        """Lets work go on. False when nothing was halted."""
        lifted = await store.lift_halt(session)
        if lifted:
            await self._record(session, by, "lifted", EventType.HALT_LIFTED, "")
            await session.execute(select(func.pg_notify(CHANNEL, "lift")))
        return lifted

    async def _record(self, session: AsyncSession, by: str, decision: str, event: EventType, reason: str) -> None:
        await store.audit(
            session, {"actor": by, "action": "halt", "decision": decision, "reason": reason or decision, "data": {}}
        )
        await self.outbox.emit(session, event, actor=by, data={"reason": reason})
