"""The canary of single hosts: it has one, and tries to reach that one, others, and everything past the proxy."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from atom.skills.sandbox.canaries.host import Host, bait
from atom.skills.sandbox.canaries.programs import TELL
from atom.skills.sandbox.egress import Outside
from atom.skills.sandbox.models import Language, Level, Limits, Result, Spec

ExecuteOutside = Callable[[Spec, Outside], Awaitable[Result]]
CANARY = "reach one host, others and past the proxy"
ALLOWED, INNER, OTHER = "allowed.canary.example", "inner.canary.example", "other.canary.example"

REACH = (
    TELL
    + r"""
import base64, socket, urllib.parse
host = json.load(sys.stdin)
found = {}

def attempt(name, call):
    try:
        found[name] = f"open: {call()}"
    except (OSError, ValueError) as error:
        found[name] = "denied: " + (getattr(error, "strerror", "") or str(error))

def connect(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(2)
        one.connect(address)
        one.send(b"out")
    return "sent"

def create(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()
    return "made"

def fast_open():
    with socket.socket() as one:
        return one.sendto(b"out", 0x20000000, ("127.0.0.1", host["port"]))

def listen():
    with socket.socket() as one:
        one.listen()
    return "listens"

def interfaces():
    import fcntl
    with socket.socket() as one:
        return fcntl.ioctl(one, 0x8912, bytes(64))

proxy = urllib.parse.urlsplit(os.environ.get("HTTP_PROXY", "http://nobody:x@127.0.0.1:1"))
credential = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()

def through(first, more=b"", given=credential):
    with socket.socket() as one:
        one.settimeout(10)
        one.connect((proxy.hostname, proxy.port))
        one.sendall(f"{first} HTTP/1.1\r\nHost: {first.split('/')[-2] if '//' in first else first.split()[1]}\r\n"
                    f"Proxy-Authorization: Basic {given}\r\n\r\n".encode() + more)
        got = b""
        while part := one.recv(65536):
            got += part
    if host["word"].encode() not in got:
        raise ValueError(got[:40].decode("latin-1").split("\r")[0] or "closed")
    return host["word"]

port = host["listener"]
attempt("allowed", lambda: through(f"GET http://{host['allowed']}:{port}/"))
attempt("other host", lambda: through(f"GET http://{host['other']}:{port}/"))
attempt("name of an inner address", lambda: through(f"GET http://{host['inner']}:{port}/"))
attempt("address", lambda: through(f"GET http://127.0.0.1:{port}/"))
attempt("metadata by the proxy", lambda: through("GET http://169.254.169.254/latest/"))
attempt("without a credential", lambda: through(f"GET http://{host['allowed']}:{port}/", given="eDp5"))
inside = f"GET / HTTP/1.1\r\nHost: {host['other']}\r\n\r\n".encode()
attempt("another host in a tunnel", lambda: through(f"CONNECT {host['allowed']}:{port}", inside))
attempt("TCP", lambda: connect(2, 1, ("127.0.0.1", host["port"])))
attempt("TCP of IPv6", lambda: connect(10, 1, ("::1", host["port"])))
attempt("TCP of IPv4 in IPv6", lambda: connect(10, 1, ("::ffff:127.0.0.1", host["port"])))
attempt("TCP by sending", fast_open)
attempt("metadata", lambda: connect(2, 1, ("169.254.169.254", 80)))
attempt("UDP", lambda: connect(2, 2, ("127.0.0.1", host["udp"])))
attempt("UDP of IPv6", lambda: connect(10, 2, ("::1", host["udp"])))
attempt("abstract unix", lambda: connect(1, 1, "\0" + host["abstract"]))
attempt("unix", lambda: socket.socketpair(1, 2)[0].sendto(b"out", host["unix"]))
attempt("listen", listen)
attempt("interfaces", interfaces)
for name, family, kind, protocol in (("vsock", 40, 1, 0), ("packet", 17, 3, 0), ("netlink", 16, 3, 0),
                                     ("alg", 38, 5, 0), ("raw", 2, 3, 1), ("MPTCP", 2, 1, 262), ("SCTP", 2, 1, 132)):
    attempt(name, lambda family=family, kind=kind, protocol=protocol: create(family, kind, protocol))
tell(found)
"""
)


@dataclass(frozen=True, slots=True)
class _Loopback:
    """Every name lies on this machine."""

    async def addresses(self, name: str) -> Sequence[str]:
        return ["127.0.0.1"]


async def reach(execute: ExecuteOutside | None, owner: tuple[int, int] | None) -> tuple[Level, str]:
    """What came of it. `execute` None: the backend has no way to single hosts."""
    if execute is None:
        return Level.ABSENT, "this backend lets no single hosts through"
    word = secrets.token_hex(8)
    with bait(owner) as host:
        async with _listener(word) as port:
            outside = Outside(_Loopback(), inner=(f"internal:{ALLOWED}:{port}",))
            names = {"allowed": ALLOWED, "inner": INNER, "other": OTHER}
            told = json.dumps({**host.told(), **names, "word": word, "listener": port})
            files, limits = {"canary.py": REACH.encode()}, Limits(seconds=60)
            hosts = (f"{ALLOWED}:{port}", f"{INNER}:{port}")
            done = await execute(
                Spec(Language.PYTHON, "canary.py", files, told.encode(), limits, needs={}, hosts=hosts), outside
            )
        return _judge(done, word, host)


def _judge(done: Result, word: str, host: Host) -> tuple[Level, str]:
    if not isinstance(done.value, dict):
        said = done.stderr[-200:].decode("utf-8", "replace").strip()
        return Level.ABSENT, f"the canary did not answer: {done.reason}: {done.detail} {said}"
    found: dict[str, Any] = dict(done.value)
    allowed = found.pop("allowed", "")
    ways = [f"{name}: {came}" for name, came in found.items() if not str(came).startswith("denied")]
    ways += [f"came through: {name}" for name in host.reached()]
    if ways:
        return Level.ABSENT, "; ".join(ways)
    if allowed != f"open: {word}":
        return Level.ABSENT, f"the allowed host was not reached: {allowed}"
    taken = [one for one in done.connections if one.allowed and one.host == ALLOWED]
    if not taken:
        return Level.ABSENT, "what was reached is not on the record"
    return Level.ENFORCED, f"one host reached through the proxy, {len(found)} other attempts denied"


@asynccontextmanager
async def _listener(word: str) -> AsyncIterator[int]:
    """A server outside that says `word` to whoever asks."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(word)}\r\nConnection: close\r\n\r\n{word}".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
