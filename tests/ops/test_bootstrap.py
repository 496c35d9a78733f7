"""The first start: one admin whatever happens, and a token that only its owner reads."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from atom.events.service import Outbox, Signal
from atom.identity.service import IdentityService, authenticate
from atom.infra.db import Sessions
from atom.kit.clock import SystemClock
from atom.ops.bootstrap import TOKEN_FILE, TokenFileError, first_admin, wait_until_usable, write_token
from atom.ops.checks import Check, Health


@pytest.fixture
def identity() -> IdentityService:
    return IdentityService(Outbox(Signal()), SystemClock())


async def test_first_admin_gets_a_token_that_opens_and_the_second_start_makes_none(
    identity: IdentityService, sessions: Sessions, home: Path
) -> None:
    token = await first_admin(identity, sessions, home)
    assert token is not None
    assert (home / TOKEN_FILE).read_text() == f"{token}\n"
    assert stat.S_IMODE((home / TOKEN_FILE).stat().st_mode) == 0o600
    assert (await authenticate(identity, sessions, token)).role == "admin"
    (home / TOKEN_FILE).unlink()
    assert await first_admin(identity, sessions, home) is None
    assert not (home / TOKEN_FILE).exists()


async def test_starts_at_the_same_time_make_one_admin_whose_token_is_in_the_file(
    identity: IdentityService, sessions: Sessions, home: Path
) -> None:
    made = await asyncio.gather(*(first_admin(identity, sessions, home) for _ in range(4)))
    (token,) = [token for token in made if token]
    assert (home / TOKEN_FILE).read_text().strip() == token


async def test_file_that_cannot_be_written_makes_no_admin(
    identity: IdentityService, sessions: Sessions, home: Path
) -> None:
    """Else the only key there is would be one that nobody has."""
    (home / TOKEN_FILE).mkdir()
    with pytest.raises(TokenFileError, match=str(home / TOKEN_FILE)):
        await first_admin(identity, sessions, home)
    (home / TOKEN_FILE).rmdir()
    assert await first_admin(identity, sessions, home) is not None


def test_token_file_is_closed_even_when_an_open_one_was_there(tmp_path: Path) -> None:
    path = tmp_path / TOKEN_FILE
    path.write_text("old")
    path.chmod(0o644)
    path.with_name(f"{TOKEN_FILE}.new").write_text("left by a crash")
    before = os.umask(0)
    try:
        write_token(path, "new")
    finally:
        os.umask(before)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new\n", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == [TOKEN_FILE]


async def test_start_waits_for_the_awaited_checks_and_for_no_other() -> None:
    answers = [Health.UNHEALTHY, Health.UNHEALTHY, Health.HEALTHY]
    asked = []

    async def database() -> Health:
        asked.append(1)
        return answers[len(asked) - 1]

    async def redis() -> Health:
        raise AssertionError("it is not asked")

    await asyncio.wait_for(wait_until_usable([Check("database", database, awaited=True), Check("redis", redis)]), 5)
    assert len(asked) == 3
