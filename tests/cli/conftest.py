"""A served fake Atom, and the command line run against it: in this process, or as the real command."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from atom.cli.app import run
from atom.client.testing import TOKEN, FakeAtom, serving


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("ATOM_", "DATABASE_", "PG")) or name in {"NO_COLOR", "FORCE_COLOR"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("ATOM_HOME", str(tmp_path / "home"))


@dataclass(slots=True)
class Stage:
    """One server for all tests; each puts its own Atom on it."""

    app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def stage() -> Iterator[tuple[Stage, str]]:
    made = Stage()
    with serving(made) as url:
        yield made, url


@pytest.fixture
def fake(stage: tuple[Stage, str], monkeypatch: pytest.MonkeyPatch) -> FakeAtom:
    made, url = stage
    atom = FakeAtom()
    atom.add_agent("guide", tools=["search_text"])
    made.app = atom.app()
    monkeypatch.setenv("ATOM_URL", url)
    monkeypatch.setenv("ATOM_TOKEN", TOKEN)
    return atom


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    def call(*argv: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = run(argv)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def command() -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    """The real command, in a process of its own."""

    def call(
        *argv: str | bytes, stdin: bytes = b"", env: Mapping[str, str] | None = None, **options: Any
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [sys.executable, "-m", "atom", *argv],
            input=stdin,
            capture_output=True,
            timeout=30,
            check=False,
            env={**os.environ, **(env or {})},
            **options,
        )

    return call
