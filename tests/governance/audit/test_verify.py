"""The verifier by itself: nothing that is not what was sealed passes, whatever was done to it."""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from atom.governance.audit.anchors import ANCHOR, Anchor, Witness
from atom.governance.audit.canonical import GENESIS, Link, SpellingError, seal
from atom.governance.audit.findings import Kind, Report
from atom.governance.audit.lines import Sealed, read
from atom.governance.audit.verify import MOST, Verification
from atom.kit.clock import FrozenClock

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def chain(count: int) -> list[Link]:
    found, before = list[Link](), GENESIS
    for seq in range(1, count + 1):
        body = f'{{"action":"a{seq}"'
        found.append(Link(seq, str(seq), body, before, seal(body, seq, before)))
        before = found[-1].hash
    return found


def witness_of(links: list[Link], *seqs: int) -> Witness:
    return Witness(tuple(Anchor(ANCHOR, FrozenClock().now(), seq, links[seq - 1].hash.hex()) for seq in seqs))


def report(links: list[Link], witness: Witness, first: int = 1) -> Report:
    found = Verification(witness, first, GENESIS if first == 1 else None)
    for link in links:
        found.add(link)
    return found.report()


@dataclass(frozen=True, slots=True)
class Change:
    kind: str
    at: int
    other: int

    def on(self, links: list[Link]) -> list[Link]:
        if not links:
            return links
        at, other = self.at % len(links), self.other % len(links)
        link, changed = links[at], list(links)
        if self.kind == "edit":
            changed[at] = replace(link, body=f"{link.body},")
        elif self.kind == "hash":
            changed[at] = replace(link, hash=seal("x", self.other, link.hash))
        elif self.kind == "prev":
            changed[at] = replace(link, prev_hash=seal("x", self.other, link.hash))
        elif self.kind == "delete":
            del changed[at]
        elif self.kind == "close":
            changed = [one if one.seq < link.seq else replace(one, seq=one.seq - 1) for one in links if one != link]
        elif self.kind == "open":
            changed = [one if one.seq < link.seq else replace(one, seq=one.seq + 1) for one in links]
            changed.insert(at, replace(link, body="{x"))
        elif self.kind == "swap":
            changed[at], changed[other] = replace(links[other], seq=link.seq), replace(link, seq=links[other].seq)
        elif self.kind == "lines":
            changed[at], changed[other] = links[other], link
        elif self.kind == "gone":
            changed[at] = replace(link, body=None)
        elif self.kind == "rewrite":
            return self._rewritten(changed, at)
        return changed

    def _rewritten(self, links: list[Link], at: int) -> list[Link]:
        links[at] = replace(links[at], body="{forged")
        before = links[at - 1].hash if at else GENESIS
        for number in range(at, len(links)):
            body = links[number].body or ""
            links[number] = replace(links[number], prev_hash=before, hash=seal(body, links[number].seq, before))
            before = links[number].hash
        return links


KINDS = ("edit", "hash", "prev", "delete", "close", "open", "swap", "lines", "gone", "rewrite")
CHANGES = st.lists(
    st.builds(Change, st.sampled_from(KINDS), st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=4
)


@given(st.integers(1, 90), CHANGES)
def test_what_is_not_as_it_was_sealed_does_not_pass(count: int, changes: list[Change]) -> None:
    links = chain(count)
    witness = witness_of(links, count)
    changed = links
    for change in changes:
        changed = change.on(changed)
    found = report(changed, witness)
    assert found.ok == (changed == links), (found.findings, changes)


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_chain_passes_from_anywhere_to_its_end(count: int, first: int) -> None:
    links = chain(count)
    found = report(links[first - 1 :], witness_of(links, count, max(1, count // 2)), first)
    assert found.ok, found.findings
    assert found.rows == max(0, count - first + 1)


@pytest.mark.parametrize(
    ("change", "kind", "seq", "until"),
    [
        (Change("edit", 4, 0), Kind.EDITED, 5, 5),
        (Change("hash", 4, 0), Kind.EDITED, 5, 5),
        (Change("prev", 0, 0), Kind.EDITED, 1, 1),
        (Change("delete", 4, 0), Kind.DELETED, 5, 5),
        (Change("close", 4, 0), Kind.DELETED, 5, 5),
        (Change("open", 4, 0), Kind.INSERTED, 5, 5),
        (Change("gone", 4, 0), Kind.DELETED, 5, 5),
        (Change("swap", 4, 700), Kind.REORDERED, 5, 5),
        (Change("rewrite", 4, 0), Kind.REWRITTEN, 1, 500),
        (Change("delete", 499, 0), Kind.TRUNCATED, 500, 500),
    ],
)
def test_each_kind_has_its_name_and_its_place(change: Change, kind: Kind, seq: int, until: int) -> None:
    links = chain(500)
    found = report(change.on(list(links)), witness_of(links, 500))
    assert (found.findings[0].kind, found.findings[0].seq, found.findings[0].until) == (kind, seq, until)
    assert {one.kind for one in found.findings} == {kind}


def test_a_chain_that_is_broken_everywhere_is_reported_in_bounds() -> None:
    links = [replace(link, body="{x") for link in chain(MOST + 500)]
    found = report(links, Witness())
    assert len(found.findings) == MOST
    assert any(f"More than {MOST}" in note for note in found.notes)


def test_what_a_line_says_is_what_the_row_was() -> None:
    row: dict[str, Any] = dict.fromkeys(("id", "at", "actor", "action", "decision", "reason"), "x")
    row |= {"agent_id": None, "run_id": None, "data": {"a": [1]}}
    for one in (row, None):
        sealed = Sealed(3, "x", bytes(32), bytes(range(32)), one)
        from_line = read(json.loads(sealed.line()))
        assert from_line == sealed.link


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        {},
        {"v": 2},
        {"v": 1, "seq": "1"},
        {"v": 1, "seq": True},
        {"v": 1, "seq": 0},
        {"v": 1, "seq": 1, "hash": "0"},
    ],
)
def test_what_is_no_row_is_not_read(item: object) -> None:
    with pytest.raises(SpellingError):
        read(item)
