"""What a program that may reach single hosts tries besides, and what it cannot make the proxy do."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from atom.skills.sandbox.adapters.keeper import Keeper
from atom.skills.sandbox.adapters.supervised import SupervisedSandbox
from atom.skills.sandbox.canaries.host import bait
from atom.skills.sandbox.canaries.hosts import reach
from atom.skills.sandbox.egress import Bounds, Gate, Outside
from atom.skills.sandbox.models import NEEDS, ExitReason, Guarantee, Language, Level, Limits, Result, Spec
from tests.skills.sandbox.conftest import PRELUDE, Box, sandbox_of
from tests.support.outside import Names, serving
from tests.support.site import BY_HAND, HOST, Site

OTHER = "other.example"
MIB = 1 << 20


async def test_the_canary_found_that_it_holds(box: Box) -> None:
    found = box.report.evidence[Guarantee.NET_ALLOWLIST]
    expected = Level.ENFORCED if isinstance(box.sandbox, SupervisedSandbox) else Level.ABSENT
    assert found.level is expected, found


DIRECT = {
    "the listener of somebody else": "socket.create_connection(('127.0.0.1', given['port']), 2)",
    "the server behind the allowed host": "socket.create_connection(('127.0.0.1', given['plain']), 2)",
    "without blocking": "(s := socket.socket(), s.setblocking(False), s.connect(('127.0.0.1', given['port'])))",
    "IPv6": "socket.create_connection(('::1', given['port']), 2)",
    "a public address": "socket.create_connection(('93.184.216.34', 443), 2)",
    "the proxy's own address": "socket.create_connection((proxy.hostname, 80), 2)",
    "name": "socket.create_connection(('allowed.example', given['plain']), 2)",
    "by sending": "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', given['port']))",
    "by sending a message": "socket.socket().sendmsg([b'x'], [], 0x20000000, ('127.0.0.1', given['port']))",
    "by sending messages": "syscall((307, 269), socket.socket().fileno(), 0, 0, 0x20000000)",
    "by an option and sending": "fast_open()",
    "another protocol of streams": "socket.socket(2, 1, 262)",
    "a stream of another kind": "socket.socket(2, 1, 132)",
    "UDP": "socket.socket(2, 2).sendto(b'x', ('127.0.0.1', given['udp']))",
    "ping": "socket.socket(2, 2, 1)",
    "raw": "socket.socket(2, 3, 6)",
    "unix": "socket.socket(1, 1)",
    "pair": "socket.socketpair(2, 1)",
    "listen": "socket.socket().listen()",
    "bind": "socket.socket().bind(('127.0.0.1', 0))",
    "accept": "socket.socket().accept()",
    "addresses of the machine": "fcntl.ioctl(socket.socket(), 0x8912, bytes(64))",
    "addresses through a connection": "fcntl.ioctl(there(), 0x8912, bytes(64))",
    "the namespace of a connection": "fcntl.ioctl(there(), 0x894C)",
    "a connection led elsewhere": "again()",
    "a connection that listens": "there().listen()",
    "a listener of its own for calls": "syscall((317, 277), 1, 8, ctypes.create_string_buffer(16))",
    "io_uring": "syscall((425, 425), 8, ctypes.create_string_buffer(200))",
}
TRIES = """
import fcntl, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["HTTP_PROXY"])
def fast_open():
    s = socket.socket()
    s.setsockopt(6, 30, 1)
    s.connect(("127.0.0.1", given["port"]))
    return s.send(b"x")
def there():
    return socket.create_connection((proxy.hostname, proxy.port), 5)
def again():
    s = there()
    libc.connect(s.fileno(), ctypes.create_string_buffer(16), 16)  # AF_UNSPEC: end the connection
    s.connect(("127.0.0.1", given["port"]))
