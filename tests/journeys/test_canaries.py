"""Keys are planted in a real Atom, everything is done with them that can be, and they are looked for everywhere.

The sample leaves the database's own files out, which hold what its dump holds. `VAULT_VOLUME=all` takes them too.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from llmock.scenarios import Fail, StreamFault
from llmock.testing import LLMockServer

from atom.infra.embedded_postgres import read_endpoint
from atom.infra.postgres_binaries import find_binaries
from tests.support.canaries import Canary, Scanner, breed, forms
from tests.support.dumps import everything_in
from tests.support.echo_provider import Echo, echoing
from tests.support.own_redis import OwnRedis, own_redis
from tests.support.processes import SECONDS, Daemon, agent, atom_up, environment, run_of, settled, start_run, until

__all__ = ["own_redis"]
ALL = os.environ.get("VAULT_VOLUME") == "all"
ECHOES = ("401", "403", "500", "page", "finish") + (("400", "402", "404", "429", "garbage", "cut") if ALL else ())
CANARIES = breed(20, int(os.environ.get("CANARY_SEED", "20261124")))
ENDED = {"completed", "failed", "cancelled", "waiting"}


@pytest.mark.parametrize("canary", CANARIES[:5], ids=lambda canary: canary.name)
def test_the_search_finds_every_spelling(canary: Canary) -> None:
    secret = canary.secret
    spelt = {
        "plain": secret,
        "last characters": f"...{secret[-8:]}",
        "hex": secret.encode().hex(),
        "HEX": secret.encode().hex().upper(),
        "percent": f"https://x/?key={quote(secret, safe='')}",
        "JSON": json.dumps({"key": secret}),
        "JSON in JSON": json.dumps(json.dumps({"key": secret})),
        "base64 + 0": base64.b64encode(f"{secret}".encode()).decode(),
        "base64 + 1": base64.b64encode(f"user:pass:{secret}".encode()).decode(),
        "base64 + 2": base64.b64encode(f"Bearer: {secret}".encode()).decode(),
        "url-safe base64 + 1": base64.urlsafe_b64encode(f"abcd{secret}".encode()).decode(),
    }
    for form, text in spelt.items():
        scanner = Scanner(CANARIES)
        scanner.scan("here", b"\x00\xff" + f"before {text} after".encode() + b"\xfe")
        assert {leak.canary for leak in scanner.leaks} == {canary.name}, form
        assert form in {leak.form for leak in scanner.leaks}
    scanner = Scanner(CANARIES)
    scanner.scan("here", f"before {secret[:-1]}? after {secret[:20]} {canary.name}")
    assert scanner.leaks == []
    assert min(len(form) for _, form in forms(secret)) >= 8


def test_the_search_reads_files_and_their_names(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.bin").write_bytes(b"\0" + CANARIES[1].secret.encode())
    (tmp_path / "a" / CANARIES[4].secret).write_text("")
    scanner = Scanner(CANARIES)
    scanner.scan_files(tmp_path)
    assert {(leak.place, leak.canary) for leak in scanner.leaks} == {
        ("file a/b/c.bin", "canary-1"), ("names of files", "canary-4"),
    }  # fmt: skip
    scanner = Scanner(CANARIES)
    scanner.scan_files(tmp_path, without=[tmp_path / "a"])
    assert (scanner.leaks, scanner.looked) == ([], {})


@pytest.fixture(scope="module")
def provider() -> Iterator[LLMockServer]:
    with LLMockServer() as server:
        yield server


@pytest.fixture
def echo() -> Iterator[Echo]:
    with echoing() as server:
        yield server


class Journey:
    """What is done with the keys; everything that is said meanwhile is searched."""

    def __init__(self, daemon: Daemon, scanner: Scanner, provider: LLMockServer, echo: Echo) -> None:
        self.daemon, self.scanner, self.provider, self.echo = daemon, scanner, provider, echo
        self.stored = list(CANARIES[2:])
        self.statuses: list[int] = []

    def http(self) -> httpx2.Client:
        client = self.daemon.client()
        client.event_hooks = {"response": [self._search]}
        return client

    def _search(self, answer: httpx2.Response) -> None:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return
        self.statuses.append(answer.status_code)
        self.scanner.scan("HTTP", answer.read() + repr(list(answer.headers.items())).encode())

    def cli(self, *argv: str, secret: str = "", code: int = 0) -> str:
        user = {"ATOM_URL": self.daemon.url, "ATOM_TOKEN": self.daemon.token}
        done = subprocess.run(
            [sys.executable, "-m", "atom", *argv],
            env=environment(self.daemon.home, user),
            input=secret + "\n",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.scanner.scan("command line", done.stdout + done.stderr)
        assert done.returncode == code, done
        return done.stdout

    def add(self, http: httpx2.Client, canary: Canary, provider: str, url: str, **fields: Any) -> None:
        body = {"provider": provider, "name": canary.name, "secret": canary.secret, "base_url": url, **fields}
        answer = http.post("/api/keys", json=body)
        assert answer.status_code == 201, answer.text

    def store(self, http: httpx2.Client) -> list[str]:
        """A model for each key, so that a run of that model uses that key."""
        models, left = [], list(self.stored)
        for how in ECHOES:
            canary = left.pop()
            self.add(http, canary, "compatible", f"{self.echo.url}/{how}/v1", models=[f"m-{how}"])
            models.append(f"compatible/m-{how}")
        for vendor, path in (("openai", "/v1"), ("anthropic", "/anthropic"), ("gemini", "/gemini")):
            self.add(http, left.pop(), vendor, self.provider.url + path, models=[f"{vendor}-mine"])
            models.append(f"{vendor}/{vendor}-mine")
        azure = {"models": ["azure-mine"], "options": {"api_version": "2025-04-01-preview"}}
        self.add(http, left.pop(), "azure", f"{self.echo.url}/401", **azure)
        models.append("azure/azure-mine")
        self.command_line(left)
        return models

    def command_line(self, left: list[Canary]) -> None:
        shell, spare = left.pop(), left.pop()
        address = ("--url", f"{self.echo.url}/401/v1", "--models", "m-shell")
        self.cli("keys", "add", "compatible", shell.name, *address, secret=shell.secret)
        self.cli("keys", "add", "compatible", shell.name, *address, secret=spare.secret, code=1)
        self.cli("keys", "add", "openai", "spaced", secret=f"{spare.secret} {spare.secret}", code=2)
        self.cli("keys", "test", shell.name, "--json", code=1)
        self.cli("keys", "update", shell.name, "--new-secret", "--json", secret=spare.secret)
        if ALL:
            self.cli("keys", "test", shell.name, code=1)
            self.cli("keys", "list")
            for argv in (
                ("show", shell.name),
                ("disable", shell.name),
                ("enable", shell.name),
                ("rotate",),
            ):
                self.cli("keys", *argv)

    def fail(self, http: httpx2.Client) -> None:
        """Every way in which somebody gets it wrong."""
        for canary in self.stored if ALL else self.stored[::4]:
            secret = canary.secret
            for body in (
                {"provider": "openai", "name": self.stored[-1].name, "secret": secret},
                {"provider": "openai", "name": "x", "secret": {"key": secret}},
                {"provider": "openai", "name": "x", "secret": secret * 200},
                {"provider": "openai", "name": "x", "key": secret, "secret": secret},
                {"provider": secret, "name": "x", "secret": secret},
                {"provider": "openai", "name": "x", "secret": secret, "base_url": f"https://x:{secret}@y/v1"},
            ):
                assert http.post("/api/keys", json=body).status_code in {409, 422}
            assert http.patch(f"/api/keys/{canary.name}", json={"secret": [secret]}).status_code in {404, 422}
            broken = http.post("/api/keys", content=f'{{"secret": "{secret}')
            assert broken.status_code == 422

    def run(self, http: httpx2.Client, models: list[str]) -> None:
        """Each key, with a provider that fails; those whose provider answers then, and once more from the cache."""
        self.provider.state.scenarios.add(
            Fail(500, message="no"), Fail(401, message=f"bad key {self.stored[4].secret}"),
            StreamFault("truncate"), StreamFault("malformed"),
        )  # fmt: skip
        agents = {model: f"agent-{number}" for number, model in enumerate([*models, "openai", "anthropic"])}
        for model, name in agents.items():
            agent(http, name, model=model)
        first = self.settled(http, list(agents.values()))
        assert first.count("failed") >= len(ECHOES)
        self.provider.state.reset()
        again = [agents["openai/openai-mine"], agents["openai"]]
        assert "completed" in self.settled(http, again)
        assert "completed" in self.settled(http, again)
        assert http.get("/api/cache").json()["entries"] > 0

    def settled(self, http: httpx2.Client, agents: list[str]) -> list[str]:
        with self.daemon.client() as quiet:
            runs = [start_run(quiet, "Say something.", name) for name in agents]
            for run in runs:
                settled(quiet, run, *ENDED)
        found = []
        for run in runs:
            found.append(run_of(http, run)["status"])
            for path in ("/steps", "/calls"):
                assert http.get(f"/api/runs/{run}{path}").status_code == 200
            self.scanner.scan("events", http.get(f"/api/runs/{run}/events").content)
        return found

    def look_after(self, http: httpx2.Client) -> None:
        for canary in self.stored[-3:] if not ALL else self.stored:
            http.post(f"/api/keys/{canary.name}/test")
        job = http.post("/api/keys/rotate").json()
        until(lambda: http.get(job["status_url"]).json()["status"] == "completed", what="the rotation")
        assert http.get(job["status_url"]).json()["report"]["left"] == 0
        kek = self.daemon.home / "vault.key"
        kept = kek.read_bytes()
        kek.unlink()
        until(lambda: self.daemon.health()[0] == 503)
        spare = {"provider": "openai", "name": "y", "secret": self.stored[0].secret}
        assert http.post("/api/keys", json=spare).status_code == 503
        kek.write_bytes(kept)
        until(lambda: self.daemon.health()[0] == 200)
        for path in ("keys", "routes", "budgets", "usage?by=key", "cache", "models", "jobs", "agents", "openapi.json"):
            assert http.get(f"/api/{path}").status_code == 200, path
        for path in ("/metrics", "/health/metrics", "/health/ready", "/health/live"):
            self.scanner.scan(path, http.get(path).content)
        assert http.delete(f"/api/keys/{self.stored[-1].name}").status_code == 204


def dump(home: Path) -> bytes:
    endpoint = read_endpoint(home)
    assert endpoint is not None
    program = str(find_binaries().program("pg_dump"))
    done = subprocess.run(
        [program, "--inserts", endpoint.url.get_secret_value()], capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_canary_gets_out(home: Path, own_redis: OwnRedis, provider: LLMockServer, echo: Echo) -> None:
    scanner = Scanner(CANARIES)
    env = {
        "REDIS_URL": own_redis.url,
        "OPENAI_API_KEY": CANARIES[0].secret,
        "OPENAI_BASE_URL": f"{provider.url}/v1",
        "ANTHROPIC_API_KEY": CANARIES[1].secret,
        "ANTHROPIC_BASE_URL": f"{echo.url}/403",
        "ATOM_LOGGING__FILE": str(home.parent / "atom.log"),
        "ATOM_LOGGING__LEVEL": "debug",
        "ATOM_LLM__TEMPERATURE": "0",
        "ATOM_LLM__ATTEMPTS": "1",
        "ATOM_LLM__PROVIDER_WAIT_SECONDS": "0",
        "ATOM_LLM__FAILOVER": "false",
        "ATOM_RUNS__MAX_CONCURRENT": "20",
    }
    with atom_up(home, env=env) as daemon:
        journey = Journey(daemon, scanner, provider, echo)
        with journey.http() as http:
            models = journey.store(http)
            journey.fail(http)
            journey.run(http, models)
            journey.look_after(http)
            sealed, cached = dump(home), everything_in(own_redis.url)
        assert {200, 201, 202, 204, 409, 422, 503} <= set(journey.statuses)
        assert 500 not in journey.statuses
        assert daemon.stop() == 0
        scanner.scan("output", daemon.said)
        scanner.scan("log file", (home.parent / "atom.log").read_bytes())
        assert [line for line in daemon.said.splitlines() if "Traceback" in line] == []
    scanner.scan("database", sealed)
    scanner.scan("Redis", cached)
    scanner.scan_files(home, without=() if ALL else (home / "postgres" / "data",))
    assert [str(leak) for leak in scanner.leaks] == []
    was_looked_at(scanner, sealed, cached)
    asked = {canary.name for canary in CANARIES if canary.secret in echo.seen}
    assert len(asked) >= len(ECHOES) + 3, "the keys were used: they left Atom for their providers, and nowhere else"


def was_looked_at(scanner: Scanner, sealed: bytes, cached: bytes) -> None:
    """What holds nothing proves nothing."""
    places = {"HTTP", "command line", "events", "/metrics", "output", "log file", "database", "Redis", "file vault.key"}
    assert places <= set(scanner.looked)
    assert min(scanner.looked[place] for place in places) > 40
    for canary in CANARIES[-len(ECHOES) :]:
        assert canary.name.encode() in sealed
    for table in (b"provider_key", b"execution_step", b"event", b"llm_call", b"vault_kek"):
        assert b"INSERT INTO public." + table + b" VALUES" in sealed, table
    assert b"llm" in cached
