"""Anchoring: the chain's end, signed, into a file and the log. Each process with a home of its own is a witness.

An anchor that the chain contradicts stops it: nothing is signed over what an earlier anchor says was otherwise, until
a person reseals.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from atom.errors import AtomError, UnavailableError
from atom.governance import store as entries
from atom.governance.audit import store
from atom.governance.audit.anchors import ANCHOR, RESEAL, Anchor, key_id, public_keys, witness
from atom.governance.audit.errors import AnchorFileError, NothingToResealError, ResealReasonError
from atom.governance.audit.service import AuditService
from atom.infra.db import unit_of_work
from atom.kit.clock import Clock
from atom.kit.text import clean, shorten
from atom.settings import AuditSettings

MAX_REASON = 500
LOOKED_UP = 1000  # anchors that are compared in one query
MOST_AT_ONCE = 1000  # anchors that one turn writes
TURN_SECONDS = 2.0
TAIL = 1000  # rows that are verified before an anchor is signed
log = structlog.get_logger(service="audit")


@dataclass(slots=True)
class Anchoring:
    """Writes anchors: after `anchor_seconds` for whatever is new, and one for every `anchor_rows` rows."""

    audit: AuditService
    clock: Clock
    settings: AuditSettings
    _said: str = field(default="", init=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, and once more then. What fails is logged once and tried again."""
        due = self.clock.monotonic()
        while not stop.is_set():
            if await self._turn(due=self.clock.monotonic() >= due):
                due = self.clock.monotonic() + self.settings.anchor_seconds
            try:
                await asyncio.wait_for(stop.wait(), min(TURN_SECONDS, self.settings.anchor_seconds))
            except TimeoutError:
                continue
        await self._turn(due=True)

    async def _turn(self, *, due: bool) -> bool:
        """Whether the end of the chain was looked at."""
        try:
            if due:
                await self.audit.verify_tail(TAIL)
            await self.anchor(due=due)
        except (AtomError, OSError) as error:
            reason = error.code if isinstance(error, AtomError) else type(error).__name__
            if reason != self._said and not (isinstance(error, UnavailableError) and error.retryable):
                log.error("audit.anchor_failed", error_code=reason, error=str(error))
            self._said = reason
            return False
        self._said = ""
        return due

    async def anchor(self, *, due: bool = True) -> Sequence[Anchor]:
        """Signs what is new: full runs of `anchor_rows` rows always, the end of the chain when it is `due`."""
        newest = await asyncio.to_thread(self.audit.file.newest)
        after, every = (newest.seq if newest else 0), self.settings.anchor_rows
        async with unit_of_work(self.audit.sessions) as session:
            head = await store.head(session)
            if head is None or head.seq <= after:
                return ()
            runs = range(after + every, head.seq + 1, every)[:MOST_AT_ONCE]
            wanted = sorted({*(runs if newest else ()), *((head.seq,) if due or not newest else ())})
            known = await store.hashes(session, [after, *wanted])
        if newest and known.get(after) != newest.hash:
            return ()  # verify_tail has said so
        return await self._write(newest, [Anchor(ANCHOR, self.clock.now(), seq, known[seq]) for seq in wanted])

    async def reseal(self, by: str, reason: str) -> Anchor:
        """Accepts the chain as it is after a restore: anchors that it contradicts count no more. An audited act.

        Raises ResealReasonError, NothingToResealError, AnchorFileError and what the signing key raises.
        """
        said = clean(shorten(reason.strip(), MAX_REASON))
        if not said:
            raise ResealReasonError("reason: it is empty.", hint="Whoever audits this wants to know why.")
        key = await asyncio.to_thread(self.audit.signing.load)
        lines = await self.audit.anchor_lines(0, 1 << 60)
        anchors = (await asyncio.to_thread(witness, lines, public_keys(await self.audit.public_key()))).anchors
        trusted = await self._trusted(anchors)
        lost = max((anchor.seq for anchor in anchors), default=0)
        if not anchors or lost <= trusted:
            raise NothingToResealError(
                "The chain contradicts none of the anchors.", hint="`atom audit verify` says how it stands."
            )
        async with unit_of_work(self.audit.sessions) as session:
            head = await store.head(session)
            data = {
                "trusted": trusted,
                "anchored": lost,
                "chain": head.seq if head else 0,
                "key_id": key_id(key.public_key()),
            }
            await entries.audit(
                session,
                {"actor": by, "action": "audit.reseal", "decision": "resealed", "reason": said, "data": data},
            )
        async with unit_of_work(self.audit.sessions) as session:
            head = await store.head(session)
        assert head is not None
        anchor = Anchor(RESEAL, self.clock.now(), head.seq, head.hash, trusted=trusted, reason=said)
        newest = await asyncio.to_thread(self.audit.file.newest)
        (written,) = await self._write(newest, [anchor])
        log.warning("audit.resealed", by=by, seq=head.seq, trusted=trusted, anchored=lost, reason=said)
        return written

    async def _trusted(self, anchors: Sequence[Anchor]) -> int:
        """The greatest number up to which no anchor is contradicted."""
        known = sorted(anchors, key=lambda anchor: anchor.seq)
        trusted = 0
        for start in range(0, len(known), LOOKED_UP):
            some = known[start : start + LOOKED_UP]
            async with unit_of_work(self.audit.sessions) as session:
                found = await store.hashes(session, [anchor.seq for anchor in some])
            for anchor in some:
                if found.get(anchor.seq) != anchor.hash:
                    return trusted
                trusted = anchor.seq
        return trusted

    async def _write(self, newest: Anchor | None, anchors: Sequence[Anchor]) -> Sequence[Anchor]:
        """Signed, into the file and the log; nothing when another process was first."""
        if not anchors:
            return ()
        key = await asyncio.to_thread(self.audit.signing.load)
        signed = [anchor.signed(key) for anchor in anchors]
        try:
            written = await asyncio.to_thread(self.audit.file.append, lambda last: signed if last == newest else ())
        except OSError as error:
            raise AnchorFileError(
                f"No anchor can be written to {self.audit.file.path} ({type(error).__name__}).",
                hint="Let this user write there, or set ATOM_AUDIT__ANCHOR_FILE.",
            ) from error
        for anchor in written:
            log.info("audit.anchored", **anchor.fields(), signature=anchor.signature)
        return written
