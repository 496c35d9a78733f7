"""The proxy by itself, on real sockets: what it lets through, what it refuses, and what it says about it."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from atom.skills.sandbox.egress import Bounds, Gate, Outside
from atom.skills.sandbox.egress.journal import MOST
from tests.support.outside import Names, authority, serving

HOST, OTHER = "allowed.example", "other.example"
MIB = 1 << 20
SECOND = b"GET /second HTTP/1.1\r\nHost: other.example\r\n\r\n"


@asynccontextmanager
async def gate(
    port: int, *hosts: str, bounds: Bounds | None = None, transfer: int = 64 * MIB, names: Names | None = None
) -> AsyncIterator[Gate]:
    """One that lets HOST through, which is this machine's `port`."""
    inner = (f"internal:{HOST}:{port}",)
    outside = Outside(names or Names(), inner, bounds or Bounds())
    async with Gate(hosts or (f"{HOST}:{port}",), outside, transfer=transfer) as found:
        yield found


async def said(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""


async def ask(found: Gate, text: str, *, secret: str | None = None, more: bytes = b"", half: bool = True) -> bytes:
    """All that comes back for a head, whose lines are separated by one newline, and bytes after it."""
    given = base64.b64encode(f"atom:{found.secret if secret is None else secret}".encode()).decode()
    head = "\r\n".join([*text.split("\n"), f"Proxy-Authorization: Basic {given}"])
    reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
    writer.write(f"{head}\r\n\r\n".encode() + more)
    try:
        if half:
            writer.write_eof()
        return await said(reader)
    except OSError:  # it was cut at once
        return b""
    finally:
        writer.transport.abort()


def get(host: str, port: int, path: str = "/x") -> str:
    return f"GET http://{host}:{port}{path} HTTP/1.1\nHost: {host}:{port}"


def reason(reply: bytes) -> str:
    """Of a refusal."""
    line = next(line for line in reply.split(b"\r\n") if line.startswith(b"X-Atom-Refused: "))
    return line.removeprefix(b"X-Atom-Refused: ").decode()


def recorded(found: Gate) -> list[tuple[str, bool, str, int]]:
    return [(one.host, one.allowed, one.reason, one.count) for one in found.connections()]


async def settled(found: Gate) -> None:
    while found.serving:
        await asyncio.sleep(0.005)


async def test_an_allowed_host_is_reached_and_the_bytes_are_counted() -> None:
    async with serving() as server, gate(server.port) as found:
        reply = await ask(found, get(HOST, server.port))
        assert reply.endswith(b"hello from /x")
        await settled(found)
        [one] = found.connections()
        assert (one.host, one.port, one.allowed, one.reason, one.count) == (HOST, server.port, True, "", 1)
        assert (one.sent, one.received) == (len(server.received), len(reply))


async def test_another_host_another_port_and_an_address_are_refused_by_name() -> None:
    async with serving() as server, serving() as second, gate(server.port) as found:
        for host, port in (
            (OTHER, server.port),
            (HOST, second.port),
            ("127.0.0.1", server.port),
            ("[::1]", server.port),
        ):
            assert reason(await ask(found, get(host, port))) == "not-allowed"
            assert reason(await ask(found, f"CONNECT {host}:{port} HTTP/1.1")) == "not-allowed"
        assert (server.connections, second.connections) == (0, 0)
        assert {one[1:] for one in recorded(found)} == {(False, "not-allowed", 2)}


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        (["127.0.0.1"], "loopback"), (["::1"], "loopback"), (["10.1.2.3"], "private"), (["fd00::1"], "private"),
        (["192.168.0.1"], "private"), (["169.254.1.1"], "link-local"), (["fe80::1"], "link-local"),
        (["169.254.169.254"], "metadata"), (["fd00:ec2::254"], "metadata"), (["100.100.100.200"], "metadata"),
        (["100.64.0.1"], "shared"), (["0.0.0.0"], "unspecified"), (["::ffff:127.0.0.1"], "embedded-ipv4"),
        (["64:ff9b::7f00:1"], "embedded-ipv4"), (["93.184.216.34", "127.0.0.1"], "loopback"),
        (["not an address"], "address"),
        ([], "name"),
    ],
)  # fmt: skip
async def test_an_allowed_name_opens_no_inner_address(addresses: list[str], why: str) -> None:
    """Neither by HTTP nor by a tunnel, whatever else it resolves to."""
    async with serving() as server:
        names = Names({"public.example": addresses})
        async with gate(server.port, f"public.example:{server.port}", names=names) as found:
            assert reason(await ask(found, get("public.example", server.port))) == why
            assert reason(await ask(found, f"CONNECT public.example:{server.port} HTTP/1.1")) == why
            assert server.connections == 0


