"""A runner as a process: the sandbox is opened, its canaries run, then it answers until it is told to stop."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import setproctitle
import structlog

from atom.errors import AtomError
from atom.settings import SandboxSettings, take_away
from atom.skills.layers.service import open_layers
from atom.skills.sandbox.errors import NoSandboxError
from atom.skills.sandbox.runner.inside import target_inside
from atom.skills.sandbox.runner.server import Runner
from atom.skills.sandbox.service import open_sandbox

TITLE = "atom: sandbox"
BUFFER = 1 << 20
UNUSED = timedelta(days=30)  # after which a layer of packages is removed
# What a process that runs other people's programs must not even hold. Names alone: values are never looked at.
FOREIGN = ("DATABASE_URL", "REDIS_URL", "ATOM_TOKEN", "ATOM_DATABASE__", "ATOM_REDIS__", "ATOM_VAULT__", "ATOM_LLM__")
KEYS = ("_API_KEY", "_SECRET_ACCESS_KEY", "_AUTH_TOKEN")
log = structlog.get_logger(service="skill_sandbox")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a runner listens, whom it serves, and the folder of its layers of packages."""

    listening: socket.socket
    key: bytes
    home: Path


async def serve(
    settings: SandboxSettings,
    place: Place,
    *,
    ready: Callable[[Runner], Awaitable[None]],
    until: Callable[[], Awaitable[None]],
    drain: float = 0.0,
) -> None:
    """Until `until` returns, and for `drain` seconds more while something runs. `ready` is called once the canaries
    have run. A machine without a sandbox is served too: every caller is told why nothing runs."""
    setproctitle.setproctitle(TITLE)
    runner = await _open(settings, place)
    listening = place.listening
    start = asyncio.start_unix_server if listening.family == socket.AF_UNIX else asyncio.start_server
    server = await start(runner.answer, sock=listening, limit=BUFFER)
    try:
        await ready(runner)
        await until()
        server.close()
        await runner.drain(drain)
    finally:
        server.close()
        await runner.stop()


async def signalled() -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def drop_foreign() -> list[str]:
    """Take variables away that belong to other roles; their names."""
    return take_away(FOREIGN, KEYS)


async def _open(settings: SandboxSettings, place: Place) -> Runner:
    try:
        sandbox, report = await open_sandbox(settings)
    except NoSandboxError as error:
        log.error("sandbox.none_works", error_code=error.code, reasons=error.details.get("reasons"))
        return Runner(place.key, None, None, error)
    try:
        layers = await open_layers(settings, place.home)
        if sandbox.name == "docker":  # its image has a Python of its own
            layers = replace(layers, target=await target_inside(sandbox))
        await layers.sweep(UNUSED)
    except (AtomError, OSError) as error:  # scripts without packages need none
        log.warning("sandbox.no_layers", error=str(error))
        why = error if isinstance(error, AtomError) else None
        return Runner(place.key, sandbox, report, no_layers=why)
    return Runner(place.key, sandbox, report, layers=layers)
