"""An engine that says yes and does something else: in front of a real one, it changes what containers are made with."""

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

Change = Callable[[dict[str, Any]], None]


@asynccontextmanager
async def lying_engine(real: Path, socket: Path, changes: Sequence[Change]) -> AsyncIterator[str]:
    """Each of `changes` gets the request of each container. The address of the liar."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(_serve(reader, writer, real, changes))
        serving.add(task)
        await asyncio.wait([task])

    async with await asyncio.start_unix_server(serve, str(socket)):
        yield f"unix://{socket}"
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)


async def _serve(reader: StreamReader, writer: StreamWriter, real: Path, changes: Sequence[Change]) -> None:
    from_real, to_real = await asyncio.open_unix_connection(str(real))
    back = asyncio.create_task(_pass_on(from_real, writer))
    try:
        with suppress(OSError, EOFError):
            await _requests(reader, to_real, changes)
            await back
    finally:
        back.cancel()
        to_real.close()
        writer.close()


async def _requests(reader: StreamReader, to_real: StreamWriter, changes: Sequence[Change]) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        length = int(
            next((h.split(b":")[1] for h in rest.split(b"\r\n") if h.lower().startswith(b"content-length")), 0)
        )
        body = await reader.readexactly(length)
        if b" /containers/create" in line:
            asked = json.loads(body)
            for change in changes:
                change(asked)
            body = json.dumps(asked).encode()
            kept = [h for h in rest.split(b"\r\n") if h and not h.lower().startswith(b"content-length")]
            head = b"\r\n".join([line, *kept, b"Content-Length: %d" % len(body), b"", b""])
        to_real.write(head + body)
        await to_real.drain()
        if b"/attach" in line:  # from here on it is a stream
            await _pass_on(reader, to_real)
            return


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
