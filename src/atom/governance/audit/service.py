"""The chain for its readers: pages, exports, and the look at its end."""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.audit import store
from atom.governance.audit.anchor_file import AnchorFile
from atom.governance.audit.anchors import Anchor, Witness
from atom.governance.audit.errors import AnchorFileError
from atom.governance.audit.findings import Finding, Kind, Report
from atom.governance.audit.lines import Sealed
from atom.governance.audit.signing import SigningKey
from atom.governance.audit.store import Filters, Head
from atom.governance.audit.verify import Verification
from atom.governance.tables import AuditEntry
from atom.infra.db import Sessions, unit_of_work

T = TypeVar("T")
log = structlog.get_logger(service="audit")


@dataclass(frozen=True, slots=True)
class AuditService:
    sessions: Sessions
    signing: SigningKey
    file: AnchorFile

    async def page(
        self, session: AsyncSession, filters: Filters, *, before: UUID | None, limit: int
    ) -> Sequence[tuple[AuditEntry, int | None, str | None]]:
        """Entries with their number and hash, the newest first."""
        return await store.page(session, filters, before=before, limit=limit)

    async def head(self, session: AsyncSession) -> Head | None:
        return await store.head(session)

    async def chain(self, session: AsyncSession, after: int, until: int, limit: int) -> Sequence[Sealed]:
        return await store.chain(session, after, until, limit)

    async def strays(
        self, session: AsyncSession, after: UUID, limit: int
    ) -> tuple[Sequence[Mapping[str, Any]], UUID | None]:
        """Entries without a link among the next `limit`, and where to go on."""
        return await store.strays(session, after, limit)

    async def numbers(
        self, session: AsyncSession, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        """The first and the last row of a time; rows between them are whole, so that they can be verified."""
        return await store.numbers(session, since, until)

    async def anchor_lines(self, after: int, limit: int) -> Sequence[str]:
        """Lines of this process's anchors, behind line `after`. Raises AnchorFileError."""
        return await self._file(lambda: list(itertools.islice(self.file.lines(after=after), limit)))

    async def public_key(self) -> str:
        """In PEM. Raises AuditKeyMissingError, AuditKeyInvalidError."""
        return await asyncio.to_thread(self.signing.public)

    async def verify_tail(self, limit: int) -> Report:
        """The last `limit` rows, and whether the newest anchor still holds. Cheap enough for every minute; logs
        `audit.chain_broken` when something is wrong. Raises AnchorFileError."""
        newest = await self._file(self.file.newest)
        async with unit_of_work(self.sessions) as session:
            head = await store.head(session)
            last = head.seq if head else 0
            rows = await store.chain(session, last - limit, last, limit)
            strays = await store.recent_strays(session, limit)
            known = await store.hashes(session, [newest.seq]) if newest else {}
        report = await asyncio.to_thread(_verified, rows, strays, newest)
        if newest and newest.seq < report.first and known.get(newest.seq) != newest.hash:
            lost = Finding(newest.seq, Kind.REWRITTEN, newest.seq, "This row is not the one that was anchored.")
            report = replace(report, findings=(lost, *report.findings))
        if not report.ok:
            first = report.findings[0]
            log.error(
                "audit.chain_broken", kind=first.kind.value, seq=first.seq, detail=first.detail,
                findings=len(report.findings),
            )  # fmt: skip
        return report

    async def _file(self, read: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(read)
        except OSError as error:
            raise AnchorFileError(
                f"The anchors at {self.file.path} cannot be read ({type(error).__name__}).",
                hint="ATOM_AUDIT__ANCHOR_FILE says where they are.",
            ) from error


def _verified(rows: Sequence[Sealed], strays: Sequence[Mapping[str, Any]], newest: Anchor | None) -> Report:
    known = Witness((newest,)) if newest else Witness()
    found = Verification(known, rows[0].seq, None) if rows else Verification(known)
    for row in rows:
        found.add(row.link)
    for stray in strays:
        found.stray(stray)
    return found.report()
