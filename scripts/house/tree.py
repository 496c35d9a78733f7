"""The files that are checked, and how a problem in one is told."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SKIPPED = {"__pycache__", "build", "dist", "node_modules"}
CODE = ("src", "tests", "scripts", "bench")


@dataclass(frozen=True)
class Problem:
    """One violation, at a line that an editor can jump to."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Source:
    """One file. `path` is relative to the root, with forward slashes."""

    path: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def module(self) -> ast.Module:
        return ast.parse(self.text, filename=self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.module))

    def inside(self, *prefixes: str) -> bool:
        """Whether it is one of these files, or in one of these folders (written with a slash at the end)."""
        return any(self.path.startswith(prefix) if prefix.endswith("/") else self.path == prefix for prefix in prefixes)

    def problem(self, line: int, message: str) -> Problem:
        return Problem(self.path, line, message)


def text_files(root: Path) -> list[Source]:
    """Every text file of the checkout, what tools leave behind apart."""
    return [
        Source(path.relative_to(root).as_posix(), text) for path in _walk(root) if (text := _text(path)) is not None
    ]


def python_files(files: list[Source]) -> list[Source]:
    return [file for file in files if file.path.endswith(".py") and file.path.split("/")[0] in CODE]


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in SKIPPED or path.is_symlink():
            continue
        if path.is_dir():
            if not path.name.startswith(".") or path.name == ".ci":
                yield from _walk(path)
        elif path.is_file():
            yield path


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
