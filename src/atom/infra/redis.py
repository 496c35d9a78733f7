"""Redis, as far as it is used today: whether it answers. One PING over its own protocol, bounded in time."""

import asyncio
import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from atom.errors import InvalidError, UnavailableError


class RedisUrlError(InvalidError):
    code = "redis_url_malformed"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    host: str
    port: int
    tls: bool
    user: str
    password: str = field(default="", repr=False)


def parse_redis_url(secret: SecretStr) -> RedisAddress:
    """Raises RedisUrlError, which never shows the password."""
    try:
        parts = urlsplit(secret.get_secret_value())
        port = 6379 if parts.port is None else parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname or not port:
        raise RedisUrlError(
            "REDIS_URL cannot be read.", hint="It has the form redis://[user:password@]host:port/0.", field="REDIS_URL"
        )
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return RedisAddress(parts.hostname, port, parts.scheme == "rediss", user, password)


async def ping(address: RedisAddress, timeout: float) -> None:
    """Raises UnavailableError when Redis does not answer PONG within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            await _ping(address)
    except (OSError, TimeoutError, UnicodeError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise UnavailableError("Redis does not answer.") from error


async def _ping(address: RedisAddress) -> None:
    tls = ssl.create_default_context() if address.tls else None
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
    try:
        if address.password:
            user = [address.user] if address.user else []
            writer.write(_command("AUTH", *user, address.password))
            await reader.readuntil(b"\r\n")
        writer.write(_command("PING"))
        if await reader.readuntil(b"\r\n") != b"+PONG\r\n":
            raise UnavailableError("Redis answers, but not with PONG.")
    finally:
        writer.close()


def _command(*words: str) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        raw = word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)
