"""Rotation beside everything else that goes on: other rotations, new keys, changed ones, keys that do not open."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.infra.db import Sessions, unit_of_work
from atom.llm.keys.service import KeyService
from atom.llm.vault.errors import EnvelopeError, VaultLockedError
from atom.llm.vault.kek import MANAGED, KekSource
from atom.llm.vault.service import Vault
from atom.settings import VaultSettings
from tests.support.polling import eventually
from tests.support.vaults import KEKS, Replica, secret_of

NAMES = [f"k{number}" for number in range(1000 if os.environ.get("VAULT_VOLUME") == "all" else 30)]


async def only_the_newest_is_needed(sessions: Sessions, home: Path) -> None:
    """Whoever drops every earlier key now loses nothing."""
    newest = (home / MANAGED).read_text().split()[0]
    (home / MANAGED).write_text(newest)
    assert await Replica(sessions, home).lost() == []


async def test_two_rotations_at_once_lose_nothing(sessions: Sessions, home: Path) -> None:
    one, two, three = (Replica(sessions, home) for _ in range(3))
    await one.add(*NAMES)
    reports = await asyncio.gather(one.rotated(), two.rotated(), three.rotated())
    assert [report["left"] for report in reports] == [0, 0, 0]
    assert await one.wrapped_by() == {await one.current()}
    await only_the_newest_is_needed(sessions, home)


async def test_keys_that_come_and_change_meanwhile_are_not_left_behind(sessions: Sessions, home: Path) -> None:
    """Others, in processes of their own, that had read the former key long ago."""
    rotating, adding, changing = (Replica(sessions, home) for _ in range(3))
    await rotating.add(*NAMES)
    for replica in (adding, changing):
        assert await replica.opened(NAMES[0]) == secret_of(NAMES[0])
    over, busy = asyncio.Event(), [0, 0]

    async def add() -> None:
        while not over.is_set():
            await adding.add(f"new{busy[0]}")
            busy[0] += 1

    async def change() -> None:
        while not over.is_set():
            name, version = NAMES[busy[1] % len(NAMES)], 2 + busy[1] // len(NAMES)
            await changing.renew(name, version)
            busy[1] += 1

    async def rotate() -> None:
        for _ in range(2):
            assert (await rotating.rotated())["left"] == 0
        over.set()

    await asyncio.gather(add(), change(), rotate())
    assert min(busy) >= 5, "they did not get in each other's way"
    assert await rotating.lost() == []
    assert await rotating.wrapped_by() == {await rotating.current()}
    await only_the_newest_is_needed(sessions, home)


async def waiting_for(sessions: Sessions, kind: str) -> bool:
    """Whether somebody waits for a lock of this kind."""
    async with unit_of_work(sessions) as session:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = :kind AND NOT granted"
        return bool(await session.scalar(text(waiting), {"kind": kind}))


async def test_rotation_waits_for_who_is_sealing_with_the_former_key(sessions: Sessions, home: Path) -> None:
    """Not yet committed, its row is not seen: to say "nothing is left" before it is there would be wrong."""
    one, two = Replica(sessions, home), Replica(sessions, home)
    await one.add("a")
    sealed, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with unit_of_work(sessions) as session:
            await two._add(session, "slow", {})
            sealed.set()
            await go_on.wait()

    adding = asyncio.create_task(slow())
    await sealed.wait()
    rotating = asyncio.create_task(one.rotated())
    await eventually(lambda: waiting_for(sessions, "advisory"))
    assert not rotating.done()
    go_on.set()
    await adding
    report = await rotating
    assert (report["left"], await one.wrapped_by()) == (0, {report["kek_id"]})
    await only_the_newest_is_needed(sessions, home)


class SlowVault(Vault):
    """Between sealing a key and its row in the table, something happens."""

    def __init__(self, source: KekSource) -> None:
        super().__init__(source)
        self.sealed, self.go_on = asyncio.Event(), asyncio.Event()

    async def fingerprint(self, session: AsyncSession, secret: str) -> str:
        self.sealed.set()
        await self.go_on.wait()
        return await super().fingerprint(session, secret)


async def test_what_a_replica_sealed_behind_the_rotations_back_is_wrapped_in_another_pass(
    sessions: Sessions, home: Path
) -> None:
    """It has the former key alone, and began when no stored key was under the new one yet."""
    behind, ahead = (
        Replica(sessions, home, VaultSettings(kek=SecretStr(keks))) for keks in (KEKS[0], f"{KEKS[1]},{KEKS[0]}")
    )
    (first,) = await behind.add("first")
    slow = SlowVault(behind.keys.vault.source)
    behind.keys = KeyService(slow, behind.keys.outbox)
    async with unit_of_work(sessions) as session:
        await session.execute(text("SELECT 1 FROM provider_key WHERE id = :id FOR UPDATE"), {"id": first.id})
        rotating = asyncio.create_task(ahead.rotated())
        await eventually(lambda: waiting_for(sessions, "transactionid"))
        sealing = asyncio.create_task(behind.add("late"))
        await slow.sealed.wait()
    await eventually(lambda: waiting_for(sessions, "advisory"))
    assert not rotating.done()
    slow.go_on.set()
    await sealing
    report = await rotating
    assert (report["left"], report["rewrapped"]) == (0, 2)
    assert await Replica(sessions, home, VaultSettings(kek=SecretStr(KEKS[1]))).lost() == []


@pytest.mark.parametrize("spoilt", ["k0", "k2"])
async def test_a_key_that_does_not_open_holds_up_no_other(sessions: Sessions, home: Path, spoilt: str) -> None:
    replica = Replica(sessions, home)
    rows = {row.name: row for row in await replica.add("k0", "k1", "k2")}
    async with unit_of_work(sessions) as session:
        broken = 'UPDATE provider_key SET envelope = envelope || \'{"wrapped": "AAAA"}\' WHERE name = :name'
        await session.execute(text(broken), {"name": spoilt})
    report = await replica.rotated()
    assert (report["rewrapped"], report["left"], report["unopened"]) == (2, 1, [str(rows[spoilt].id)])
    with pytest.raises(EnvelopeError):
        await replica.opened(spoilt)
    for name in set(rows) - {spoilt}:
        assert await replica.opened(name) == secret_of(name)
    with contextlib.suppress(VaultLockedError):
        await replica.rotated()
    assert len((home / MANAGED).read_text().split()) == 2, "what is unfinished is not begun anew with another key"


async def test_a_rotation_that_can_open_nothing_fails(sessions: Sessions, home: Path) -> None:
    one, two = KEKS[:2]
    await Replica(sessions, home, VaultSettings(kek=SecretStr(one))).add("a")
    ahead = Replica(sessions, home, VaultSettings(kek=SecretStr(f"{two},{one}")))
    await ahead.rotated()
    await ahead.add("b")
    behind = Replica(sessions, home, VaultSettings(kek=SecretStr(one)))
    with pytest.raises(VaultLockedError):
        await behind.rotated()
    assert await ahead.lost() == []


async def test_what_an_operator_put_first_is_rotated_to(sessions: Sessions, home: Path) -> None:
    """Key by key through a list of them; each former one goes as soon as nothing is left under it."""
    for number, kek in enumerate(KEKS):
        keks = [kek, *KEKS[max(0, number - 1) : number]]
        replica = Replica(sessions, home, VaultSettings(kek=SecretStr(",".join(keks))))
        await replica.add(f"k{number}")
        report = await replica.rotated()
        assert (report["left"], report["rewrapped"]) == (0, number)
        assert await replica.lost() == []
    assert list(home.iterdir()) == []


async def test_removed_keys_keep_nothing_alive(sessions: Sessions, home: Path) -> None:
    replica = Replica(sessions, home)
    await replica.add("a", "b")
    async with unit_of_work(sessions) as session:
        await replica.keys.remove(session, "admin:test", "a")
        assert await session.scalar(text("SELECT envelope::text FROM provider_key WHERE name = 'a'")) == "{}"
    assert (await replica.rotated())["rewrapped"] == 1
    await only_the_newest_is_needed(sessions, home)
