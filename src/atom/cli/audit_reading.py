"""The rows that `atom audit verify` and `export` work on: from a server, page by page, or from an export."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from atom.cli.progress import Advance
from atom.client import BlockingAtom
from atom.errors import InvalidError, UnavailableError
from atom.governance.audit.anchors import AnchorError, public_keys, witness
from atom.governance.audit.canonical import GENESIS, Link, SpellingError, exact, spelled
from atom.governance.audit.findings import Report
from atom.governance.audit.lines import read
from atom.governance.audit.verify import Ends, Verification

C = TypeVar("C", int, str)
OWN_KEY = "The public key came from the server itself: verify with a copy of yours (`atom audit key`, --public-key)."
OWN_ANCHORS = "The anchors came from the server itself: verify with a copy of yours (--anchors)."


class ExportInvalidError(InvalidError):
    code = "audit_export_invalid"


@dataclass(frozen=True, slots=True)
class Sources:
    """Files the person brings, and the first row that is verified."""

    anchors: Path | None
    public_key: Path | None
    start: int

    def own_keys(self) -> Mapping[str, Ed25519PublicKey] | None:
        if self.public_key is None:
            return None
        try:
            return public_keys(_text(self.public_key))
        except AnchorError as error:
            raise InvalidError(f"{self.public_key}: {error}", hint="`atom audit key` prints it.") from None


@dataclass(frozen=True, slots=True)
class Export:
    since: str | None
    until: str | None


def from_server(atom: BlockingAtom, sources: Sources, advance: Advance) -> Report:
    """The anchors are read before the rows: what they name must be there then."""
    anchors, keys = _own_lines(sources), sources.own_keys()
    notes = [note for mine, note in ((anchors, OWN_ANCHORS), (keys, OWN_KEY)) if mine is None]
    lines = list(_anchors(atom)) if anchors is None else anchors
    found = witness(lines, keys if keys is not None else public_keys(atom.call(atom.client.audit.key()).public_key))
    verification = Verification(found, sources.start, GENESIS if sources.start == 1 else None)
    for page in _chain(atom, sources.start - 1, None):
        _take(verification, page["items"])
        advance(verification.last.seq if verification.last else 0, page["head"])
    for items in _strays(atom):
        _take(verification, items)
    report = verification.report()
    return replace(report, notes=(*report.notes, *notes))


def from_file(file: Path, sources: Sources, advance: Advance) -> Report:
    """An export, without a server."""
    found = witness(_own_lines(sources) or (), sources.own_keys())
    with _opened(file) as lines:
        about = _about(next(lines, ""), file)
        first = max(about.first, sources.start)
        verification = Verification(found, first, GENESIS if first == 1 else None)
        for done, line in enumerate(lines, 1):
            try:
                item = exact(line)
            except SpellingError as error:
                verification.unreadable(str(error))
                continue
            if not isinstance(item, dict) or not isinstance(item.get("seq"), int) or item["seq"] >= first:
                _take(verification, [item])
            if done % 1000 == 0:
                advance(done, about.count)
    return verification.report(Ends(about.made_at, about.last, whole=about.whole))


def export_lines(atom: BlockingAtom, wanted: Export, advance: Advance) -> Iterator[str]:
    """What the export is, then its rows, then entries that the chain does not name."""
    made_at = datetime.now(UTC)
    head = _page(atom.call(atom.client.audit.chain(limit=1)))["head"]
    first, last = 1, head
    if wanted.since or wanted.until:
        found = atom.call(atom.client.audit.range(since=wanted.since, until=wanted.until))
        first, last = found.first or head + 1, found.last or head
    about = {"made_at": made_at.isoformat(), "first": first, "last": last, "whole": last == head}
    yield json.dumps({"export": about})
    for page in _chain(atom, first - 1, last):
        for item in page["items"]:
            yield spelled(item)
        advance(max(0, page["items"][-1]["seq"] - first + 1) if page["items"] else 0, last - first + 1)
    for items in _strays(atom):
        yield from (spelled(item) for item in items)


@dataclass(frozen=True, slots=True)
class About:
    """The first line of an export."""

    made_at: datetime
    first: int
    last: int
    whole: bool

    @property
    def count(self) -> int:
        return max(0, self.last - self.first + 1)


def _about(line: str, file: Path) -> About:
    try:
        said = json.loads(line)["export"]
        about = About(
            datetime.fromisoformat(said["made_at"]), int(said["first"]), int(said["last"]), bool(said["whole"])
        )
    except (ValueError, KeyError, TypeError):
        about = None
    if about is None or about.made_at.tzinfo is None:
        raise ExportInvalidError(f"{file} is no export.", hint="`atom audit export -o FILE` writes one.")
    return about


def _take(verification: Verification, items: Iterable[object]) -> None:
    for item in items:
        try:
            found = read(item)
        except SpellingError as error:
            verification.unreadable(str(error))
            continue
        if isinstance(found, Link):
            verification.add(found)
        else:
            verification.stray(found)


def _chain(atom: BlockingAtom, after: int, until: int | None) -> Iterator[dict[str, Any]]:
    go_on: int | None = after
    while go_on is not None:  # each page goes on behind the one before
        after = go_on
        page = _page(atom.call(atom.client.audit.chain(after=after, until=until)))
        yield page
        go_on = _further(after, None if page["next"] is None else int(page["next"]))


def _strays(atom: BlockingAtom) -> Iterator[list[Any]]:
    page = _page(atom.call(atom.client.audit.strays()))
    yield page["items"]
    while (after := page["next"]) is not None:
        page = _page(atom.call(atom.client.audit.strays(after=after)))
        yield page["items"]
        _further(after, page["next"])


def _anchors(atom: BlockingAtom) -> Iterator[str]:
    page = atom.call(atom.client.audit.anchors())
    yield from page.items
    while (after := page.next) is not None:
        page = atom.call(atom.client.audit.anchors(after=after))
        yield from page.items
        _further(int(after), None if page.next is None else int(page.next))


def _further(before: C, after: C | None) -> C | None:
    """The next cursor. One that does not go on would never end."""
    if after is not None and not after > before:
        raise UnavailableError("Atom's pages do not go on.", hint="Is it another version?")
    return after


def _page(body: bytes) -> dict[str, Any]:
    """A page of rows, no digit rounded."""
    try:
        page = exact(body)
        page["items"], page["next"]  # noqa: B018 - both must be there
    except (SpellingError, KeyError, TypeError):
        raise UnavailableError("Atom's reply cannot be read.", hint="Is it another version?") from None
    found: dict[str, Any] = page
    return found


def _own_lines(sources: Sources) -> Sequence[str] | None:
    return None if sources.anchors is None else _text(sources.anchors).split("\n")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UnavailableError(f"{file} cannot be read ({type(error).__name__}).") from error


@contextmanager
def _opened(file: Path) -> Iterator[Iterator[str]]:
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            yield lines
    except OSError as error:
        raise UnavailableError(f"{file} cannot be read ({type(error).__name__}).") from error
