"""What `atom up` says to a home, disk or database that it cannot work with: exit code and reason, and no secret."""

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import URL

from tests.conftest import Cluster
from tests.journeys.conftest import PLAIN
from tests.support.processes import atom, atom_up, ordinary_user, postgres_of, script, until

SECRET = "hunter2-is-secret"


def test_wrong_password(folder: Path, cluster: Cluster) -> None:
    url = cluster.url("atom").set(drivername="postgresql", password=SECRET).render_as_string(hide_password=False)
    for command in (("up", "--port", "0", "--once"), ("migrate",)):
        done = atom(folder / "home", *command, env={"DATABASE_URL": url, **script(folder, PLAIN)})
        assert (done.code, "refuses the user or its password" in done.err) == (3, True), done
        assert "DATABASE_URL" in done.err.partition("hint:")[2]
        assert SECRET not in done.err + done.out
    assert SECRET not in (folder / "home" / "logs" / "atom.log").read_text()


def test_home_that_cannot_be_written(folder: Path) -> None:
    user = ordinary_user()
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    done = atom(closed / "home", "up", "--port", "0", "--once", env=script(folder, PLAIN), user=user)
    assert done.code == 2
    assert f"ATOM_HOME: {closed / 'home'} cannot be used: permission denied." in done.err
    assert "ATOM_HOME" in done.err.partition("hint:")[2]


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={int(megabytes * 1024)}k,mode=0711", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("megabytes", [0.02, 40])
def test_new_home_on_a_full_disk(folder: Path, megabytes: float) -> None:
    with small_disk(folder, megabytes) as disk:
        done = atom(disk / "home", "up", "--port", "0", "--once", env=script(folder, PLAIN))
        assert (done.code, "No space left on the disk" in done.err) == (3, True), done
        assert "no data was lost" in done.err
        assert not postgres_of(disk / "home")


def test_disk_that_fills_up_while_it_serves(folder: Path) -> None:
    """Reads go on, writes get 503, even a killed database comes back once there is room: nothing was lost."""
    with small_disk(folder, 130) as disk, atom_up(disk / "home", env=script(folder, PLAIN)) as daemon:
        home = disk / "home"
        with daemon.client() as http:
            assert http.post("/api/agents", json={"name": "before"}).status_code == 201
            ballast = fill(disk)
            answers = [create(http, number) for number in range(20)]  # the first may fit into pages that are there
            assert {answer.status_code for answer in answers} <= {201, 503}
            assert answers[-1].json()["code"] == "database_full"
            assert http.get("/api/agents/before").status_code == 200
            os.kill(int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
            until(lambda: b"database.restart_failed" in daemon.output.read_bytes())
            ballast.unlink()
            until(lambda: create(http, 99).status_code in {201, 409})
            made = {answer.json()["name"] for answer in answers if answer.status_code == 201}
            found = {agent["name"] for agent in http.get("/api/agents?limit=200").json()["items"]}
            assert found == {"before", "n99"} | made
        (failed, *_) = daemon.events("database.restart_failed")
        assert (failed["error_code"], "exception" in failed) == ("disk_full", False)
        assert daemon.stop() == 0


def create(http: httpx2.Client, number: int) -> httpx2.Response:
    """With a text that does not compress."""
    return http.post("/api/agents", json={"name": f"n{number}", "instructions": secrets.token_hex(4_500)})


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65_536)
    return ballast


def test_external_database_serves_too(folder: Path, database: URL) -> None:
    url = database.set(drivername="postgresql").render_as_string(hide_password=False)
    with atom_up(folder / "home", env={"DATABASE_URL": url, **script(folder, PLAIN)}) as daemon:
        assert daemon.health()[0] == 200
        assert daemon.children == []
        assert daemon.mishaps == []
        assert daemon.stop() == 0
    assert not (folder / "home" / "postgres").exists()
