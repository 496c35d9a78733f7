"""A runner as a process: the sandbox is opened, its canaries run, then it answers until it is told to stop."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable

import setproctitle
import structlog

from atom.settings import SandboxSettings, take_away
from atom.skills.sandbox.errors import NoSandboxError
from atom.skills.sandbox.runner.server import Runner
from atom.skills.sandbox.service import open_sandbox

TITLE = "atom: sandbox"
BUFFER = 1 << 20
# What a process that runs other people's programs must not even hold. Names alone: values are never looked at.
FOREIGN = ("DATABASE_URL", "REDIS_URL", "ATOM_DATABASE__", "ATOM_REDIS__", "ATOM_VAULT__", "ATOM_LLM__")
KEYS = ("_API_KEY", "_SECRET_ACCESS_KEY", "_AUTH_TOKEN")
log = structlog.get_logger(service="skill_sandbox")


async def serve(
    settings: SandboxSettings,
    key: bytes,
    listening: socket.socket,
    *,
    ready: Callable[[Runner], Awaitable[None]],
    until: Callable[[], Awaitable[None]],
) -> None:
    """Until `until` returns. `ready` is called once the canaries have run. A machine without a sandbox is served too:
    every caller is told why nothing runs."""
    setproctitle.setproctitle(TITLE)
    runner = await _open(settings, key)
    start = asyncio.start_unix_server if listening.family == socket.AF_UNIX else asyncio.start_server
    server = await start(runner.answer, sock=listening, limit=BUFFER)
    try:
        await ready(runner)
        await until()
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


async def _open(settings: SandboxSettings, key: bytes) -> Runner:
    try:
        sandbox, report = await open_sandbox(settings)
    except NoSandboxError as error:
        log.error("sandbox.none_works", error_code=error.code, reasons=error.details.get("reasons"))
        return Runner(key, None, None, error)
    return Runner(key, sandbox, report)
