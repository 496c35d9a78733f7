"""Fake embedders to read in tests, one of them behind a real port: texts that share words are near each other."""

import json
import math
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from atom.retrieval.terms import query_terms
from atom.retrieval.vectors import Vectors, dot_products


@dataclass(slots=True)
class WordEmbedder:
    """Counts words into buckets. `asked` holds every text; `broken` makes it fail after that many texts."""

    name: str = "words"
    dimensions: int = 64
    asked: list[str] = field(default_factory=list)
    broken_after: int | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.broken_after is not None and len(self.asked) + len(texts) > self.broken_after:
            raise RuntimeError("The embedder broke.")
        self.asked.extend(texts)
        return Vectors.of([self.row(text) for text in texts], self.dimensions)

    def similarities(self, query: Vectors, rows: Vectors) -> list[float]:
        return dot_products(query, rows)

    async def aclose(self) -> None:
        """Nothing is open."""

    def row(self, text: str) -> list[float]:
        counted = Counter(zlib.crc32(term.encode()) % self.dimensions for term in query_terms(text))
        length = math.sqrt(sum(value * value for value in counted.values())) or 1.0
        return [counted[bucket] / length for bucket in range(self.dimensions)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint says instead of vectors. `wait`: it says nothing at all until it is closed."""

    status: int = 200
    body: str = "{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: bool = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what some tests are about."""


@dataclass(slots=True)
class EmbeddingEndpoint:
    """A server on a port of its own that speaks OpenAI's Embeddings; a model's name decides nothing but its vectors'
    length (`dimensions`). `answers` are given first, one a request; `refuse` says which texts it takes not (400).
    `asked` and `keys` hold what came."""

    dimensions: int = 64
    answers: list[Answer] = field(default_factory=list)
    refuse: Callable[[str], bool] = lambda _: False
    always: Answer | None = None
    asked: list[list[str]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    port: int = 0
    _closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @contextmanager
    def running(self) -> Iterator[Self]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802 - the name that the base class calls
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.keys.append(self.headers.get("authorization", ""))
                answer = endpoint.answer(self.path, request)
                if answer.wait:
                    endpoint._closing.wait()
                    self.close_connection = True
                    return
                body = answer.body.encode()
                self.send_response(answer.status)
                for name, value in {**answer.headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Tests read what they asked for from the fields."""

        server = _Server(("127.0.0.1", self.port), Handler)
        self.port = server.server_address[1]
        self._closing.clear()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._closing.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, path: str, request: Mapping[str, Any]) -> Answer:
        if path != "/v1/embeddings":
            return Answer(404, json.dumps({"error": {"message": f"There is no {path}."}}))
        texts = request["input"]
        self.asked.append(texts)
        self.models.append(request["model"])
        if self.answers:
            return self.answers.pop(0)
        if self.always is not None:
            return self.always
        if any(self.refuse(text) for text in texts):
            return Answer(400, json.dumps({"error": {"message": "This model's maximum context length is exceeded."}}))
        words = WordEmbedder(dimensions=self.dimensions)
        data = [{"index": place, "embedding": words.row(text)} for place, text in enumerate(texts)]
        return Answer(body=json.dumps({"object": "list", "data": data[::-1], "model": request["model"]}))
