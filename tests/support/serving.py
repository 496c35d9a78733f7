"""An ASGI application on a real socket, served in the test's own event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from atom.web.protocol import BoundedHttp


@asynccontextmanager
async def served_here(app: ASGIApp, http: type[HttpToolsProtocol] = BoundedHttp) -> AsyncIterator[str]:
    """The address it answers at."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", http=http, ws="websockets-sansio", ws_max_size=65_536
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([listening]))
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task