"""


@asynccontextmanager
async def attempted(box: Box) -> AsyncIterator[tuple[dict[str, str], Result, list[str], int]]:
    """What came of going past the proxy, and what was felt outside."""
    with bait(box.owner) as host:
        async with serving() as plain:
            sandbox = replace(box.reaching, outside=Outside(Names(), (f"internal:{HOST}:{plain.port}",)))
            tries = "".join(f"attempt({name!r}, lambda: {body})\n" for name, body in DIRECT.items())
            given = {**host.told(), "plain": plain.port}
            here = replace(box, sandbox=sandbox)
            done = await here.run(PRELUDE + TRIES + tries, given, hosts=(f"{HOST}:{plain.port}",))
            assert isinstance(done.value, dict), (done.detail, done.stderr)
            yield done.value, done, host.reached(), plain.connections


async def test_nothing_goes_past_the_proxy(box: Box) -> None:
    async with attempted(box) as (found, done, reached, connections):
        assert {name: came for name, came in found.items() if came.startswith("DONE")} == {}
        assert reached == []
        assert connections == 0
    direct = {(one.host, one.port): one.count for one in done.connections if one.reason == "direct"}
    assert direct["93.184.216.34", 443] == 1, "what was tried is on the record"
    assert all(not one.allowed for one in done.connections)


async def test_a_program_without_hosts_has_no_socket_and_no_proxy(box: Box) -> None:
    found = await box.attempts(
        "attempt('socket', lambda: socket.socket(2, 1))\nattempt('proxy', lambda: os.environ['HTTP_PROXY'])"
    )
    assert found == {"socket": "PermissionError: [Errno 1] Operation not permitted", "proxy": "KeyError: 'HTTP_PROXY'"}


async def test_where_the_canary_found_a_way_out_a_program_with_hosts_is_refused(box: Box) -> None:
    lost = replace(box.report.evidence[Guarantee.NET_ALLOWLIST], level=Level.ABSENT, value="UDP: open")
    report = replace(box.report, evidence={**box.report.evidence, Guarantee.NET_ALLOWLIST: lost})
    sandbox = replace(box.sandbox, report=report)
    done = await sandbox.run(Spec(Language.PYTHON, "main", {"main": b"print(1)"}, hosts=("example.com",)))
    assert (done.reason, done.stdout) == (ExitReason.POLICY, b"")
    assert "net_allowlist is absent, enforced is needed" in done.detail
    assert "UDP: open" in done.detail
    done = await sandbox.run(Spec(Language.PYTHON, "main", {"main": b"print(1)"}))
    assert done.reason is ExitReason.OK, "one without hosts does not need it"


async def test_the_credential_of_another_execution_does_not_open_its_hosts(site: Site) -> None:
    async with Gate((f"{OTHER}:{site.plain.port}",), Outside(Names()), transfer=MIB) as others:
        source = (
            BY_HAND
            + f"""
