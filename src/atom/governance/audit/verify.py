"""Verification: rows go in one by one in the order of their numbers, a report comes out. Pure, and bounded in memory.

A row's hash covers its number, so a row that was moved still says where it was sealed. What is found is told by where
the rows stand and where they were sealed: that is how an edit, a deletion, an insertion and a move are told apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from atom.governance.audit.anchors import Anchor, Witness
from atom.governance.audit.canonical import GENESIS, Link, SpellingError, body, seal
from atom.governance.audit.findings import Finding, Kind, Report

REACH = 64  # how far from its place a row is looked for as rows come by
MOST = 2000  # places, odd rows and strays that are kept for a closer look
PAIRED = 200  # odd rows that are held against each other

REHASHED = "It was replaced and its hash computed anew: the row behind it names another one."
GONE = "The chain names an entry that is not there."


@dataclass(slots=True)
class Piece:
    """Consecutive rows. `at`: the number of the first; `sealed`: the one it was sealed with, None: it is not known."""

    at: int
    count: int
    sealed: int | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers that are missing, the hash before them, and what the row behind them names."""

    first: int
    last: int
    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class Ends:
    """Of rows that were read earlier: when, the number of the last, and whether the chain ended there."""

    made_at: datetime | None = None
    last: int = 0
    whole: bool = True


