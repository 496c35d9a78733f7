"""How long Atom takes to start and what it weighs at rest: real processes, on this machine's disk.

    .venv/bin/python bench/start.py [--runs 5] [--json FILE]

A start is measured from the command to the first 200 of `/health/ready`. Memory is the proportional set size (PSS: what
is shared is divided among those who share it) a few seconds later, the local model's process left out.
"""

import argparse
import http.client
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_SECONDS = 60.0
STOP_SECONDS = 60.0
SETTLE_SECONDS = 3.0
FOREIGN = ("ATOM_", "DATABASE_", "REDIS_", "OPENAI_", "ANTHROPIC_", "LLM_")
LOCAL_MODEL = "local model"


@dataclass(frozen=True, slots=True)
class Measured:
    """All values of one number, in the order they were taken."""

    name: str
    unit: str
    goal: float | None
    values: list[float]

    def row(self) -> dict[str, object]:
        found: dict[str, object] = {"name": self.name, "value": round(statistics.median(self.values), 3)}
        return {**found, "unit": self.unit, **({} if self.goal is None else {"goal": self.goal, "better": "lower"})}

    def line(self) -> str:
        middle, low, high = statistics.median(self.values), min(self.values), max(self.values)
        goal = "" if self.goal is None else f"< {self.goal:g}"
        return f"{self.name:<34} {middle:>9.3f} {low:>9.3f} {high:>9.3f}  {self.unit:<3} {goal}"


def environment(home: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {**clean, "ATOM_HOME": str(home)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(home: Path) -> Iterator[tuple[psutil.Popen, float]]:
    """A ready `atom up`, and the seconds until it was; ended with the block."""
    port = free_port()
    command = [sys.executable, "-m", "atom", "up", "--port", str(port)]
    with (home.parent / "output").open("wb") as output:
        began = time.monotonic()
        process = psutil.Popen(command, env=environment(home), stdout=output, stderr=output, cwd="/")
    try:
        wait_until_ready(process, port, began)
        yield process, time.monotonic() - began
    finally:
        process.terminate()
        if process.wait(STOP_SECONDS) != 0:
            raise SystemExit(f"atom up ended with {process.returncode}: {(home.parent / 'output').read_text()}")


def wait_until_ready(process: psutil.Popen, port: int, began: float) -> None:
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() - began > START_SECONDS:
            raise SystemExit("atom up did not become ready")
        time.sleep(0.01)


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def megabytes(processes: list[psutil.Process]) -> float:
    found = [process.memory_full_info() for process in processes]
    return float(sum(info.pss if psutil.LINUX else info.uss for info in found)) / 1e6


def memory(process: psutil.Popen) -> tuple[float, float]:
    """Of Atom's own processes, and of the embedded PostgreSQL."""
    family = [process, *process.children(recursive=True)]
    postgres = [member for member in family if member.name() == "postgres"]
    own = [member for member in family if member not in postgres and LOCAL_MODEL not in " ".join(member.cmdline())]
    return megabytes(own), megabytes(postgres)


def help_times() -> tuple[float, float]:
    """Wall and CPU seconds of `atom --help`."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "atom", "--help"], stdout=subprocess.DEVNULL, check=True)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int) -> list[Measured]:
    cold: list[float] = []
    warm: list[float] = []
    own: list[float] = []
    postgres: list[float] = []
    for _ in range(runs):
        folder = Path(tempfile.mkdtemp(prefix="atom-bench-"))
        folder.chmod(0o711)
        try:
            with running(folder / "home") as (_process, seconds):
                cold.append(seconds)
            with running(folder / "home") as (process, seconds):
                warm.append(seconds)
                time.sleep(SETTLE_SECONDS)
                weights = memory(process)
        finally:
            shutil.rmtree(folder)
        own.append(weights[0])
        postgres.append(weights[1])
    helps = [help_times() for _ in range(max(runs, 5) + 1)][1:]  # the first one reads the disk
    return [
        Measured("cold start, empty home to ready", "s", 5, cold),
        Measured("warm start to ready", "s", 5, warm),
        Measured("memory at rest, all but the model", "MB", 200, [a + b for a, b in zip(own, postgres, strict=True)]),
        Measured("memory at rest, Atom itself", "MB", None, own),
        Measured("memory at rest, embedded postgres", "MB", None, postgres),
        Measured("atom --help, wall", "s", 0.4, [wall for wall, _ in helps]),
        Measured("atom --help, CPU", "s", None, [cpu for _, cpu in helps]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="starts of each kind")
    parser.add_argument("--json", type=Path, help="write the report there")
    options = parser.parse_args()
    measured = measure(options.runs)
    print(f"{'':<34} {'median':>9} {'min':>9} {'max':>9}")
    print("\n".join(found.line() for found in measured))
    if options.json:
        report = {"runs": options.runs, "rows": [found.row() for found in measured]}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
