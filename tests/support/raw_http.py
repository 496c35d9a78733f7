"""HTTP as bytes, for requests that no client library would send."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def send(url: str, request: bytes) -> Answer:
    """What the server at `url` answers to these bytes. Status 0: it hung up without an answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        async with asyncio.timeout(SECONDS):
            return await read_answer(reader)
    except ConnectionError:
        return Answer(0, {}, b"")
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        return Answer(0, {}, error.partial)
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = b"" if headers.get("upgrade") == "websocket" else await reader.read()
    return Answer(int(first.split()[1]), headers, body)


def request(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """A request with exactly these header lines, and Connection: close."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/1.1", *headers, *length, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
