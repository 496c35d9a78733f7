"""Anchors: what the chain's end was, signed, outside of the database."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import text
from structlog.testing import capture_logs

from atom.governance.audit.anchor_file import AnchorFile
from atom.governance.audit.anchoring import Anchoring
from atom.governance.audit.anchors import Anchor, AnchorError, Witness, key_id, parse, public_keys, witness
from atom.governance.audit.errors import NothingToResealError, ResealReasonError
from atom.governance.audit.findings import Kind, Report
from atom.governance.audit.signing import MANAGED, AuditKeyInvalidError, AuditKeyMissingError, SigningKey
from atom.infra.db import Sessions, unit_of_work
from atom.settings import AuditSettings
from tests.governance.audit.conftest import Desk, verified, write
from tests.support.polling import eventually


async def witnessed(desk: Desk) -> Witness:
    service = desk.layer.service
    return witness(await service.anchor_lines(0, 100_000), public_keys(await service.public_key()))


async def verify(desk: Desk) -> Report:
    async with unit_of_work(desk.sessions) as session:
        return await verified(session, await witnessed(desk))


async def cut(superuser: Sessions, keep: int) -> None:
    """As a restore from a backup does: what came later was never there."""
    async with unit_of_work(superuser) as session:
        for statement in (
            "ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_append_only",
            "ALTER TABLE audit_link DISABLE TRIGGER audit_link_append_only",
            f"DELETE FROM audit_entry WHERE id IN (SELECT entry_id FROM audit_link WHERE seq > {keep})",
            f"DELETE FROM audit_link WHERE seq > {keep}",
            "ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_append_only",
            "ALTER TABLE audit_link ENABLE ALWAYS TRIGGER audit_link_append_only",
        ):
            await session.execute(text(statement))


def names(report: Report) -> list[tuple[str, int, int]]:
    return [(one.kind.value, one.seq, one.until) for one in report.findings]


async def test_the_end_is_anchored_and_no_run_of_rows_goes_without(desk: Desk) -> None:
    await write(desk.sessions, 3)
    assert [one.seq for one in await desk.layer.anchoring.anchor()] == [3]
    assert await desk.layer.anchoring.anchor() == ()  # nothing is new
    await write(desk.sessions, 24, start=4)
    assert [one.seq for one in await desk.layer.anchoring.anchor(due=False)] == [13, 23]
    assert await desk.layer.anchoring.anchor(due=False) == ()
    assert [one.seq for one in await desk.layer.anchoring.anchor(due=True)] == [27]
    report = await verify(desk)
    assert (report.ok, report.anchors, report.rows) == (True, 4, 27)


async def test_an_anchor_is_in_the_log_as_it_is_in_the_file(desk: Desk) -> None:
    await write(desk.sessions, 1)
    with capture_logs() as logs:
        await desk.layer.anchoring.anchor()
    (entry,) = [one for one in logs if one["event"] == "audit.anchored"]
    (line,) = await desk.layer.service.anchor_lines(0, 10)
    assert parse(json.dumps(entry)) == parse(line)
    assert (desk.home / "audit-anchors.jsonl").stat().st_mode & 0o077 == 0
    assert (desk.home / MANAGED).stat().st_mode & 0o077 == 0


async def test_two_processes_of_one_home_write_an_anchor_once(desk: Desk) -> None:
    await write(desk.sessions, 5)
    other = Anchoring(desk.layer.service, desk.clock, AuditSettings(anchor_rows=10))
    for _ in range(5):
        await asyncio.gather(desk.layer.anchoring.anchor(), other.anchor())
    assert len(await desk.layer.service.anchor_lines(0, 100)) == 1


async def test_the_task_anchors_by_itself_and_once_more_when_it_stops(desk: Desk) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(desk.layer.anchoring.run(stop))
    await write(desk.sessions, 2)

    async def anchored() -> bool:
        return bool(await desk.layer.service.anchor_lines(0, 1))

    try:
        await eventually(anchored)
        await write(desk.sessions, 1, start=3)
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)
    assert [parse(line).seq for line in await desk.layer.service.anchor_lines(0, 10)][-1] == 3


async def test_a_place_that_cannot_be_written_is_said_once_and_stops_nothing(desk: Desk) -> None:
    await write(desk.sessions, 1)
    settings = AuditSettings(anchor_seconds=0.1, key_file=desk.home / "none.pem")
    service = replace(desk.layer.service, signing=SigningKey(settings, desk.home))
    stop = asyncio.Event()
    with capture_logs() as logs:
        anchoring = Anchoring(service, desk.clock, settings)
        for _ in range(3):
            assert not await anchoring._turn(due=True)
    stop.set()
    assert [one["error_code"] for one in logs if one["event"] == "audit.anchor_failed"] == ["audit_key_missing"]


async def test_after_a_restore_the_anchor_is_ahead_and_the_report_says_so(desk: Desk, superuser: Sessions) -> None:
    await write(desk.sessions, 12)
    await desk.layer.anchoring.anchor()
    await cut(superuser, 7)
    report = await verify(desk)
    assert names(report) == [("truncated", 8, 12)]
    assert "ends at seq 7, the anchor says 12: restored from a backup or truncated" in report.findings[0].detail
    with capture_logs() as logs:
        tail = await desk.layer.service.verify_tail(100)
    assert names(tail) == [("truncated", 8, 12)]
    assert [(one["log_level"], one["kind"], one["seq"]) for one in logs] == [("error", "truncated", 8)]
    assert await desk.layer.anchoring.anchor() == ()  # nothing is signed over it


async def test_a_chain_that_went_on_after_a_restore_is_not_the_one_that_was_anchored(
    desk: Desk, superuser: Sessions
) -> None:
    await write(desk.sessions, 12)
    await desk.layer.anchoring.anchor()
    await cut(superuser, 7)
    await write(desk.sessions, 9, start=100)
    assert names(await verify(desk)) == [("rewritten", 1, 12)]
    assert names(await desk.layer.service.verify_tail(3)) == [("rewritten", 12, 12)]
    assert await desk.layer.anchoring.anchor() == ()


async def test_a_reseal_is_on_record_and_lets_the_chain_go_on(desk: Desk, superuser: Sessions) -> None:
    await write(desk.sessions, 5)
    await desk.layer.anchoring.anchor()
    await write(desk.sessions, 7, start=6)
    await desk.layer.anchoring.anchor()
    await cut(superuser, 7)
    done = await desk.layer.anchoring.reseal("admin:ann", " restored the backup of Monday ")
    assert (done.seq, done.trusted, done.reason) == (8, 5, "restored the backup of Monday")
    report = await verify(desk)
    assert (report.ok, report.rows, report.anchors) == (True, 8, 2)
    assert any("Resealed at seq 8: earlier anchors count up to 5. restored" in note for note in report.notes)
    async with unit_of_work(desk.sessions) as session:
        row = (
            await session.execute(text("SELECT actor, action, reason, data FROM audit_entry ORDER BY id DESC"))
        ).first()
    assert row is not None
    assert tuple(row[:3]) == ("admin:ann", "audit.reseal", "restored the backup of Monday")
    assert (row.data["trusted"], row.data["anchored"], row.data["chain"]) == (5, 12, 7)
    await write(desk.sessions, 3, start=20)
    assert [one.seq for one in await desk.layer.anchoring.anchor()] == [11]
    assert (await desk.layer.service.verify_tail(100)).ok
    await cut(superuser, 9)  # and what was sealed anew is guarded as before
    assert names(await verify(desk)) == [("truncated", 10, 11)]


async def test_there_is_nothing_to_reseal_while_every_anchor_holds(desk: Desk) -> None:
    await write(desk.sessions, 2)
    with pytest.raises(NothingToResealError):
        await desk.layer.anchoring.reseal("admin:ann", "because")
    await desk.layer.anchoring.anchor()
    with pytest.raises(NothingToResealError):
        await desk.layer.anchoring.reseal("admin:ann", "because")
    with pytest.raises(ResealReasonError):
        await desk.layer.anchoring.reseal("admin:ann", "  ")
    async with unit_of_work(desk.sessions) as session:
        assert (await verified(session)).rows == 2


async def test_only_the_key_makes_anchors_and_reseals(desk: Desk, superuser: Sessions) -> None:
    """Somebody who owns the database and the file, and not the key."""
    await write(desk.sessions, 6)
    await desk.layer.anchoring.anchor()
    await cut(superuser, 3)
    async with unit_of_work(desk.sessions) as session:
        report = await verified(session)
    forged = Anchor("reseal", desk.clock.now(), 3, report.hash, trusted=0, reason="trust me")
    (genuine,) = await desk.layer.service.anchor_lines(0, 1)
    moved = replace(parse(genuine), seq=3, hash=report.hash)
    for fake in (forged.signed(Ed25519PrivateKey.generate()), moved):
        desk.layer.service.file.path.write_text(f"{genuine}\n{fake.line()}\n", encoding="utf-8")
        assert names(await verify(desk)) == [("anchor_forged", 3, 3), ("truncated", 4, 6)]
    desk.layer.service.file.path.write_text(moved.line() + "\n", encoding="utf-8")
    assert names(await verify(desk)) == [("anchor_forged", 3, 3)]


def anchor_line(key: Ed25519PrivateKey, seq: int = 1) -> str:
    return Anchor("anchor", parse_time(), seq, "00" * 32).signed(key).line()


def parse_time() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("field", ["v", "kind", "at", "seq", "hash", "key_id", "signature"])
def test_no_word_of_an_anchor_can_be_changed(field: str) -> None:
    key = Ed25519PrivateKey.generate()
    said = json.loads(anchor_line(key))
    said[field] = {"at": "2026-01-01T00:00:01+00:00", "seq": 2, "kind": "reseal", "v": 2}.get(field, said[field])
    if isinstance(said[field], str) and field in {"hash", "key_id", "signature"}:
        said[field] = ("1" if said[field][0] != "1" else "2") + said[field][1:]
    keys = {key_id(key.public_key()): key.public_key()}
    assert witness([anchor_line(key)], keys).anchors
    assert not witness([json.dumps(said)], keys).anchors


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", '{"kind":"anchor"}', "x" * 20_000, '{"kind":"anchor","seq":true}']
)
def test_a_line_that_is_no_anchor_is_passed_over_and_told(line: str) -> None:
    with pytest.raises(AnchorError):
        parse(line)
    key = Ed25519PrivateKey.generate()
    found = witness([line, anchor_line(key)], {key_id(key.public_key()): key.public_key()})
    assert len(found.anchors) == 1
    assert bool(found.notes) == bool(line.strip())


def test_a_line_that_a_crash_cut_short_does_not_spoil_the_next(tmp_path: Path) -> None:
    key, file = Ed25519PrivateKey.generate(), AnchorFile(tmp_path / "a.jsonl")
    first, second = parse(anchor_line(key, 1)), parse(anchor_line(key, 2))
    file.append(lambda _: [first])
    with file.path.open("a", encoding="utf-8") as out:
        out.write(second.line()[:40])
    assert file.append(lambda newest: [second] if newest == first else ()) == [second]
    assert file.newest() == second
    assert [line for line in file.lines() if line == second.line()]


@pytest.mark.parametrize("text_", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
def test_what_is_no_public_key_is_refused(text_: str) -> None:
    with pytest.raises(AnchorError):
        public_keys(text_)


def test_the_operators_key_is_taken_and_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    signing = SigningKey(AuditSettings(key_file=file), tmp_path)
    with pytest.raises(AuditKeyMissingError):
        signing.load()
    file.write_bytes(b"nonsense")
    with pytest.raises(AuditKeyInvalidError):
        signing.load()
    own = Ed25519PrivateKey.generate()
    file.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert key_id(signing.load().public_key()) == key_id(own.public_key())
    assert list(public_keys(signing.public())) == [key_id(own.public_key())]
    assert not (tmp_path / MANAGED).exists()


async def test_the_tail_is_looked_at_and_only_the_tail(desk: Desk, superuser: Sessions) -> None:
    await write(desk.sessions, 30)
    assert (await desk.layer.service.verify_tail(10)).rows == 10
    async with unit_of_work(superuser) as session:
        await session.execute(text("ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_append_only"))
        await session.execute(
            text("UPDATE audit_entry SET actor = 'x' WHERE id = (SELECT entry_id FROM audit_link WHERE seq = 25)")
        )
    assert names(await desk.layer.service.verify_tail(10)) == [("edited", 25, 25)]
    assert (await desk.layer.service.verify_tail(5)).ok
    assert (await desk.layer.service.verify_tail(100)).findings[0].kind is Kind.EDITED


async def test_an_empty_chain_is_whole(desk: Desk) -> None:
    assert (await desk.layer.service.verify_tail(10)).ok
    assert await desk.layer.anchoring.anchor() == ()
