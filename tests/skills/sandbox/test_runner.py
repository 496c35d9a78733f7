"""The runner: a process apart, for whoever knows its key, and gone with whoever started it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import psutil
import pytest

from atom.errors import InvalidError, UnavailableError
from atom.settings import SandboxSettings
from atom.skills.sandbox.access import open_access, own_address, own_key, shared_key
from atom.skills.sandbox.adapters.child import RunnerChild
from atom.skills.sandbox.adapters.keeper import SOURCE
from atom.skills.sandbox.adapters.remote import RemoteSandbox, RunnerUnavailableError
from atom.skills.sandbox.models import NEEDS, ExitReason, Guarantee, Language, Level, Limits, Spec
from atom.skills.sandbox.runner.address import Address
from atom.skills.sandbox.runner.handshake import new_key
from atom.skills.sandbox.runner.messages import LENGTH
from atom.skills.sandbox.runner.server import Runner
from tests.support.polling import eventually

SLEEP = b"import time\nprint('here', flush=True)\ntime.sleep(600)\n"
PRINT = b"import sys, json\nprint(json.load(sys.stdin), sys.argv[1:])\n"


def spec(source: bytes = PRINT, **more: object) -> Spec:
    return Spec(Language.PYTHON, "m.py", {"m.py": source}, b"[1]", Limits(seconds=30), **more)  # type: ignore[arg-type]


@pytest.fixture
async def child() -> AsyncIterator[RunnerChild]:
    made = RunnerChild(SandboxSettings(), Path(tempfile.gettempdir()))
    yield made
    await made.aclose()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path fits into the address of a socket."""
    with tempfile.TemporaryDirectory(prefix="atom-runner-test-") as name:
        yield Path(name)


