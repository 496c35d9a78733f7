"""The start: a database with this code's schema is waited for, and the first admin gets a token that only he reads."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import structlog

from atom.errors import InvalidError, UnavailableError
from atom.identity.service import IdentityService
from atom.infra.db import Sessions, unit_of_work
from atom.ops.checks import Check, Health

TOKEN_FILE = "admin-token"  # noqa: S105 - the name of a file
RETRY_SECONDS = 0.5
PROBE_SECONDS = 5.0
log = structlog.get_logger(service="api")


class TokenFileError(InvalidError):
    code = "token_file_unwritable"


async def wait_until_usable(checks: Sequence[Check]) -> None:
    """Until the critical checks pass: the database answers, and `atom migrate` has brought it to this code's schema."""
    told = False
    while not await _usable(checks):
        if not told:
            log.warning("server.waits_for_database", hint="Is it up, and has `atom migrate` run on it?")
            told = True
        await asyncio.sleep(RETRY_SECONDS)


async def _usable(checks: Sequence[Check]) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return all([await check.probe() is Health.HEALTHY for check in checks if check.awaited])
    except TimeoutError:
        return False


async def first_admin(identity: IdentityService, sessions: Sessions, home: Path) -> str | None:
    """The new token when this deployment had no key at all, else None. Waits for a database that is away.

    The file is written before the key is committed: a crash in between leaves a file that opens nothing, and the next
    start writes it anew. The other order could lock everybody out.
    """
    while True:
        try:
            async with unit_of_work(sessions) as session:
                issued = await identity.first_admin(session)
                if issued is not None:
                    await asyncio.to_thread(write_token, home / TOKEN_FILE, issued.token)
        except UnavailableError:
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if issued is None:
            return None
        log.info("server.first_admin_made", file=str(home / TOKEN_FILE))
        return issued.token


def write_token(path: Path, token: str) -> None:
    """0600 from its first byte, replaced in one step. Raises TokenFileError."""
    partial = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise TokenFileError(
            f"The admin's token cannot be written to {path}: {error.strerror}.", hint="Make ATOM_HOME writable."
        ) from error
