"""The egress client on real sockets: a small server on loopback, opened by an explicit internal permission."""

import asyncio
import gzip
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from atom.infra.egress import EgressClient, EgressLimits, EgressTimeoutError, open_egress
from atom.infra.egress_address import EgressDeniedError
from atom.infra.egress_body import EgressReplyError, EgressTooLargeError
from atom.infra.egress_policy import EgressPolicy
from atom.infra.egress_resolver import EgressUnreachableError

PAGES = {
    "/plain": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    "/redirect": b"HTTP/1.1 302 Found\r\nLocation: /plain\r\nContent-Length: 0\r\n\r\n",
    "/loop": b"HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n",
    "/inward": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "/gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"packed"),
    "/bomb": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"\0" * 30_000_000),
    "/big": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000,
    "/garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nonly this",
    "/headers": b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300_000 + b"\r\n\r\n",
}


class Server:
    def __init__(self) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.names: list[str | None] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            path = head.split(" ")[1]
            if path == "/drip":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(100):
                    writer.write(b".")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            writer.write(PAGES.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return  # the client has had enough, which is what some tests are about
        finally:
            writer.close()


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    if context is not None:
        context.sni_callback = lambda _socket, name, _context: server.names.append(name)
    listener = await asyncio.start_server(server.answer, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


class Loopback:
    """Every name lies on this machine."""

    async def addresses(self, _: str) -> Sequence[str]:
        return ["127.0.0.1"]


def client(*allow: str, seconds: float = 5.0, context: ssl.SSLContext | None = None) -> EgressClient:
    limits = EgressLimits(seconds=seconds, max_bytes=1_000_000)
    return open_egress(EgressPolicy.parse(allow), limits, resolver=Loopback(), context=context)


async def test_opened_address_is_fetched_with_redirect_and_own_host_header() -> None:
    async with serving() as server:
        reply = await client(f"127.0.0.1:{server.port}").get(f"http://127.0.0.1:{server.port}/redirect")
    assert (reply.status, reply.body, reply.redirects) == (200, b"hello", 1)
    assert f"host: 127.0.0.1:{server.port}\r\n" in server.heads[0].lower()


async def test_same_server_is_not_reached_without_the_permission() -> None:
    async with serving() as server:
        for allow in (
            (),
            ("*",),
            ("example.com",),
            (f"127.0.0.1:{server.port + 1}",),
            (f"internal:other:{server.port}",),
        ):
            with pytest.raises(EgressDeniedError):
                await client(*allow).get(f"http://127.0.0.1:{server.port}/plain")
    assert server.heads == []


async def test_public_name_on_an_inner_address_is_not_reached() -> None:
    async with serving() as server:
        with pytest.raises(EgressDeniedError, match="loopback"):
            await client(f"example.com:{server.port}").get(f"http://example.com:{server.port}/plain")
    assert server.heads == []


async def test_environment_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving() as server:
        reply = await client(f"127.0.0.1:{server.port}").get(f"http://127.0.0.1:{server.port}/plain")
    assert reply.body == b"hello"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/loop", EgressDeniedError),
        ("/inward", EgressDeniedError),
        ("/bomb", EgressTooLargeError),
        ("/big", EgressTooLargeError),
        ("/garbage", EgressReplyError),
        ("/short", EgressReplyError),
        ("/headers", EgressReplyError),
    ],
)
async def test_hostile_server_gets_a_clear_end(path: str, error: type[Exception]) -> None:
    async with serving() as server:
        with pytest.raises(error):
            await client(f"127.0.0.1:{server.port}").get(f"http://127.0.0.1:{server.port}{path}")


async def test_packed_reply_is_unpacked() -> None:
    async with serving() as server:
        reply = await client(f"127.0.0.1:{server.port}").get(f"http://127.0.0.1:{server.port}/gzip")
    assert reply.body == b"packed"


async def test_slow_drip_ends_at_the_total_time() -> None:
    async with serving() as server:
        started = asyncio.get_running_loop().time()
        with pytest.raises(EgressTimeoutError):
            await client(f"127.0.0.1:{server.port}", seconds=0.4).get(f"http://127.0.0.1:{server.port}/drip")
        assert asyncio.get_running_loop().time() - started < 1.5


async def test_closed_port_is_unreachable() -> None:
    async with serving() as server:
        port = server.port
    with pytest.raises(EgressUnreachableError, match=f"127.0.0.1:{port}"):
        await client(f"127.0.0.1:{port}").get(f"http://127.0.0.1:{port}/")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for wiki.example.com only, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-keyout", str(key), "-out", str(cert), "-subj", "/CN=wiki.example.com",
        "-addext", "subjectAltName=DNS:wiki.example.com",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return cert, key


def tls_server(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_tls_keeps_the_name_for_sni_and_certificate(certificate: tuple[Path, Path]) -> None:
    trusted = ssl.create_default_context(cafile=certificate[0])
    async with serving(tls_server(certificate)) as server:
        egress = client(f"internal:wiki.example.com:{server.port}", context=trusted)
        reply = await egress.get(f"https://wiki.example.com:{server.port}/plain")
    assert (reply.body, server.names) == (b"hello", ["wiki.example.com"])


@pytest.mark.parametrize("host", ["other.example.com", "127.0.0.1"])
async def test_certificate_for_another_name_is_refused(certificate: tuple[Path, Path], host: str) -> None:
    trusted = ssl.create_default_context(cafile=certificate[0])
    async with serving(tls_server(certificate)) as server:
        allow = f"internal:{host}:{server.port}"
        with pytest.raises(EgressUnreachableError, match="certificate is not valid"):
            await client(allow, context=trusted).get(f"https://{host}:{server.port}/plain")
    assert server.heads == []


async def test_unknown_authority_is_refused(certificate: tuple[Path, Path]) -> None:
    async with serving(tls_server(certificate)) as server:
        with pytest.raises(EgressUnreachableError, match="certificate is not valid"):
            await client(f"internal:wiki.example.com:{server.port}").get(f"https://wiki.example.com:{server.port}/")
    assert server.heads == []


async def test_many_fetches_leave_no_socket_behind() -> None:
    async with serving() as server:
        egress = client(f"127.0.0.1:{server.port}")
        before = len(list(Path("/proc/self/fd").iterdir()))
        replies = await asyncio.gather(*(egress.get(f"http://127.0.0.1:{server.port}/plain") for _ in range(60)))
        await asyncio.sleep(0.1)
        after = len(list(Path("/proc/self/fd").iterdir()))
    assert {reply.status for reply in replies} == {200}
    assert after <= before + 2
