"""The watch over a campaign's canaries: it finds each one that gets out, says where, and fails when it saw nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.house import campaign, canaries
from tests.support import canary_watch
from tests.support.planted import PLACES, VAULT, plants

ROOT = Path(__file__).resolve().parents[2]
SEED = 20261125
LEAKY = """
import asyncio, base64, json, logging, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import quote
import httpx2, psycopg, pytest, redis
from prometheus_client import CollectorRegistry, Gauge
from pydantic import SecretStr
from tests.support.own_redis import own_redis
from tests.support.planted import PLACES, planted
KEYS = [planted(place, "") for place in PLACES]

@pytest.fixture(scope="module")
def server():
    class Says(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = base64.b64encode(f"key: {KEYS[5]}".encode())
            self.send_response(500)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        def log_message(self, *words): pass
    with HTTPServer(("127.0.0.1", 0), Says) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/place"
        server.shutdown()

def row(url, value):
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False)) as connection:
        connection.execute("CREATE TABLE note (said jsonb)")
        connection.execute("INSERT INTO note VALUES (%s)", (json.dumps({"said": value}),))

def test_clean(server, tmp_path):
    (tmp_path / "a.txt").write_text(KEYS[0][:15])
    assert SecretStr(KEYS[0]).get_secret_value() == KEYS[0]
    httpx2.get(server, headers={"Authorization": "Bearer " + KEYS[5]}, trust_env=False)

def test_log(): logging.getLogger("x").warning("said %s", KEYS[0])
def test_printed(): print(KEYS[1][::-1])
def test_taken(capsys):
    print(KEYS[2])
    assert capsys.readouterr().out
def test_row(database): row(database, KEYS[3])
def test_left_row(cluster): row(cluster.create("left_behind"), KEYS[4].encode().hex())
def test_error_body(server): assert httpx2.get(server, trust_env=False).status_code == 500
def test_redis(own_redis): redis.Redis.from_url(own_redis.url).hset("k", "v", quote(KEYS[6], safe=""))
def test_metric(): Gauge("g", "g", ["key"], registry=CollectorRegistry()).labels(KEYS[7]).set(1)
def test_file(home): (home / "a.txt").write_text(KEYS[8])
def test_log_file(home): (home / "a.log").write_text(KEYS[9])
def test_tmp_file(tmp_path): (tmp_path / KEYS[10]).write_text("")
def test_command():
    said = KEYS[11].encode().hex().upper()
    subprocess.run([sys.executable, "-c", f"print('{said}')"], capture_output=True)
async def test_command_beside():
    words = [sys.executable, "-c", f"print('{KEYS[12]}')"]
    await (await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)).communicate()
