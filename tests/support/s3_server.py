"""A real server that speaks S3, for tests of what is kept in buckets."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from atom.kit.ids import new_id

SERVER = Path(__file__).parents[2] / "build" / "s3-server" / "bin" / "moto_server"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3, in an environment of its own: its requirements do not agree with ours."""
    if not SERVER.exists():
        pytest.skip("no S3 server here: scripts/test-prerequisites installs one into build/s3-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        [str(SERVER), "-H", "127.0.0.1", "-p", str(port)],
        env=clean,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    process.wait(10)


def new_bucket(endpoint: str) -> str:
    name = f"b-{new_id().hex[-12:]}"
    httpx2.put(f"{endpoint}/{name}", headers={"Authorization": "AWS x:y"}, trust_env=False).raise_for_status()
    return name
