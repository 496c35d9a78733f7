"""The vault fails closed: what it cannot check it does not use, and it says what is wrong and what to do."""

import asyncio
import os
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from atom.infra.db import Sessions, unit_of_work
from atom.llm.keys.errors import KeyExistsError
from atom.llm.vault.errors import EnvelopeError, VaultLockedError
from atom.llm.vault.kek import MANAGED
from atom.settings import VaultSettings
from tests.support.vaults import KEKS, Replica, secret_of

ONE, TWO, THREE = KEKS[:3]


def brought(sessions: Sessions, home: Path, *keks: str) -> Replica:
    return Replica(sessions, home, VaultSettings(kek=SecretStr(",".join(keks))))


def mounted(sessions: Sessions, home: Path, name: str, *keks: str) -> Replica:
    """A replica whose key is a mounted secret of its own, that an operator may replace."""
    file = home / name
    file.write_text("\n".join(keks))
    return Replica(sessions, home, VaultSettings(kek_file=file))


async def reason(replica: Replica) -> tuple[str, bool] | None:
    """Why it is locked, for readiness, and whether nothing opens at all."""
    async with unit_of_work(replica.sessions) as session:
        found = await replica.keys.vault.check(session)
    return (found.error.code, found.whole) if found else None


@pytest.fixture
async def managed(sessions: Sessions, home: Path) -> Replica:
    return Replica(sessions, home)


async def test_the_first_key_makes_the_vaults_own_file(managed: Replica, home: Path) -> None:
    file = home / MANAGED
    async with unit_of_work(managed.sessions) as session:
        assert not await managed.keys.vault.used(session)
    await managed.add("a")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await managed.opened("a") == secret_of("a")
    first = file.read_text()
    await managed.rotated()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().endswith(first)
    assert len(file.read_text().split()) == 2
    assert [path.name for path in home.iterdir()] == [MANAGED]
    assert await Replica(managed.sessions, home).opened("a") == secret_of("a")