import urllib.request
theirs = urllib.request.ProxyHandler({{"http": f"http://atom:{others.secret}@{{proxy[0]}}:{{proxy[1]}}"}})
mine = urllib.request.ProxyHandler()
other = "http://{OTHER}:{site.plain.port}/x"
for handler, address in ((theirs, "PLAIN/x"), (theirs, other), (mine, other)):
    try:
        print(urllib.request.build_opener(handler).open(address, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
try:
    socket.create_connection(("127.0.0.1", {others.port}), 2)
except OSError as error:
    print(errno.errorcode[error.errno])
"""
        )
        assert await site.said(source) == ["407", "407", "403", "ENETUNREACH"]
        assert others.count == 0
        assert site.plain.connections == 0


async def test_two_executions_at_once_have_each_their_own_hosts(box: Box) -> None:
    source = """
import urllib.request
for name in ("one", "two"):
    try:
        print(name, urllib.request.urlopen(f"http://{name}.example:PORT/", timeout=10).status)
    except urllib.error.HTTPError as error:
        print(name, error.code)
"""
    async with serving() as server:
        inner = tuple(f"internal:{name}.example:{server.port}" for name in ("one", "two"))
        sandbox = replace(box.reaching, outside=Outside(Names(), inner))
        body = source.replace("PORT", str(server.port)).encode()
        runs = [
            sandbox.run(Spec(Language.PYTHON, "main", {"main": body}, hosts=(f"{name}.example:{server.port}",)))
            for name in ("one", "two")
        ]
        first, second = await asyncio.gather(*runs)
    assert first.stdout == b"one 200\ntwo 403\n", first.stderr
    assert second.stdout == b"one 403\ntwo 200\n", second.stderr


async def test_when_the_proxy_cuts_a_connection_the_program_goes_on(site: Site) -> None:
    source = """
import urllib.request
try:
    print(len(urllib.request.urlopen("PLAIN/endless", timeout=20).read()) < 2_000_000)
except OSError:
    print("cut")
print("went on")
"""
    done = await site.run(source, limits=Limits(seconds=20, transfer=MIB))
    assert done.stdout.decode().splitlines()[1:] == ["went on"], done.stderr
    [one] = done.connections
    assert (one.allowed, one.reason) == (True, "bytes")
    assert one.received <= MIB


async def test_a_program_whose_proxy_is_gone_is_refused_and_ends_in_peace(box: Box) -> None:
    async with Gate(("example.com",), Outside(Names()), transfer=MIB) as gate:
        pass
    source = """
import urllib.request
try:
    urllib.request.urlopen("http://example.com/")
except OSError as error:
    print(error)
"""
    spec = Spec(Language.PYTHON, "main", {"main": source.encode()}, hosts=("example.com",))
    done = await box.reaching._supervise(spec, gate)
    assert done.reason is ExitReason.OK, (done.detail, done.stderr)
    assert b"Connection refused" in done.stdout


async def test_a_program_that_ends_while_it_connects_leaves_nothing(site: Site) -> None:
    source = (
        BY_HAND
        + """
for _ in range(20):
    if os.fork() == 0:
        while True:
            try:
                socket.create_connection(proxy, 5).close()
            except OSError:
                pass
"""
    )
    done = await site.run(source, limits=Limits(seconds=20, pids=40), bounds=Bounds(connections=200))
    assert done.reason is ExitReason.OK, (done.detail, done.stderr)


async def test_an_execution_with_hosts_is_ended_at_its_time_while_it_is_connected(site: Site) -> None:
    source = "import urllib.request\nurllib.request.urlopen('PLAIN/silent').read()"
    done = await site.run(source, limits=Limits(seconds=1))
    assert done.reason is ExitReason.TIMEOUT
    [one] = done.connections
    assert (one.host, one.allowed, one.reason) == (HOST, True, "ended")


SOMEBODY_LISTENS = """#!/usr/bin/python3 -IS
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
assert libc.prctl(38, 1, 0, 0, 0) == 0
number = 277 if os.uname().machine == "aarch64" else 317
allow = Program(1, struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
file = libc.syscall(ctypes.c_long(number), ctypes.c_long(1), ctypes.c_long(8), ctypes.byref(allow))
assert file >= 0, os.strerror(ctypes.get_errno())
os.set_inheritable(file, True)
os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv[1:]])
"""


@pytest.mark.parametrize("name", ["bwrap-ordinary", "landlock-ordinary"])
async def test_where_calls_cannot_be_handed_over_hosts_are_absent_and_the_rest_holds(
    name: str, open_folder: Path
) -> None:
    """The kernel lets one listener be in a tree of processes, and an older one has none."""
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs the system's Python")
    python = open_folder / "python"
    python.write_text(SOMEBODY_LISTENS)
    python.chmod(0o755)
    found = sandbox_of(name, open_folder)
    assert isinstance(found, SupervisedSandbox)
    sandbox = replace(found, keeper=Keeper(found.place, str(python)))
    report = await sandbox.probe()
    seen = report.evidence[Guarantee.NET_ALLOWLIST]
    assert seen.level is Level.ABSENT
    assert "connections cannot be handed over" in seen.value
    assert report.lacks(NEEDS) == []
    done = await sandbox.run(Spec(Language.PYTHON, "main", {"main": b"print(1)"}, hosts=("example.com",)))
    assert (done.reason, done.stdout) == (ExitReason.POLICY, b"")
    done = await sandbox.run(Spec(Language.PYTHON, "main", {"main": b"print(1)"}))
    assert (done.reason, done.stdout) == (ExitReason.OK, b"1\n")
    await sandbox.close()


RESULT = {"SKILL_RESULT_FD": "1", "SKILL_RESULT_NONCE": ""}


class Leaky:
    """Has the proxy, and starts plain processes that need not use it."""

    async def execute(self, spec: Spec, outside: Outside | None = None) -> Result:
        async with Gate(spec.hosts, outside or Outside(), transfer=MIB) as gate:
            process = await asyncio.create_subprocess_exec(
                shutil.which("python3") or "python3", "-c", spec.files[spec.entry].decode(),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                env={**RESULT, "HTTP_PROXY": f"http://atom:{gate.secret}@127.0.0.1:{gate.port}"},
            )  # fmt: skip
            out, _ = await process.communicate(spec.input)
        value = json.loads(out)
        return Result(spec.id, "leaky", ExitReason.OK, "", 0, out, value=value, connections=gate.connections())


async def test_the_canary_finds_a_backend_whose_programs_need_not_use_the_proxy() -> None:
    level, value = await reach(Leaky().execute, None)
    assert level is Level.ABSENT
    for way in ("TCP: open", "UDP: open", "listen: open", "came through: TCP"):
        assert way in value
    assert "other host" not in value
    assert await reach(None, None) == (Level.ABSENT, "this backend lets no single hosts through")