@dataclass(frozen=True)
class Rebinding:
    """Says something else each time it is asked."""

    answers: list[str]
    asked: list[str] = field(default_factory=list)

    async def addresses(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        return [self.answers[len(self.asked) - 1]]


async def test_a_name_is_resolved_once_for_each_connection_and_its_judged_address_is_used() -> None:
    async with serving() as server:
        names = Rebinding(["127.0.0.1", "169.254.169.254", "127.0.0.1"])
        outside = Outside(names, (f"internal:{HOST}:{server.port}",))
        async with Gate((f"{HOST}:{server.port}",), outside, transfer=MIB) as found:
            assert (await ask(found, get(HOST, server.port))).endswith(b"hello from /x")
            assert len(names.asked) == 1
            assert reason(await ask(found, get(HOST, server.port))) == "metadata"
            assert len(names.asked) == 2


async def test_the_credential_of_another_execution_is_worth_nothing() -> None:
    async with serving() as server, gate(server.port) as mine, gate(server.port, "x.example") as others:
        assert mine.secret != others.secret
        assert mine.port != others.port
        for secret in (others.secret, "", "wrong", mine.secret[:-1]):
            reply = await ask(mine, get(HOST, server.port), secret=secret)
            assert reply.startswith(b"HTTP/1.1 407 ")
            assert reason(reply) == "credential"
        assert reason(await ask(others, get(HOST, server.port))) == "not-allowed"
        assert recorded(mine) == [("", False, "credential", 4)]
        assert server.connections == 0


async def shaken(found: Gate, port: int, context: ssl.SSLContext, name: str | None) -> bytes:
    """A request by TLS through a tunnel to HOST, to the server that `name` says. Raises what the handshake does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
    try:
        given = base64.b64encode(f"atom:{found.secret}".encode()).decode()
        writer.write(f"CONNECT {HOST}:{port} HTTP/1.1\r\nProxy-Authorization: Basic {given}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        loop = asyncio.get_running_loop()
        protocol = writer.transport.get_protocol()
        inside = await loop.start_tls(writer.transport, protocol, context, server_hostname=name)
        assert inside is not None
        inside.write(b"GET /tls HTTP/1.1\r\nHost: x\r\n\r\n")
        return await said(reader)
    finally:
        writer.transport.abort()


def trusting(pem: bytes, *, check: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=pem.decode())
    context.check_hostname = check
    return context


async def test_a_tunnel_to_the_named_server_works_and_stays_encrypted(tmp_path: Path) -> None:
    own = authority(tmp_path, HOST)
    async with serving(own.context) as server, gate(server.port) as found:
        reply = await shaken(found, server.port, trusting(own.pem), HOST)
        assert reply.endswith(b"hello from /tls")
        assert server.names == [HOST]
        await settled(found)
        [one] = found.connections()
        assert (one.allowed, one.reason) == (True, "")
        assert one.received > len(reply)


async def test_a_server_may_ask_for_the_greeting_again(tmp_path: Path) -> None:
    own = authority(tmp_path, HOST)
    own.context.set_ecdh_curve("secp384r1")  # no client offers a key for it at once
    async with serving(own.context) as server, gate(server.port) as found:
        assert (await shaken(found, server.port, trusting(own.pem), HOST)).endswith(b"hello from /tls")


@pytest.mark.parametrize(("name", "why"), [(OTHER, "server-name"), (None, "no-server-name")])
async def test_a_tunnel_to_one_host_is_no_way_to_another_server_behind_it(
    tmp_path: Path, name: str | None, why: str
) -> None:
    own = authority(tmp_path, HOST, OTHER)
    context = trusting(own.pem, check=False)
    async with serving(own.context) as server, gate(server.port) as found:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shaken(found, server.port, context, name)
        await settled(found)
        assert recorded(found) == [(HOST, False, why, 1)]
        assert server.names == [], "no greeting came through"


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (b"GET /x HTTP/1.1\r\nHost: other.example\r\n\r\n", "host-header"),
        (b"GET /x HTTP/1.1\r\nHost: allowed.example\r\n\r\n", "host-header"),
        (b"GET /x HTTP/1.1\r\n\r\n", "host-header"),
        (b"GET http://other.example/x HTTP/1.1\r\nHost: other.example\r\n\r\n", "malformed"),
        (b"CONNECT other.example:80 HTTP/1.1\r\n\r\n", "malformed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed"),
        (b"EHLO other.example\r\n", "malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "malformed"),
        (b"\x80\x2e\x01\x03\x01", "malformed"),
        (b"\x16\x02\x00\x00\x05", "not-tls"),
        (b"", "not-tls"),
    ],
)
async def test_what_is_neither_tls_nor_http_for_this_host_does_not_go_through_a_tunnel(inside: bytes, why: str) -> None:
    async with serving() as server, gate(server.port) as found:
        reply = await ask(found, f"CONNECT {HOST}:{server.port} HTTP/1.1", more=inside)
        assert reply.startswith(b"HTTP/1.1 200 ")
        assert b"hello" not in reply
        assert not server.received
        await settled(found)
        assert recorded(found) == [(HOST, False, why, 1)]


async def test_one_request_without_tls_for_this_host_goes_through_a_tunnel() -> None:
    async with serving() as server, gate(server.port) as found:
        inside = f"GET /in HTTP/1.1\r\nHost: {HOST}:{server.port}\r\nConnection: keep-alive\r\n\r\n".encode()
        reply = await ask(found, f"CONNECT {HOST}:{server.port} HTTP/1.1", more=inside + SECOND)
        assert reply.endswith(b"hello from /in")
        await settled(found)
        assert [one[:3] for one in recorded(found)] == [(HOST, True, "")]
        assert b"second" not in server.received
        assert b"\r\nConnection: close\r\n" in server.received


@pytest.mark.parametrize(
    ("field", "body", "passed"),
    [
        ("Content-Length: 5", b"12END" + SECOND, b"12END"),
        ("Transfer-Encoding: chunked", b"5\r\n12END\r\n0\r\n\r\n" + SECOND, b"5\r\n12END\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"5;x=y\r\n12END\r\n0\r\nX: y\r\n\r\n" + SECOND, b"5\r\n12END\r\n0\r\n\r\n"),
    ],
)  # fmt: skip
async def test_a_second_request_in_the_body_of_the_first_goes_nowhere(field: str, body: bytes, passed: bytes) -> None:
    async with serving() as server, gate(server.port) as found:
        post = f"POST http://{HOST}:{server.port}/echo HTTP/1.1\nHost: {HOST}:{server.port}\n{field}"
        assert (await ask(found, post, more=body)).endswith(b"hello from /echo")
        await settled(found)
        assert bytes(server.received).partition(b"\r\n\r\n")[2] == passed
        assert len(server.heads) == server.connections == 1


async def test_what_follows_a_request_without_a_body_goes_nowhere() -> None:
    async with serving() as server, gate(server.port) as found:
        assert (await ask(found, get(HOST, server.port), more=SECOND)).endswith(b"hello from /x")
        await settled(found)
        assert b"second" not in server.received
        assert b"\r\nConnection: close\r\n" in server.received
        assert b"proxy-authorization" not in server.received.lower()


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-5\r\n",
        b"0x5\r\n12345\r\n0\r\n\r\n",
        b"5\n12345\n",
        b"5\r\n123456\r\n",
        b"fffffffffffff\r\n",
        b"\r\n",
    ],
)
async def test_a_malformed_chunk_ends_the_connection(body: bytes) -> None:
    async with serving() as server, gate(server.port, bounds=Bounds(idle_seconds=0.5)) as found:
        post = f"POST http://{HOST}:{server.port}/echo HTTP/1.1\nHost: {HOST}:{server.port}\nTransfer-Encoding: chunked"
        assert b"hello" not in await ask(found, post, more=body)
        await settled(found)
        assert [one[:2] for one in recorded(found)] == [(HOST, True)]
        assert found.connections()[0].reason in {"malformed", "broken"}


async def test_a_flood_of_connections_is_cut_at_the_limit() -> None:
    async with serving() as server, gate(server.port, bounds=Bounds(at_once=2, waiting=1, connections=10)) as found:
        held = [await asyncio.open_connection("127.0.0.1", found.port) for _ in range(3)]
        while len(found.serving) < 3:
            await asyncio.sleep(0.005)
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
            assert await said(reader) == b""
            writer.transport.abort()
        for _, writer in held:
            writer.transport.abort()
        await settled(found)
        for number in range(5):
            assert (b"hello" in await ask(found, get(HOST, server.port))) == (number < 3), "ten in all"
        assert ("", False, "busy", 6) in recorded(found)


async def test_a_head_and_a_greeting_must_come_in_time() -> None:
    async with serving() as server, gate(server.port, bounds=Bounds(head_seconds=0.2)) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        writer.write(b"GET http://allowed.example/ HTTP/1.1\r\nX: ")

        async def drip() -> None:
            for _ in range(1000):
                writer.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        reply = await said(reader)
        dripping.cancel()
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert reason(reply) == "slow"
        await ask(found, f"CONNECT {HOST}:{server.port} HTTP/1.1", more=b"\x16\x03\x01", half=False)
        await settled(found)
        assert (HOST, False, "slow", 1) in recorded(found)
        assert not server.received


async def test_a_head_has_a_most_size() -> None:
    async with serving() as server, gate(server.port) as found:
        for size in (17_000, 80_000):
            reply = await ask(found, get(HOST, server.port) + "\nX: " + "x" * size)
            assert reply.startswith(b"HTTP/1.1 431 "), reply[:50]
        assert server.connections == 0


async def test_a_download_is_cut_when_the_bytes_are_spent_and_no_more_are_given() -> None:
    async with serving() as server, gate(server.port, transfer=MIB) as found:
        assert MIB // 2 < len(await ask(found, get(HOST, server.port, "/endless"))) <= MIB
        assert b"hello" not in await ask(found, get(HOST, server.port))
        await settled(found)
        assert {one[1:3] for one in recorded(found)} == {(True, "bytes")}
        assert sum(one.sent + one.received for one in found.connections()) <= 2 * MIB


async def test_an_upload_is_cut_too() -> None:
    async with serving() as server, gate(server.port, transfer=MIB) as found:
        post = f"POST http://{HOST}:{server.port}/silent HTTP/1.1\nHost: {HOST}:{server.port}\nContent-Length: 5000000"
        await ask(found, post, more=bytes(5_000_000))
        await settled(found)
        assert recorded(found) == [(HOST, True, "bytes", 1)]


async def test_a_connection_on_which_nothing_moves_is_ended() -> None:
    async with serving() as server, gate(server.port, bounds=Bounds(idle_seconds=0.2)) as found:
        assert await ask(found, get(HOST, server.port, "/silent"), half=False) == b""
        await settled(found)
        assert recorded(found) == [(HOST, True, "idle", 1)]


async def test_a_connection_has_a_most_duration_however_much_moves() -> None:
    async with serving() as server, gate(server.port, bounds=Bounds(seconds=0.3), transfer=1 << 50) as found:
        assert await ask(found, get(HOST, server.port, "/endless"), half=False)
        await settled(found)
        assert recorded(found) == [(HOST, True, "time", 1)]


async def test_its_end_ends_its_connections() -> None:
    async with serving() as server:
        async with gate(server.port) as found:
            asking = asyncio.create_task(ask(found, get(HOST, server.port, "/silent"), half=False))
            while not server.heads:
                await asyncio.sleep(0.005)
        assert await asking == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", found.port)


async def test_a_host_that_does_not_answer_is_a_refusal_that_says_so() -> None:
    async with serving() as server:
        port = server.port
    async with gate(port) as found:
        reply = await ask(found, get(HOST, port))
        assert reply.startswith(b"HTTP/1.1 502 ")
        assert reason(reply) == "unreachable"


async def test_the_record_is_bounded() -> None:
    async with serving() as server, gate(server.port) as found:
        for number in range(MOST + 20):
            await ask(found, get(f"h{number}.example", server.port))
        await settled(found)
        taken = found.connections()
        assert len(taken) == MOST + 1
        assert sum(one.count for one in taken) == MOST + 20
        assert (taken[-1].host, taken[-1].reason, taken[-1].count) == ("", "more", 20)