"""
FOUND = {  # the canary, where it is found, and in which of its forms
    0: ("output of tests: log call [{}::test_log]", "plain"),
    1: ("output of tests: stdout call [{}::test_printed]", "reversed"),
    2: ("output of tests: taken by the test [{}::test_taken]", "plain"),
    3: ("database: table note of test_", "JSON"),
    4: ("database: table note of left_behind", "hex"),
    5: ("error bodies: GET /place 500 [{}::test_error_body]", "base64 + 2"),
    6: ("Redis: redis://127.0.0.1", "percent"),
    7: ("metrics: registry [{}::test_metric]", "plain"),
    8: ("files: ", "plain"),
    9: ("log files: ", "plain"),
    10: ("names of files: path", "plain"),
    11: ("output of commands: stdout [{}::test_command]", "HEX"),
    12: ("output of commands: stdout [{}::test_command_beside]", "plain"),
}


def watched(test: Path, report: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run as a campaign runs a file, except that the file lies elsewhere."""
    command = [sys.executable, "-m", "pytest", "-p", canaries.PLUGIN, "-p", "tests.conftest", str(test)]
    command += ["-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", *options]
    environment = {**os.environ, **canaries.variables(SEED, report)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_each_way_out_is_found_and_named(tmp_path: Path) -> None:
    test, path = tmp_path / "test_leaky.py", tmp_path / "reports" / "leaky.json"
    test.write_text(LEAKY, "utf-8")
    done = watched(test, path, f"--basetemp={tmp_path / 'base'}")
    assert "14 passed" in done.stdout, done.stdout
    assert done.returncode == 1
    report = json.loads(path.read_text("utf-8"))
    leaks: list[str] = report["leaks"]
    for number, (place, form) in FOUND.items():
        mine = [leak for leak in leaks if f": {PLACES[number]} (" in leak]
        assert mine, (number, leaks)
        assert all(place.partition("[")[0] in leak for leak in mine), mine
        assert any(leak.endswith(f"({form})") for leak in mine), mine
        assert all(name in leak for leak in mine for name in place.partition("{}::")[2:] if name), mine
        assert all(leak in done.stdout for leak in mine)
    assert not [leak for leak in leaks if "test_clean" in leak]
    assert report["unread"] == []
    assert set(canaries.KINDS) - set(report["kinds"]) <= {"answers"}
    assert report["tables"]["note"] == 2
    assert report["used"][PLACES[0]] >= 1


def test_a_run_without_a_leak_passes(tmp_path: Path) -> None:
    test, path = tmp_path / "test_some.py", tmp_path / "clean.json"
    test.write_text(LEAKY, "utf-8")
    done = watched(test, path, "-k", "test_clean", f"--basetemp={tmp_path / 'base'}")
    assert done.returncode == 0, done.stdout
    assert json.loads(path.read_text("utf-8"))["leaks"] == []


def test_a_watch_without_canaries_does_not_begin(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary_watch, "PLANTED", {})
    with pytest.raises(pytest.UsageError, match="PLANT_SEED is not set"):
        canary_watch.pytest_configure(pytestconfig)


def test_the_campaign_plants_twenty_and_takes_every_test_file() -> None:
    assert len(set(PLACES)) == canaries.COUNT
    assert set(VAULT) < set(PLACES)
    assert len({canary.secret for canary in plants(SEED).values()}) == canaries.COUNT
    assert plants(SEED) == plants(SEED) != plants(SEED + 1)
    files = campaign.test_files(ROOT)
    assert sorted(ROOT / file for file in files) == sorted((ROOT / "tests").rglob("test_*.py"))
    small = len(files) - len(campaign.property_tests(ROOT))
    assert not set(files[:small]) & set(campaign.property_tests(ROOT)), "what takes long comes last"


def whole() -> dict[str, Any]:
    return {
        "kinds": {kind: {"places": 1, "bytes": 1} for kind in canaries.KINDS},
        "tables": dict.fromkeys(canaries.TABLES, 1),
        "used": dict.fromkeys(PLACES, 1),
        "leaks": [],
        "unread": [],
    }


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "leak": ({"leaks": ["Redis: x: canary (plain)"]}, "Redis: x: canary (plain)"),
    "nothing": ({"kinds": {}}, "nothing was looked at: Redis"),
    "no bytes": (
        {"kinds": whole()["kinds"] | {"metrics": {"places": 9, "bytes": 0}}}, "nothing was looked at: metrics"
    ),
    "empty table": ({"tables": dict.fromkeys(canaries.TABLES[1:], 1)}, f"table {canaries.TABLES[0]}"),
    "unused": ({"used": dict.fromkeys(PLACES[1:], 1)}, "19 of 20 canaries"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_search_of_nothing_has_failed(name: str, tmp_path: Path) -> None:
    path = canaries.report_of(tmp_path, "tests/a/test_b.py")
    path.write_text(json.dumps(whole()), "utf-8")
    assert canaries.add_up(SEED, tmp_path, ["tests/a/test_b.py"]).faults == []
    changes, said = FAULTS[name]
    path.write_text(json.dumps(whole() | changes), "utf-8")
    found = canaries.add_up(SEED, tmp_path, ["tests/a/test_b.py"])
    assert any(said in fault for fault in found.faults), found.faults
    canaries.write(found, tmp_path / "canaries.json")
    assert json.loads((tmp_path / "canaries.json").read_text("utf-8"))["faults"] == found.faults


def test_a_file_without_a_report_has_failed(tmp_path: Path) -> None:
    canaries.report_of(tmp_path, "a.py").write_text(json.dumps(whole()), "utf-8")
    faults = canaries.add_up(SEED, tmp_path, ["a.py", "b.py"]).faults
    assert faults == ["b.py: no report of what it left"]
