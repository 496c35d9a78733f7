"""Servers on this machine that stand for hosts outside, and a certificate authority that nobody else trusts."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CHUNK = bytes(65_536)
LATEST = dt.datetime(2126, 1, 1, tzinfo=dt.UTC)
FIRST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@dataclass
class Server:
    """`heads` and `bodies` of the requests it got, `received` all bytes, `names` of the TLS greetings."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    names: list[str | None] = field(default_factory=list)
    connections: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return  # the client has had enough, which is what some tests are about
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.received += head
        self.heads.append(head.decode("latin-1"))
        path = self.heads[-1].split(" ")[1]
        if path == "/endless":
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            while True:
                writer.write(CHUNK)
                await writer.drain()
        if path == "/silent":
            await reader.read()
            return
        if path == "/echo":
            self.received += await reader.readuntil(b"END")
        body = f"hello from {path}".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        if writer.can_write_eof():  # and whatever else is sent
            writer.write_eof()
            while part := await reader.read(65_536):
                self.received += part


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    if context is not None:
        context.sni_callback = lambda _socket, name, _context: server.names.append(name)
    listener = await asyncio.start_server(server.answer, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


@dataclass(frozen=True)
class Names:
    """A resolver: what it is told, and this machine for every other name."""

    known: dict[str, list[str]] = field(default_factory=dict)

    async def addresses(self, name: str) -> Sequence[str]:
        return self.known.get(name.rstrip("."), ["127.0.0.1"])


@dataclass(frozen=True)
class Authority:
    """`pem` is what clients must trust; `context` what a server of `names` shows."""

    pem: bytes
    context: ssl.SSLContext


def authority(folder: Path, *names: str) -> Authority:
    key, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody's authority")])
    root = (
        _builder(issuer, issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    leaf = (
        _builder(subject, issuer, own.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(leaf.public_bytes(pem) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return Authority(root.public_bytes(pem), context)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(FIRST)
        .not_valid_after(LATEST)
    )
