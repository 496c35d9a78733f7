"""A host that a program in the sandbox may reach, which is this machine."""

from dataclasses import dataclass, replace

from atom.skills.sandbox.adapters.supervised import SupervisedSandbox
from atom.skills.sandbox.egress import Bounds, Outside
from atom.skills.sandbox.models import ExitReason, Language, Limits, Result, Spec
from tests.support.outside import Names, Server

HOST = "allowed.example"

# What a program does by hand: `asked` is a request, `proxy` where it goes, `rest` reads the answer.
BY_HAND = """
import asyncio, base64, errno, fcntl, os, select, socket, threading, urllib.parse
parts = urllib.parse.urlsplit(os.environ["http_proxy"])
proxy = (parts.hostname, parts.port)
given = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
where = urllib.parse.urlsplit("PLAIN/hand")
lines = ("GET PLAIN/hand HTTP/1.1", f"Host: {where.netloc}", f"Proxy-Authorization: Basic {given}", "", "")
asked = "\\r\\n".join(lines).encode()
def rest(one):
    got = b""
    while part := one.recv(65536):
        got += part
    print(got.decode().rpartition("\\r\\n")[2], flush=True)
"""


@dataclass(frozen=True)
class Site:
    """HOST, which is this machine, spoken to with and without TLS, and a sandbox that knows its address."""

    sandbox: SupervisedSandbox
    plain: Server
    tls: Server
    pem: bytes

    @property
    def hosts(self) -> tuple[str, ...]:
        return (f"{HOST}:{self.plain.port}", f"{HOST}:{self.tls.port}")

    async def run(
        self,
        source: str,
        *,
        language: Language = Language.PYTHON,
        limits: Limits | None = None,
        bounds: Bounds | None = None,
    ) -> Result:
        """`PLAIN` and `TLS` in the source are the addresses; `ca.pem` lies beside it."""
        inner = tuple(f"internal:{host}" for host in self.hosts)
        sandbox = replace(self.sandbox, outside=Outside(Names(), inner, bounds or Bounds()))
        files = {"main": self.filled(source), "ca.pem": self.pem}
        return await sandbox.run(Spec(language, "main", files, limits=limits or Limits(seconds=20), hosts=self.hosts))

    def filled(self, source: str) -> bytes:
        text = source.replace("PLAIN", f"http://{HOST}:{self.plain.port}").replace(
            "TLS", f"https://{HOST}:{self.tls.port}"
        )
        return text.encode()

    async def said(self, source: str, **options: object) -> list[str]:
        """Its lines, where it ended well."""
        done = await self.run(source, **options)  # type: ignore[arg-type]
        assert done.reason is ExitReason.OK, (done.detail, done.stderr)
        return done.stdout.decode().splitlines()
