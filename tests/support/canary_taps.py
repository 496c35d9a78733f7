"""Where a watch for canaries listens in: the libraries through which everything that a test sees goes."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import httpx
import httpx2
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

METRICS = ("/metrics", "/health/metrics")
SECONDS = 10


class Sees(Protocol):
    def see(self, kind: str, place: str, found: str | bytes) -> None: ...
    def holds(self, text: str) -> bool: ...
    def folder(self, folder: Path) -> None: ...


@dataclass(slots=True, weakref_slot=True)
class Taps:
    """Opened before the tests begin, closed when they have ended."""

    watch: Sees
    patch: pytest.MonkeyPatch = field(default_factory=pytest.MonkeyPatch)
    folders: set[str] = field(default_factory=set)  # made for a test, and not yet taken away
    fresh: list[CollectorRegistry] = field(default_factory=list)  # since the last test: kept until they are read
    alive: "weakref.WeakSet[CollectorRegistry]" = field(default_factory=weakref.WeakSet)

    def open(self) -> None:
        for library in (httpx2, httpx):
            self._answers(library.Response)
        self._commands()
        self._folders()
        self._secrets()
        self._registries()
        self._captured()

    def close(self) -> None:
        self.patch.undo()

    def registries(self, *, all_of_them: bool) -> list[CollectorRegistry]:
        """Those that were made since the last call, or all that are alive."""
        fresh, self.fresh = self.fresh, []
        self.alive.update(fresh)
        return list(self.alive) if all_of_them else fresh

    def ask(self, url: str) -> None:
        for path in METRICS:
            with contextlib.suppress(httpx2.HTTPError):  # it may be ending already
                answer = httpx2.get(url + path, timeout=SECONDS, trust_env=False)
                self.watch.see("metrics", path, answer.content)

    def _answer(self, answer: Any, body: bytes) -> None:
        request = getattr(answer, "_request", None)
        if request is None or self.watch.holds(_shown(request)):
            return  # none of Atom's: made by a test, or what a provider says to whom it knows by the key
        self.watch.holds(_sent(request))
        kind = "error bodies" if answer.status_code >= 400 else "answers"
        self.watch.see(kind, f"{request.method} {request.url.path} {answer.status_code}", body)
        self.watch.see("headers", request.url.path, repr(answer.headers.raw))

    def _answers(self, kind: Any) -> None:
        """Each answer, when it has been read, however that is done."""
        read, aread, tell = kind.iter_bytes, kind.aiter_bytes, self._answer

        def iter_bytes(answer: Any, chunk_size: int | None = None) -> Iterator[bytes]:
            known, parts = hasattr(answer, "_content"), []
            try:
                for part in read(answer, chunk_size):
                    parts.append(part)
                    yield part
            finally:
                if not known:
                    tell(answer, b"".join(parts))

        async def aiter_bytes(answer: Any, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            known, parts = hasattr(answer, "_content"), []
            try:
                async with contextlib.aclosing(aread(answer, chunk_size)) as whole:
                    async for part in whole:
                        parts.append(part)
                        yield part
            finally:
                if not known:
                    tell(answer, b"".join(parts))

        self.patch.setattr(kind, "iter_bytes", iter_bytes)
        self.patch.setattr(kind, "aiter_bytes", aiter_bytes)

    def _commands(self) -> None:
        begin, communicate, watch = subprocess.Popen.__init__, subprocess.Popen.communicate, self.watch

        def begun(process: Any, *words: Any, **options: Any) -> None:
            watch.holds("\n".join(str(value) for value in (options.get("env") or {}).values()))
            begin(process, *words, **options)

        def communicated(process: Any, *words: Any, **options: Any) -> Any:
            found = communicate(process, *words, **options)
            for stream, text in zip(("stdout", "stderr"), found, strict=True):
                if text:
                    watch.see("output of commands", stream, text)
            return found

        finish = asyncio.subprocess.Process.communicate

        async def finished(process: Any, *words: Any, **options: Any) -> Any:
            found = await finish(process, *words, **options)
            for stream, text in zip(("stdout", "stderr"), found, strict=True):
                if text:
                    watch.see("output of commands", stream, text)
            return found

        self.patch.setattr(asyncio.subprocess.Process, "communicate", finished)
        self.patch.setattr(subprocess.Popen, "__init__", begun)
        self.patch.setattr(subprocess.Popen, "communicate", communicated)

    def _folders(self) -> None:
        make, remove = tempfile.mkdtemp, shutil.rmtree

        def mkdtemp(*words: Any, **options: Any) -> Any:
            made = make(*words, **options)
            self.folders.add(str(made))
            return made

        def rmtree(path: Any, *words: Any, **options: Any) -> None:
            if str(path) in self.folders:
                self.folders.discard(str(path))
                self.watch.folder(Path(str(path)))
            remove(path, *words, **options)

        self.patch.setattr(tempfile, "mkdtemp", mkdtemp)
        self.patch.setattr(shutil, "rmtree", rmtree)

    def _secrets(self) -> None:
        reveal, watch = SecretStr.get_secret_value, self.watch

        def get_secret_value(secret: SecretStr) -> str:
            found = reveal(secret)
            watch.holds(found)
            return found

        self.patch.setattr(SecretStr, "get_secret_value", get_secret_value)

    def _registries(self) -> None:
        make, taps = CollectorRegistry.__init__, self

        def init(registry: CollectorRegistry, *words: Any, **options: Any) -> None:
            make(registry, *words, **options)
            taps.fresh.append(registry)

        self.patch.setattr(CollectorRegistry, "__init__", init)

    def _captured(self) -> None:
        """What a test takes out of the capture itself is not in its report."""
        take, watch = pytest.CaptureFixture.readouterr, self.watch

        def readouterr(capture: pytest.CaptureFixture[Any]) -> Any:
            found = take(capture)
            for text in found:
                if text:
                    watch.see("output of tests", "taken by the test", text)
            return found

        self.patch.setattr(pytest.CaptureFixture, "readouterr", readouterr)


def _shown(request: Any) -> str:
    """By what a provider knows who asks: the headers, and with some the address."""
    values = [value.decode("latin-1") for _, value in request.headers.raw]
    return "\n".join([unquote(str(request.url)), *values])


def _sent(request: Any) -> str:
    try:
        return bytes(request.content).decode("utf-8", "replace")
    except (httpx2.RequestNotRead, httpx.RequestNotRead):
        return ""
