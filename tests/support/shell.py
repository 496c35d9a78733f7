"""The real command `atom`, in processes of its own, beside a server in the test's event loop."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Shell:
    """What a person's shell has: ATOM_HOME, and ATOM_URL and ATOM_TOKEN where they are set."""

    home: Path
    url: str | None = None
    token: str | None = None

    async def __call__(self, *argv: str, stdin: bytes = b"", code: int | None = 0) -> Done:
        """Run a command to its end. `code` is the exit code it must have; None for any."""
        async with self.start(*argv) as process:
            out, err = await asyncio.wait_for(process.communicate(stdin), SECONDS)
        done = Done(process.returncode or 0, out.decode(), err.decode())
        assert code is None or done.code == code, f"atom {' '.join(argv)}: {done}"
        assert "Traceback" not in done.err, done.err
        return done

    @asynccontextmanager
    async def start(self, *argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command that runs beside the test, ended with the block."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ATOM_", "PG", "DATABASE_"))}
        given = {"ATOM_HOME": str(self.home), "ATOM_URL": self.url, "ATOM_TOKEN": self.token}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "atom",
            *argv,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={**clean, **{name: value for name, value in given.items() if value is not None}},
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def read_until(stream: asyncio.StreamReader, text: str) -> str:
    """What the stream said up to and with `text`."""
    said = b""
    async with asyncio.timeout(SECONDS):
        while text.encode() not in said:
            more = await stream.read(4096)
            assert more, f"ended without {text!r}: {said!r}"
            said += more
    return said.decode()