def programs(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def sleeping() -> list[int]:
    """Programs of these tests, wherever they are."""
    return [one.pid for one in psutil.process_iter(["cmdline"]) if "./m.py" in (one.info["cmdline"] or [])]


async def test_program_gets_its_input_and_arguments_and_its_end_is_told(child: RunnerChild) -> None:
    remote = await child.at_work()
    result = await remote.run(spec(arguments=("--fast", "x y")))
    assert (result.reason, result.stdout) == (ExitReason.OK, b"[1] ['--fast', 'x y']\n")
    assert (await remote.report()).level(Guarantee.NET_NONE) is Level.ENFORCED


async def test_bytes_of_any_kind_come_through(child: RunnerChild) -> None:
    body = bytes(range(256)) * 40
    script = b"import os\nopen('output/b', 'wb').write(open('data.bin', 'rb').read())\nos.write(1, bytes(range(256)))\n"
    one = Spec(Language.PYTHON, "m.py", {"m.py": script, "data.bin": body}, b"null", Limits(seconds=30))
    result = await (await child.at_work()).run(one)
    assert result.stdout == bytes(range(256))
    assert [(made.name, made.body) for made in result.artefacts] == [("b", body)]


async def test_need_that_is_not_met_is_a_refusal_also_from_afar(child: RunnerChild) -> None:
    needs = {**NEEDS, Guarantee.NET_ALLOWLIST: Level.ENFORCED, Guarantee.NET_NONE: Level.ENFORCED}
    remote = await child.at_work()
    lacks = (await remote.report()).lacks(needs)
    result = await remote.run(spec(needs=needs))
    assert (result.reason is ExitReason.POLICY) == bool(lacks)


async def test_stranger_without_the_key_is_refused(child: RunnerChild) -> None:
    remote = await child.at_work()
    stranger = RemoteSandbox(remote.address, new_key())
    with pytest.raises(RunnerUnavailableError, match="does not know the key"):
        await stranger.report()
    result = await stranger.run(spec())
    assert (result.reason, result.backend) == (ExitReason.ENGINE, "")
    assert (await remote.run(spec())).reason is ExitReason.OK


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0" * LENGTH, b""])
async def test_garbage_is_answered_with_an_end_and_harms_nobody(child: RunnerChild, said: bytes) -> None:
    remote = await child.at_work()
    reader, writer = await asyncio.open_unix_connection(remote.address.path)
    writer.write(said)
    if said:
        await writer.drain()
    writer.write_eof()
    await asyncio.wait_for(reader.read(), 15)
    writer.close()
    assert (await remote.run(spec())).reason is ExitReason.OK


async def test_caller_that_goes_away_takes_its_program_along(child: RunnerChild) -> None:
    remote = await child.at_work()
    work = asyncio.create_task(remote.run(spec(SLEEP)))
    await eventually(sleeping)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await eventually(lambda: not sleeping())


async def test_program_is_ended_by_its_id(child: RunnerChild) -> None:
    remote = await child.at_work()
    one = spec(SLEEP)
    work = asyncio.create_task(remote.run(one))
    await eventually(sleeping)
    assert await remote.kill(one.id)
    assert (await work).reason is ExitReason.KILLED
    assert not await remote.kill(one.id)


async def test_runner_that_died_is_told_and_started_again(child: RunnerChild) -> None:
    remote = await child.at_work()
    work = asyncio.create_task(remote.run(spec(SLEEP)))
    await eventually(sleeping)
    assert child.process is not None
    os.kill(child.process.pid, signal.SIGKILL)
    result = await work
    assert (result.reason, result.detail) == (ExitReason.ENGINE, "The runner went away.")
    await eventually(lambda: not sleeping())
    await eventually(lambda: not child.lives)
    assert (await (await child.at_work()).run(spec())).reason is ExitReason.OK


async def test_killed_parent_leaves_no_runner_and_no_program(tmp_path: Path) -> None:
    """As `kill -9` of Atom: nothing of the parent's runs any more to clean up."""
    program = f"""
import asyncio, pathlib, sys
sys.path.insert(0, {SOURCE!r})
from atom.settings import SandboxSettings
from atom.skills.sandbox.adapters.child import RunnerChild
from atom.skills.sandbox.models import Language, Limits, Spec
async def main():
    child = RunnerChild(SandboxSettings(), pathlib.Path({str(tmp_path)!r}))
    remote = await child.at_work()
    print(child.process.pid, flush=True)
    await remote.run(Spec(Language.PYTHON, "m.py", {{"m.py": {SLEEP!r}}}, b"null", Limits(seconds=300)))
asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    assert parent.stdout is not None
    pid = 0
    while not pid:  # the log comes first
        line = (await asyncio.to_thread(parent.stdout.readline)).decode()
        assert line, "the parent ended"
        line = line.strip()
        pid = int(line) if line.isdigit() else 0
    await eventually(sleeping)
    parent.kill()
    await asyncio.to_thread(parent.wait)
    await eventually(lambda: not psutil.pid_exists(pid) and not sleeping())
    parent.stdout.close()


async def test_child_knows_nothing_of_its_parents_environment(
    child: RunnerChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-parent")
    monkeypatch.setenv("DATABASE_URL", "postgresql://of-the-parent")
    await child.at_work()
    assert child.process is not None
    environment = psutil.Process(child.process.pid).environ()
    assert set(environment) <= {"LANG", "PATH", "TMPDIR"}
    assert "of-the-parent" not in Path(f"/proc/{child.process.pid}/cmdline").read_text("utf-8")


async def test_runner_of_its_own_serves_whoever_shares_its_home(short: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "ATOM_HOME": str(short), "OPENAI_API_KEY": "sk-foreign"}
    command = [sys.executable, "-m", "atom", "serve", "--role", "sandbox"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    said = b""
    while b"sandbox.serving" not in said:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, said
        said += line
    assert b"sandbox.foreign_settings" in said
    assert b"sk-foreign" not in said
    assert psutil.Process(process.pid).cmdline()[0].startswith("atom: sandbox")
    assert (short / "sandbox.sock").stat().st_mode & 0o777 == 0o600
    assert (short / "sandbox.key").stat().st_mode & 0o777 == 0o600
    settings = SandboxSettings(runner=f"unix://{short}/sandbox.sock")
    access = open_access(settings, short, log_level="info", log_file=None)
    assert (await access.execute(spec())).result.reason is ExitReason.OK
    assert access.away == ""
    running = asyncio.create_task(access.execute(spec(b"import time\ntime.sleep(3)\nprint('whole')\n")))
    await eventually(sleeping)
    process.terminate()
    drained = (await running).result
    assert (drained.reason, drained.stdout) == (ExitReason.OK, b"whole\n")
    assert await asyncio.wait_for(process.wait(), 30) == 0
    assert not (short / "sandbox.sock").exists()
    gone = (await access.execute(spec())).result
    assert (gone.reason, gone.backend) == (ExitReason.ENGINE, "")
    assert "No runner of the sandbox" in access.away


async def test_role_sandbox_is_not_put_beside_others(short: Path) -> None:
    command = [sys.executable, "-m", "atom", "serve", "--role", "sandbox", "--role", "worker"]
    environment = {"PATH": os.environ["PATH"], "ATOM_HOME": str(short)}
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert b"cannot be together with others" in done.stderr


@pytest.mark.parametrize(
    "text", ["http://x:1", "unix://relative", "unix://host/path", "tcp://host", "tcp://:80", "tcp://h:99999", "", "x"]
)
def test_address_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidError, match="ATOM_SANDBOX__RUNNER"):
        Address.parse(text, "ATOM_SANDBOX__RUNNER")


def test_address_is_read_back_as_it_is_written() -> None:
    for text in ("unix:///run/atom/s.sock", "tcp://runner:7000", "tcp://127.0.0.1:1"):
        assert str(Address.parse(text, "x")) == text


def test_runner_on_tcp_needs_a_key_that_was_set(short: Path) -> None:
    settings = SandboxSettings(listen="tcp://127.0.0.1:7000")
    with pytest.raises(InvalidError, match="ATOM_SANDBOX__KEY"):
        own_key(settings, short, own_address(settings, short))


def test_key_is_made_once_and_read_by_both(short: Path) -> None:
    settings = SandboxSettings()
    with pytest.raises(RunnerUnavailableError, match=r"sandbox\.key"):
        shared_key(settings, short)
    made = own_key(settings, short, own_address(settings, short))
    assert own_key(settings, short, own_address(settings, short)) == made == shared_key(settings, short)


def test_second_runner_at_one_address_is_refused_and_a_left_socket_is_not(short: Path) -> None:
    address = Address(path=str(short / "s"))
    with address.listen() as first:
        with pytest.raises(UnavailableError, match="somebody listens there already"):
            address.listen()
        assert first.family == socket.AF_UNIX
    with address.listen() as again:
        assert again.getsockname() == str(short / "s")


def test_file_that_is_no_socket_is_not_taken_for_one_that_was_left(short: Path) -> None:
    (short / "s").write_text("somebody's")
    with pytest.raises(UnavailableError):
        Address(path=str(short / "s")).listen()
    assert (short / "s").read_text() == "somebody's"


def test_runners_that_begin_at_one_time_have_one_key(short: Path) -> None:
    settings = SandboxSettings()
    together = Barrier(8)

    def begin(number: int) -> bytes:
        del number
        together.wait()
        return own_key(settings, short, own_address(settings, short))

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(begin, range(8)))
    assert keys == {shared_key(settings, short)}
    assert [path.name for path in short.iterdir()] == ["sandbox.key"]
    assert (short / "sandbox.key").stat().st_mode & 0o777 == 0o600


async def test_tcp_runner_is_reached_with_the_key_and_by_nobody_else(child: RunnerChild) -> None:
    """The same door on TCP: the handshake does not depend on the kind of socket."""
    inner, key = await child.at_work(), new_key()
    runner = Runner(key, inner, await inner.report())  # type: ignore[arg-type]
    server = await asyncio.start_server(runner.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        assert (await RemoteSandbox(Address(host="127.0.0.1", port=port), key).run(spec())).reason is ExitReason.OK
        with pytest.raises(RunnerUnavailableError):
            await RemoteSandbox(Address(host="127.0.0.1", port=port), new_key()).report()
    finally:
        server.close()