async def test_the_file_is_private_whatever_the_umask_and_what_lay_there(managed: Replica, home: Path) -> None:
    (home / "vault.new").write_text("left by a crash")
    (home / "vault.new").chmod(0o666)
    before = os.umask(0)
    try:
        await managed.add("a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / MANAGED).stat().st_mode) == 0o600
    assert not (home / "vault.new").exists()


async def test_a_file_that_cannot_be_written_is_said(sessions: Sessions, home: Path) -> None:
    replica = Replica(sessions, home / "not there")
    with pytest.raises(VaultLockedError, match="cannot be written"):
        await replica.add("a")


async def test_a_registration_that_is_rolled_back_is_forgotten(sessions: Sessions, home: Path) -> None:
    """Remembered, it would seal with a key that is in no register."""
    await brought(sessions, home, ONE).add("taken")
    replica = brought(sessions, home, TWO, ONE)
    with pytest.raises(KeyExistsError):
        await replica.add("taken")
    await replica.add("b")
    assert await replica.lost() == []
    assert await brought(sessions, home, TWO, ONE).lost() == []


async def test_the_first_registration_that_is_rolled_back_is_forgotten(managed: Replica, home: Path) -> None:
    async def given_up() -> None:
        async with unit_of_work(managed.sessions) as session:
            await managed._add(session, "a", {})
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await given_up()
    (home / MANAGED).unlink()
    await managed.add("b")
    assert await Replica(managed.sessions, home).opened("b") == secret_of("b")


@pytest.mark.parametrize("keks", [(TWO,), (TWO, THREE)])
async def test_another_key_opens_nothing_and_seals_nothing(
    sessions: Sessions, home: Path, keks: tuple[str, ...]
) -> None:
    await brought(sessions, home, ONE).add("a")
    wrong = brought(sessions, home, *keks)
    for call in (wrong.opened("a"), wrong.add("b"), wrong.renew("a", 2), wrong.rotated()):
        with pytest.raises(VaultLockedError) as caught:
            await call
        assert caught.value.code == "vault_locked"
        assert not [kek for kek in KEKS if kek in str(caught.value)]
        assert "ATOM_VAULT__KEK" in str(caught.value)
    assert await reason(wrong) == ("vault_locked", True)
    assert await reason(brought(sessions, home, ONE)) is None
    assert await brought(sessions, home, ONE).lost() == []


async def test_a_missing_file_is_not_made_anew_over_stored_keys(managed: Replica, home: Path) -> None:
    await managed.add("a")
    file = home / MANAGED
    kept = file.read_text()
    file.unlink()
    again = Replica(managed.sessions, home)
    for call in (again.opened("a"), again.add("b"), again.rotated()):
        with pytest.raises(VaultLockedError, match=r"is not at .*vault\.key"):
            await call
    assert not file.exists()
    assert await reason(again) == ("vault_locked", True)
    assert await reason(managed) == ("vault_locked", True), "also where the key is still in memory"
    file.write_text(kept)
    assert await reason(again) is None
    assert await again.lost() == []


async def test_two_processes_that_begin_at_once_agree_on_one_key(sessions: Sessions, home: Path) -> None:
    replicas = [Replica(sessions, home) for _ in range(4)]
    await asyncio.gather(*(replica.add(f"k{number}") for number, replica in enumerate(replicas)))
    assert len((home / MANAGED).read_text().split()) == 1
    assert await Replica(sessions, home).lost() == []


async def test_a_spoilt_row_is_refused_and_the_others_open(managed: Replica) -> None:
    a, b = await managed.add("a", "b")
    async with unit_of_work(managed.sessions) as session:
        swap = "UPDATE provider_key SET envelope = (SELECT envelope FROM provider_key WHERE id = :b) WHERE id = :a"
        await session.execute(text(swap), {"a": a.id, "b": b.id})
    with pytest.raises(EnvelopeError) as caught:
        await managed.opened("a")
    assert caught.value.code == "vault_envelope_invalid"
    assert await managed.opened("b") == secret_of("b")


async def test_fingerprints_tell_secrets_apart_and_outlive_rotation(managed: Replica, home: Path) -> None:
    a, b = await managed.add("a", "b", secret=SecretStr("sk-the-same-in-both"))
    (c,) = await managed.add("c")
    assert a.fingerprint == b.fingerprint != c.fingerprint
    await managed.rotated()
    (d,) = await Replica(managed.sessions, home).add("d", secret=SecretStr("sk-the-same-in-both"))
    assert d.fingerprint == a.fingerprint


async def test_replica_with_the_old_key_alone_is_locked_until_the_new_one_arrives(
    sessions: Sessions, home: Path
) -> None:
    old, ahead = mounted(sessions, home, "old", ONE), mounted(sessions, home, "ahead", ONE)
    await old.add("a", "b")
    assert await old.lost() == []
    (home / "ahead").write_text(f"{TWO}\n{ONE}")
    assert (await ahead.rotated())["left"] == 0
    for call in (old.opened("a"), old.add("c"), old.renew("a", 2)):
        with pytest.raises(VaultLockedError) as caught:
            await call
        assert (caught.value.code, "atom keys rotate" in caught.value.hint) == ("vault_locked", True)
        assert str(home / "old") in caught.value.message
    assert await reason(old) == ("vault_locked", True), "nothing that is stored opens here: no traffic"
    assert await reason(ahead) is None
    (home / "old").write_text(f"{TWO}\n{ONE}")
    assert await old.opened("a") == secret_of("a")
    await old.renew("a", 2)
    assert await reason(old) is None
    (home / "ahead").write_text(TWO)
    (home / "old").write_text(TWO)
    assert await Replica(sessions, home, ahead.vault).lost() == []


async def test_half_rotated_keys_are_half_a_reason(sessions: Sessions, home: Path) -> None:
    """Calls with the others go on: this replica is not taken out of traffic, and says what is missing."""
    old, ahead = brought(sessions, home, ONE), brought(sessions, home, TWO, ONE)
    await old.add("a")
    await ahead.add("b")
    assert await reason(old) == ("vault_locked", False)
    assert await old.opened("a") == secret_of("a")
    with pytest.raises(VaultLockedError):
        await old.add("c")
    assert await reason(ahead) is None


async def test_a_key_is_sealed_with_what_is_current_now_and_not_when_the_process_began(
    sessions: Sessions, home: Path
) -> None:
    """Else the former key could never be dropped: this process would go on using it."""
    one, two = Replica(sessions, home), Replica(sessions, home)
    await one.add("a")
    assert await two.opened("a") == secret_of("a")
    report = await one.rotated()
    await two.add("b")
    await two.renew("a", 2)
    assert await one.wrapped_by() == {report["kek_id"]}
    newest = (home / MANAGED).read_text().split()[0]
    (home / MANAGED).write_text(newest)
    assert await Replica(sessions, home).lost() == []


async def test_an_operator_may_go_back_to_the_former_key(sessions: Sessions, home: Path) -> None:
    await brought(sessions, home, ONE).add("a")
    assert (await brought(sessions, home, TWO, ONE).rotated())["left"] == 0
    back = brought(sessions, home, ONE, TWO)
    assert (await back.rotated())["left"] == 0
    alone = brought(sessions, home, ONE)
    assert await reason(alone) is None
    await alone.add("b")
    assert await alone.lost() == []