@dataclass(slots=True)
class Verification:
    """`first` is the number of the first row that must come; `before` None: what precedes it is not known."""

    witness: Witness
    first: int = 1
    before: bytes | None = GENESIS
    rows: int = 0
    last: Link | None = None
    _end: int = 0
    _shift: int = 0
    _pieces: list[Piece] = field(default_factory=list)
    _loose: list[int] = field(default_factory=list)
    _gaps: list[Gap] = field(default_factory=list)
    _odd: list[Link] = field(default_factory=list)
    _missing: list[Link] = field(default_factory=list)
    _strays: list[Mapping[str, Any]] = field(default_factory=list)
    _differing: list[Anchor] = field(default_factory=list)
    _confirmed: int = 0
    _checked: int = 0
    _late: set[int] = field(default_factory=set)
    _unreadable: list[Finding] = field(default_factory=list)
    _dropped: bool = False
    _anchors: dict[int, list[Anchor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._end = self.first - 1
        for anchor in self.witness.anchors:
            self._anchors.setdefault(anchor.seq, []).append(anchor)

    def add(self, link: Link) -> None:
        """The next row. One whose number is not above the last one's stands in the wrong place."""
        if self.last is not None and link.seq <= self.last.seq:
            self._late.add(link.seq)
            return
        sealed = self._sealed(link)
        expected = self.first if self.last is None else self.last.seq + 1
        before = self.before if self.last is None else self.last.hash
        if link.seq > expected and before is not None:
            self._keep(self._gaps, Gap(expected, link.seq - 1, before, link.prev_hash))
        if before is not None and link.prev_hash != before:
            self._keep(self._loose, link.seq)
        if link.body is None:
            self._keep(self._missing, link)
        elif sealed is None:
            self._keep(self._odd, link)
        else:
            self._shift = sealed - link.seq
            self._compare(sealed, link.hash)
        self._place(link.seq, link.seq + self._shift if link.body is None else sealed)
        self.rows, self.last = self.rows + 1, link
        self._end = max(self._end, link.seq if sealed is None else sealed)

    def stray(self, row: Mapping[str, Any]) -> None:
        """An entry that no link names."""
        self._keep(self._strays, row)

    def unreadable(self, detail: str) -> None:
        """Something that is no row stands where the next one should."""
        seq = self.last.seq + 1 if self.last else self.first
        self._keep(self._unreadable, Finding(seq, Kind.UNREADABLE, seq, detail))

    def report(self, ends: Ends | None = None) -> Report:
        """What was found in all. `ends` None: the rows went to the end of the chain as it is now."""
        self._look_further()
        found = [*self._unreadable, *self._out_of_place(), *self._swapped(), *self._judged(), *self._entries_gone()]
        found += self._unlinked(found)
        found += self._rehashed(found)
        found += self._by_anchors(found, ends or Ends())
        found += self.witness.findings
        notes = list(self.witness.notes)
        if self._dropped:
            notes.append(f"More than {MOST} places are broken; not all of them are listed.")
        behind = [one for one in self._differing if not any(f.kind is Kind.REWRITTEN for f in found)]
        if behind:
            notes.append(f"{len(behind)} anchors behind the first finding do not match either.")
        return Report(
            rows=self.rows,
            first=self.first,
            last=self.last.seq if self.last else 0,
            hash=self.last.hash.hex() if self.last else GENESIS.hex(),
            anchors=self._checked,
            findings=tuple(sorted(set(found))),
            notes=tuple(notes),
        )

    def _keep(self, kept: list[Any], one: object) -> None:
        if len(kept) < MOST:
            kept.append(one)
        else:
            self._dropped = True

    def _sealed(self, link: Link) -> int | None:
        """The number it was sealed with, looked for near its place."""
        if link.body is None:
            return None
        for shift in _near(self._shift, REACH if len(self._odd) < MOST else 0):
            if link.fits(link.seq + shift):
                return link.seq + shift
        return None

    def _place(self, seq: int, sealed: int | None) -> None:
        tail = self._pieces[-1] if self._pieces else None
        if tail and tail.sealed is not None and (seq, sealed) == (tail.at + tail.count, tail.sealed + tail.count):
            tail.count += 1
        else:
            self._keep(self._pieces, Piece(seq, 1, sealed))

    def _compare(self, seq: int, found: bytes) -> None:
        for anchor in self._anchors.get(seq, ()):
            self._checked += 1
            if anchor.hash == found.hex():
                self._confirmed = max(self._confirmed, seq)
            else:
                self._keep(self._differing, anchor)

    def _look_further(self) -> None:
        """Odd rows may have changed places with each other, over any distance."""
        places = {link.seq for link in self._odd[:PAIRED]}
        for link in self._odd[:PAIRED]:
            sealed = next((seq for seq in places if seq != link.seq and link.fits(seq)), None)
            for piece in self._pieces if sealed is not None else ():
                if piece.at == link.seq:
                    piece.sealed = sealed

    def _swapped(self) -> Iterator[Finding]:
        """Moves, when every place that was left was taken again: rows, or the entries that links name."""
        moved = [piece for piece in self._pieces if piece.sealed not in {None, piece.at}]
        if moved and _covered((p.at, p.count) for p in moved) == _covered((p.sealed or 0, p.count) for p in moved):
            for piece in moved:
                detail = f"It was sealed as row {piece.sealed}."
                yield Finding(piece.at, Kind.REORDERED, piece.at + piece.count - 1, detail)
                piece.sealed = piece.at
        for link in self._odd[:PAIRED]:
            for other in self._odd[:PAIRED]:
                if link is not other and replace(link, body=other.body).fits(link.seq):
                    yield Finding(link.seq, Kind.REORDERED, link.seq, f"Its entry stands at row {other.seq}.")
                    self._settle(link.seq)

    def _out_of_place(self) -> Iterator[Finding]:
        return (Finding(seq, Kind.REORDERED, seq, "It stands behind later rows.") for seq in self._late)

    def _settle(self, seq: int) -> None:
        """This place is explained."""
        for piece in self._pieces:
            if piece.at == seq and piece.sealed is None:
                piece.sealed = seq

    def _judged(self) -> Iterator[Finding]:
        wanted, odd = self.first, list[int]()
        for piece in self._pieces:
            if piece.sealed is None:
                odd.append(piece.at)
                continue
            skipped = piece.sealed - wanted
            edited = odd[: max(skipped, 0)]
            yield from (Finding(seq, Kind.EDITED, seq, "It is not what was sealed.") for seq in edited)
            yield from (Finding(seq, Kind.INSERTED, seq, "It was never sealed.") for seq in odd[len(edited) :])
            if skipped > len(edited) and not self._late.issuperset(range(wanted, piece.sealed)):
                yield _gone(wanted + len(edited), piece.sealed - 1)
            if skipped < 0:
                yield Finding(piece.at + skipped, Kind.INSERTED, piece.at - 1, "The rows behind it were moved for it.")
            wanted, odd = piece.sealed + piece.count, []
        yield from (Finding(seq, Kind.EDITED, seq, "It is not what was sealed.") for seq in odd)

    def _entries_gone(self) -> Iterator[Finding]:
        for link in self._missing:
            renamed = next((row for row in self._strays if _is(row, link)), None)
            if renamed is None:
                yield Finding(link.seq, Kind.DELETED, link.seq, GONE)
            else:
                self._strays.remove(renamed)
                yield Finding(link.seq, Kind.EDITED, link.seq, "Its id was changed.")

    def _unlinked(self, found: Sequence[Finding]) -> Iterator[Finding]:
        """Entries without a link: those whose link was taken away are told by the gap; the others were slipped in."""
        for gap in self._gaps:
            for row in _closing(gap, self._strays):
                self._strays.remove(row)
        for row in self._strays:
            detail = f"The entry {row.get('id')} is in the table and not in the chain."
            yield Finding(self.last.seq if self.last else 0, Kind.INSERTED, self.last.seq if self.last else 0, detail)

    def _rehashed(self, found: Sequence[Finding]) -> Iterator[Finding]:
        for seq in self._loose:
            if not any(one.seq - 1 <= seq <= one.until + 1 for one in found):
                place = max(seq - 1, self.first)
                yield Finding(place, Kind.EDITED, place, REHASHED)

    def _by_anchors(self, found: Sequence[Finding], ends: Ends) -> Iterator[Finding]:
        broken = min((one.seq for one in found), default=None)
        first = min((anchor.seq for anchor in self._differing), default=None)
        if first is not None and (broken is None or first < broken):
            detail = f"The chain is whole in itself, and its row {first} is not the one that was anchored."
            yield Finding(min(self._confirmed + 1, first), Kind.REWRITTEN, first, detail)
        told = (one.seq for one in self.witness.anchors if ends.made_at is None or one.at <= ends.made_at)
        ahead = max(told, default=0)
        if ends.whole and ahead > self._end:
            detail = f"The chain ends at seq {self._end}, the anchor says {ahead}: restored from a backup or truncated."
            yield Finding(self._end + 1, Kind.TRUNCATED, ahead, detail)
        elif ends.last > self._end:
            detail = f"The rows end at seq {self._end}, the export says {ends.last}."
            yield Finding(self._end + 1, Kind.TRUNCATED, ends.last, detail)


def _near(shift: int, reach: int) -> Iterator[int]:
    yield 0
    if shift:
        yield shift
    for distance in range(1, reach + 1):
        yield from (distance, -distance, shift + distance, shift - distance) if shift else (distance, -distance)


def _covered(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The numbers that runs (first, count) cover, each as often as it is covered, as runs again."""
    joined: list[tuple[int, int]] = []
    for first, count in sorted(runs):
        if joined and joined[-1][0] + joined[-1][1] == first:
            joined[-1] = (joined[-1][0], joined[-1][1] + count)
        else:
            joined.append((first, count))
    return joined


def _gone(first: int, last: int) -> Finding:
    return Finding(first, Kind.DELETED, last, "They are gone." if last > first else "It is gone.")


def _is(row: Mapping[str, Any], link: Link) -> bool:
    """Whether this entry is the one that the link names, under another id."""
    try:
        return replace(link, body=body({**row, "id": link.entry_id})).fits(link.seq)
    except SpellingError:
        return False


def _closing(gap: Gap, strays: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The entries whose links are what is missing, if they are there."""
    wanted = gap.last - gap.first + 1
    if wanted > REACH:
        return ()
    for start in range(len(strays) - wanted + 1):
        rows, before = strays[start : start + wanted], gap.before
        try:
            for number, row in enumerate(rows):
                before = seal(body(row), gap.first + number, before)
        except SpellingError:
            continue
        if before == gap.after:
            return list(rows)
    return ()
