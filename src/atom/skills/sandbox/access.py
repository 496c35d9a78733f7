"""The way of a web or worker process to the sandbox: a runner elsewhere, or a child of its own."""

import asyncio
import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog

from atom.errors import InvalidError, UnavailableError
from atom.settings import SandboxSettings
from atom.skills.layers.models import Layer, Wanted
from atom.skills.sandbox import orphans
from atom.skills.sandbox.adapters.child import RunnerChild
from atom.skills.sandbox.adapters.remote import Ran, RemoteSandbox, RunnerUnavailableError, missing
from atom.skills.sandbox.models import ExitReason, Report, Spec
from atom.skills.sandbox.place import Place
from atom.skills.sandbox.runner.address import Address
from atom.skills.sandbox.runner.handshake import SHORTEST_KEY, new_key

SOCKET = "sandbox.sock"
KEY_FILE = "sandbox.key"
log = structlog.get_logger(service="skill_sandbox")


@dataclass(slots=True)
class SandboxAccess:
    """Nothing is started or connected to before it is needed. `away`: the last attempt found no sandbox."""

    settings: SandboxSettings
    home: Path
    child: RunnerChild
    away: str = ""
    used: bool = False

    @property
    def own(self) -> bool:
        return not self.settings.runner

    async def execute(self, spec: Spec, wanted: Wanted | None = None) -> Ran:
        """With the packages that are `wanted`, where they were installed. The result says what went wrong."""
        try:
            sandbox = await self._sandbox()
        except RunnerUnavailableError as error:
            self.away = error.message
            return Ran(missing(spec, error.message))
        ran = await sandbox.execute(spec, wanted)
        result = ran.result
        self.away = result.detail if result.reason is ExitReason.ENGINE and not result.backend else ""
        return ran

    async def build(self, wanted: Wanted, *, again: bool = False) -> Layer:
        """Install packages where scripts run. Raises RunnerUnavailableError, BuildError."""
        return await (await self._sandbox()).build(wanted, again=again)

    async def report(self) -> Report:
        """Raises RunnerUnavailableError, with what no backend keeps where none will do."""
        try:
            found = await (await self._sandbox()).report()
        except RunnerUnavailableError as error:
            self.away = error.message
            raise
        self.away = ""
        return found

    async def kill(self, execution_id: UUID) -> bool:
        """Raises RunnerUnavailableError."""
        return await (await self._sandbox()).kill(execution_id)

    async def answers(self) -> bool:
        """Whether a runner elsewhere is there and knows the key; nothing is run."""
        try:
            await (await self._sandbox()).report()
        except RunnerUnavailableError as error:
            self.away = error.message
            return False
        self.away = ""
        return True

    async def prepare(self, *, start: bool) -> None:
        """At the start of a process that runs skills: what an earlier one left is ended, and with `start` the first
        script will not wait for the canaries."""
        if not self.own:
            return
        with contextlib.suppress(UnavailableError):  # the first script says so too
            await asyncio.to_thread(lambda: orphans.reap(Place.open().folder))
            if start:
                await self.report()

    async def aclose(self) -> None:
        await self.child.aclose()

    async def _sandbox(self) -> RemoteSandbox:
        self.used = True
        if self.own:
            return await self.child.at_work()
        address = Address.parse(self.settings.runner, "ATOM_SANDBOX__RUNNER")
        return RemoteSandbox(address, shared_key(self.settings, self.home))


def open_access(settings: SandboxSettings, home: Path, *, log_level: str, log_file: Path | None) -> SandboxAccess:
    """Raises InvalidError for an address that is none."""
    if settings.runner:
        Address.parse(settings.runner, "ATOM_SANDBOX__RUNNER")
    return SandboxAccess(settings, home, RunnerChild(settings, home, log_level, log_file))


def shared_key(settings: SandboxSettings, home: Path) -> bytes:
    """Raises RunnerUnavailableError where nobody has made one yet."""
    if settings.key is not None:
        return settings.key.get_secret_value().encode()
    path = home / KEY_FILE
    try:
        found = path.read_bytes().strip()
    except OSError as error:
        raise RunnerUnavailableError(
            f"The runner's key cannot be read from {path}: {error.strerror}.",
            hint="Set ATOM_SANDBOX__KEY here and there, or let both use one home folder.",
        ) from error
    if len(found) < SHORTEST_KEY:
        raise RunnerUnavailableError(f"{path} holds no key.", hint="Remove it and start the runner again.")
    return found


def own_key(settings: SandboxSettings, home: Path, address: Address) -> bytes:
    """A runner's side: made where there is none; over TCP it must be set.

    Raises InvalidError, RunnerUnavailableError.
    """
    if settings.key is None and not address.path:
        raise InvalidError(
            "ATOM_SANDBOX__KEY is not set, and others could reach a runner on TCP.",
            hint="Set one secret of at least 32 characters here and where Atom runs.",
            field="ATOM_SANDBOX__KEY",
        )
    path = home / KEY_FILE
    if settings.key is None and not path.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{KEY_FILE}.{secrets.token_hex(4)}.part")
        try:
            draft.touch(mode=0o600, exist_ok=False)
            draft.write_bytes(new_key())
            with contextlib.suppress(FileExistsError):  # another runner was faster: its key is everybody's
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    return shared_key(settings, home)


def own_address(settings: SandboxSettings, home: Path) -> Address:
    """Raises InvalidError."""
    return Address.parse(settings.listen or f"unix://{home / SOCKET}", "ATOM_SANDBOX__LISTEN")
