"""A provider that says back the key it was asked with, in every way that one could: an error, a header, a page."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

BODIES = {"list": "[1]", "text": '"models"', "null": "null", "numbers": '{"data": [1, null], "models": [1]}'}
KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key", "authorization")


class Echo(ThreadingHTTPServer):
    """The first part of the path says how it answers: a status, `cut`, `garbage`, `page`, `finish`, `names`, one of
    BODIES."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Echo

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        given = next((self.headers[name] for name in KEY_HEADERS if name in self.headers), "")
        key = given.removeprefix("Bearer ")
        self.server.seen.add(key)
        how = self.path.split("/")[1]
        spelt = (quote(key, safe=""), base64.b64encode(key.encode()).decode(), json.dumps(key))
        said = f"Incorrect API key: {key} ({' '.join(spelt)}), ending in {key[-8:]}. Authorization: Bearer {key}"
        if how == "names":
            listed = [{"id": f"m-{key}", "name": f"models/m-{key}", "created": 1, "object": "model"}]
            self._answer(200, "application/json", json.dumps({"object": "list", "data": listed, "models": listed}), key)
        elif how.isdigit():
            code = "invalid_api_key" if how == "401" else "error"
            body = json.dumps({"error": {"message": said, "type": code, "code": code, "param": key}})
            self._answer(int(how), "application/json", body, key)
        elif how == "page":
            self._answer(502, "text/html", f"<html><body>{said}</body></html>", key)
        elif how in BODIES:
            self._answer(200, "application/json", BODIES[how], key)
        elif how == "garbage":
            self._answer(200, "text/event-stream", f"data: {said}\n\n", key)
        elif how == "finish":
            self._answer(200, "text/event-stream", self._chunk({"content": "x"}, key) + "data: [DONE]\n\n", key)
        else:
            self._answer(200, "text/event-stream", self._chunk({"content": "half a rep"}, None), key)

    def _chunk(self, delta: dict[str, str], finish: str | None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return f"data: {json.dumps(chunk)}\n\n"

    def _answer(self, status: int, kind: str, body: str, key: str) -> None:
        self.send_response(status, "No")
        self.send_header("Content-Type", kind)
        self.send_header("X-Key", key)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@contextmanager
def echoing() -> Iterator[Echo]:
    server = Echo()
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
