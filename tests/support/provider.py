"""A provider of models in a process of its own, that a test may kill: llmock, on loopback, on the vendors' own wire."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.processes import environment, free_port, until

ENDS_ITSELF = "import threading, os; threading.Timer(300, os._exit, (1,)).start()"  # also when nobody ends it


@dataclass(slots=True)
class Provider:
    """`start` after `kill` listens at the same address, and has forgotten what it was told."""

    port: int
    latency: float  # seconds before each answer
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def openai(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def anthropic(self) -> str:
        return f"http://127.0.0.1:{self.port}/anthropic"

    def start(self) -> None:
        words = ["serve", "--port", str(self.port), "--latency-ms", str(int(self.latency * 1000))]
        code = f"{ENDS_ITSELF}; import sys; sys.argv[0] = 'llmock'; from llmock.cli import app; app()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words, "--log-level", "warning"],
            env=environment(None),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._listens, what="llmock")

    def kill(self) -> None:
        """As an outage does it: connections break in the middle of answers, and nobody listens any more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def says(self, *behaviours: dict[str, Any]) -> None:
        """From now on; `{"type": "reply", "text": "It is 42.", "times": None}` for every request."""
        self._admin("POST", "/scenario", json={"behaviors": list(behaviours)})

    def asked(self) -> list[dict[str, Any]]:
        """The requests it has answered, with `started_at` and `ended_at` as this machine's monotonic clock has them."""
        found: list[dict[str, Any]] = self._admin("GET", "/requests").json()["requests"]
        return [one for one in found if one["method"] == "POST"]

    def _admin(self, method: str, path: str, **more: Any) -> httpx2.Response:
        with httpx2.Client(base_url=f"http://127.0.0.1:{self.port}/_llmock", timeout=30, trust_env=False) as http:
            answer = http.request(method, path, **more)
        assert answer.is_success, answer.text
        return answer

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "llmock ended"
        with socket.socket() as wire:
            wire.settimeout(1)
            return wire.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def provider(latency: float = 0.0) -> Iterator[Provider]:
    found = Provider(free_port(), latency)
    found.start()
    try:
        yield found
    finally:
        if found.process is not None and found.process.poll() is None:
            found.process.terminate()
            try:
                found.process.wait(5)
            except subprocess.TimeoutExpired:
                found.kill()


def now() -> float:
    """As `asked` tells time."""
    return time.monotonic()
