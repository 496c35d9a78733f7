"""The runner of a whole Atom: a child process, started when it is first needed and again when it is gone."""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from atom.settings import SandboxSettings, passed_on
from atom.skills.sandbox.adapters.remote import RemoteSandbox, RunnerUnavailableError
from atom.skills.sandbox.runner.address import LONGEST_PATH, Address
from atom.skills.sandbox.runner.handshake import new_key

START_SECONDS = 60.0  # a second where the machine is idle: interpreter, canaries
STOP_SECONDS = 15.0
START = "import sys; sys.path[:] = {path!r}; from atom.skills.sandbox.runner.child import main; main()"
log = structlog.get_logger(service="skill_sandbox")


@dataclass(slots=True)
class RunnerChild:
    """`home`: where layers of packages are kept. `log_level` and `log_file`: where it writes what it has to tell."""

    settings: SandboxSettings
    home: Path
    log_level: str = "info"
    log_file: Path | None = None
    process: Process | None = None
    folder: "tempfile.TemporaryDirectory[str] | None" = None
    remote: RemoteSandbox | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def at_work(self) -> RemoteSandbox:
        """The runner that answers. Raises RunnerUnavailableError when it does not start."""
        async with self.turn:
            if not self.lives or self.remote is None:
                await self._end()
                await self._start()
            assert self.remote is not None
            return self.remote

    async def aclose(self) -> None:
        async with self.turn:
            await self._end()

    async def _start(self) -> None:
        """Its key goes through its standard input: it is in no file, no variable and no list of processes."""
        self.folder = tempfile.TemporaryDirectory(prefix="atom-runner-", ignore_cleanup_errors=True)
        address, key = Address(path=f"{self.folder.name}/s"), new_key()
        if len(os.fsencode(address.path)) > LONGEST_PATH:
            raise RunnerUnavailableError("The path of the folder for temporary files is too long for a socket.")
        told = {
            "settings": _plain(self.settings),
            "key": key.decode(),
            "socket": address.path,
            "home": str(self.home),
            "log_level": self.log_level,
            "log_file": str(self.log_file) if self.log_file else "",
        }
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", START.format(path=_path()), stdin=PIPE, stdout=PIPE, env=_environment(), cwd="/"
        )
        works = await self._told(told)
        self.remote = RemoteSandbox(address, key)
        log.info("sandbox.runner_started", pid=self.process.pid, works=works)

    async def _told(self, told: Mapping[str, Any]) -> bool:
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(told).encode() + b"\n")
            async with asyncio.timeout(START_SECONDS):
                await process.stdin.drain()
                line = await process.stdout.readline()
            return bool(json.loads(line)["works"])
        except (OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
            await self._end()
            log.exception("sandbox.runner_failed", error_code="sandbox_unavailable")
            raise RunnerUnavailableError(
                "The runner of the sandbox did not start.", hint="The log has the reason, under sandbox.runner_failed."
            ) from error

    async def _end(self) -> None:
        process, self.process, self.remote = self.process, None, None
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None


def _path() -> list[str]:
    """Where this process finds its modules; the child has no variable that says so."""
    return [str(Path(one).absolute()) for one in sys.path if one]


def _environment() -> dict[str, str]:
    """Nothing that a program could find in the process above it."""
    return {"LANG": "C.UTF-8", **passed_on(("TMPDIR", "PATH"))}


def _plain(settings: SandboxSettings) -> dict[str, Any]:
    """What it works with; secrets of its own kind are told as they are, through the pipe."""
    plain = settings.model_dump(mode="json", exclude={"runner", "listen", "key", "keep_days", "index"})
    return plain | ({} if settings.index is None else {"index": settings.index.get_secret_value()})
