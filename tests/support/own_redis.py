"""A real Redis that a test may stop, freeze and kill. It listens on loopback only and keeps nothing on disk."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.departures import REDIS, departs

START_SECONDS = 10.0


@dataclass(slots=True)
class OwnRedis:
    """`start` after `kill` listens at the same address, and has forgotten everything."""

    program: str
    folder: Path
    port: int = 0
    options: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--dir", str(self.folder), *self.options], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "redis.log").read_text("utf-8")
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """As an outage does it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        if self.process.poll() is None:
            departs(REDIS, self.url)
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as wire:
                wire.sendall(b"PING\r\n")
                return wire.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    """A server of its own for each test, so that a test may break it."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: scripts/test-prerequisites says how to get it")
    folder = Path(tempfile.mkdtemp(prefix="atom-redis-"))
    redis = OwnRedis(program, folder)
    redis.start()
    yield redis
    redis.kill()
    shutil.rmtree(folder)
