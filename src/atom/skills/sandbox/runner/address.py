"""Where a runner listens: `unix:///path/to/socket` or `tcp://host:port`."""

import asyncio
import os
import socket
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from atom.errors import InvalidError, UnavailableError

BUFFER = 1 << 20
LONGEST_PATH = 100  # the kernel takes 107 bytes
BACKLOG = 128
CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Address:
    """Either `path`, or `host` and `port`."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, field: str) -> "Address":
        """Raises InvalidError, which names `field`."""
        hint = "Expected: unix:///path/to/socket or tcp://host:port."
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise InvalidError(f"{field}: {text!r} is no address of a runner.", hint=hint, field=field) from None
        if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
            if len(os.fsencode(parts.path)) > LONGEST_PATH:
                raise InvalidError(f"{field}: the path has more than {LONGEST_PATH} bytes.", hint=hint, field=field)
            return cls(path=parts.path)
        if parts.scheme == "tcp" and parts.hostname and port and not parts.path:
            return cls(host=parts.hostname, port=port)
        raise InvalidError(f"{field}: {text!r} is no address of a runner.", hint=hint, field=field)

    async def connect(self) -> tuple[StreamReader, StreamWriter]:
        """Raises OSError, TimeoutError."""
        async with asyncio.timeout(CONNECT_SECONDS):
            if self.path:
                return await asyncio.open_unix_connection(self.path, limit=BUFFER)
            return await asyncio.open_connection(self.host, self.port, limit=BUFFER)

    def listen(self) -> socket.socket:
        """A socket that nobody else of this machine can connect to, where it is one of files. Raises
        UnavailableError when somebody listens there."""
        try:
            return _listen_unix(Path(self.path)) if self.path else _listen_tcp(self.host, self.port)
        except OSError as error:
            raise UnavailableError(f"The runner cannot listen on {self}: {error.strerror}.") from error


def _listen_unix(path: Path) -> socket.socket:
    with socket.socket(socket.AF_UNIX) as trying:
        try:
            trying.connect(str(path))
        except ConnectionRefusedError:
            if not path.is_socket():
                raise
            path.unlink()  # one that ended by force left it
        except FileNotFoundError:
            pass
        else:
            raise OSError(98, "somebody listens there already")
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


def _listen_tcp(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
