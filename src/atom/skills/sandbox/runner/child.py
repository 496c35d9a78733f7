"""The runner beside a whole Atom: a child that got nothing of its parent but a line on its standard input.

That line has what it works with, and the end of the input is its end: a parent that is killed takes it along.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import setproctitle

from atom.infra import log
from atom.settings import SandboxSettings
from atom.skills.sandbox.runner.address import Address
from atom.skills.sandbox.runner.process import TITLE, Place, serve
from atom.skills.sandbox.runner.server import Runner

MOST_LINE = 1 << 20


def main() -> None:
    """Answers one line on its standard output once it serves: `{"pid": ..., "works": ...}`, or `{"failed": ...}`."""
    setproctitle.setproctitle(TITLE)
    told: dict[str, Any] = json.loads(sys.stdin.buffer.readline(MOST_LINE))
    file = told["log_file"]
    log.configure(told["log_level"], Path(file) if file else None, stdout=False)
    listening = Address(path=told["socket"]).listen()
    settings = SandboxSettings.model_validate(told["settings"])
    asyncio.run(_serve(settings, Place(listening, told["key"].encode(), Path(told["home"]))))


async def _serve(settings: SandboxSettings, place: Place) -> None:
    async def ready(runner: Runner) -> None:
        print(json.dumps({"works": runner.sandbox is not None}), flush=True)  # noqa: T201 - what the parent waits for

    await serve(settings, place, ready=ready, until=_abandoned)


async def _abandoned() -> None:
    """Until nobody holds the other end of the standard input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1 << 16):
        continue
