"""The real command `atom`, started and watched as an operator would: processes, signals, exit codes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from atom.infra.postgres_account import Account, blocked_at
from tests.support.departures import PROCESS, departs
from tests.support.planted import keys_of_process

SECONDS = 30.0
NOBODY = 65534
FOREIGN = ("ATOM_", "OPENAI_", "ANTHROPIC_", "DATABASE_", "REDIS_", "LLM_", "PG", "PYTHONDONTWRITE")
MISHAPS = ("Traceback", "server.task_", "was never", "internal_error")
ENDED = {"completed", "failed", "cancelled"}


def roomy_folder() -> str:
    """Memory where there is enough of it: a new database is then not a matter of the disk."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 2**30 else "/tmp"


def until(condition: Callable[[], Any], seconds: float = SECONDS, *, what: str = "") -> Any:
    """What `condition` says once it is true; fails when it never is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}"
        time.sleep(0.02)
    return found


@dataclass(frozen=True, slots=True)
class User:
    """Whom a command runs as, and a Python that this user can read. The default: whoever runs the tests."""

    python: str = sys.executable
    uid: int | None = None

    @property
    def popen(self) -> dict[str, Any]:
        return {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}


@cache
def ordinary_user() -> User:
    """`nobody`, when root runs the tests; else who runs them is one."""
    if os.geteuid() != 0:
        return User()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (Path(sys.executable), Path("/usr/bin") / version, Path("/usr/local/bin") / version):
        if not python.exists() or blocked_at(python, Account(NOBODY, NOBODY), read=True):
            continue
        user = User(str(python), NOBODY)
        command = [str(python), "-c", "import psycopg, pydantic_core, atom.settings"]
        done = subprocess.run(command, env=environment(None), cwd="/", capture_output=True, check=False, **user.popen)
        if done.returncode == 0:
            return user
    pytest.skip("no Python and virtual environment here that another user can read")


def environment(home: Path | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the person who runs the tests decides anything."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    made = {**clean, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "NO_PROXY": "*"}
    chosen = more or {}
    keys = keys_of_process() if chosen.get("LLM_PROVIDER") == "scripted" else {}
    return {**made, **({"ATOM_HOME": str(home)} if home else {}), **keys, **chosen}


def script(folder: Path, *rules: Any) -> dict[str, str]:
    """Variables for a scripted model with these rules; its ledger is `ledger.jsonl` beside the script."""
    path = folder / "script.json"
    path.write_text(json.dumps({"ledger": "ledger.jsonl", "rules": list(rules)}))
    return {"LLM_PROVIDER": "scripted", "ATOM_LLM__SCRIPTED_PATH": str(path)}


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


def atom(home: Path, *argv: str, env: Mapping[str, str] | None = None, user: User | None = None) -> Done:
    """A command, to its end."""
    by = user or User()
    done = subprocess.run(
        [by.python, "-m", "atom", *argv],
        env=environment(home, env),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
        **by.popen,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(slots=True)
class Daemon:
    """One `atom up`, `atom serve` or `atom worker`. `output` is what it printed, log lines included."""

    process: "subprocess.Popen[bytes]"
    home: Path
    output: Path
    url: str = ""
    children: list[psutil.Process] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]

    @property
    def token(self) -> str:
        return (self.home / "admin-token").read_text().strip()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == name]

    @property
    def mishaps(self) -> list[str]:
        """What no start and no end should have in its log."""
        return [line for line in self.said.splitlines() if any(sign in line for sign in MISHAPS)]

    def client(self, timeout: float = SECONDS) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False)

    def ready(self, seconds: float = SECONDS) -> "Daemon":
        """Wait until it says that it serves."""
        until(lambda: self.process.poll() is not None or self.events("server.ready"), seconds, what=self.said)
        assert self.process.poll() is None, self.said
        self.url = self.events("server.ready")[-1]["url"]
        self.children = psutil.Process(self.pid).children(recursive=True)
        return self

    def health(self, path: str = "ready") -> tuple[int, dict[str, Any]]:
        """Status and body; 0 when it does not answer."""
        try:
            answer = httpx2.get(f"{self.url}/health/{path}", timeout=10, trust_env=False)
        except httpx2.TransportError:
            return 0, {}
        return answer.status_code, answer.json()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = SECONDS) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def departs(self) -> None:
        if self.url and self.process.poll() is None:
            departs(PROCESS, self.url)

    def stop(self) -> int:
        self.departs()
        self.signal()
        return self.ended()


@contextmanager
def started(
    *argv: str,
    home: Path,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
) -> Iterator[Daemon]:
    """A command that goes on beside the test. Ended with the block, by force if it must be."""
    by = user or User()
    output = home.parent / f"{home.name}.{time.monotonic_ns()}.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [by.python, "-m", "atom", *argv],
            env=environment(home, env),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            **by.popen,
        )
    daemon = Daemon(process, home, output)
    try:
        yield daemon
    finally:
        daemon.departs()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


@contextmanager
def atom_up(home: Path, *options: str, env: Mapping[str, str], user: User | None = None) -> Iterator[Daemon]:
    """A serving `atom up` on a free port."""
    with started("up", "--port", "0", *options, home=home, env=env, user=user) as daemon:
        yield daemon.ready()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_of(home: Path) -> list[psutil.Process]:
    """Every process of the `postgres` that works in this home."""
    data = str((home / "postgres" / "data").resolve())
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == data and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def agent(http: httpx2.Client, name: str = "worker", **fields: Any) -> str:
    answer = http.post("/api/agents", json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def start_run(http: httpx2.Client, task: str, name: str = "worker") -> str:
    answer = http.post(f"/api/agents/{name}/runs", json={"task": task})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def run_of(http: httpx2.Client, run_id: str) -> dict[str, Any]:
    answer = http.get(f"/api/runs/{run_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def settled(http: httpx2.Client, run_id: str, *statuses: str, seconds: float = SECONDS) -> dict[str, Any]:
    """The run once it has one of `statuses` (any end when none is named)."""
    wanted = set(statuses) or ENDED
    until(lambda: run_of(http, run_id)["status"] in wanted, seconds, what=f"run {run_id} {wanted}")
    return run_of(http, run_id)


def steps_of(http: httpx2.Client, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get(f"/api/runs/{run_id}/steps?limit=200").json()["items"]
    return found
