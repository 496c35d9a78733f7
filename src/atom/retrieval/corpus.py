"""The text files of a workspace: found without following a link, read with bounds."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

SNIFFED_BYTES = 8_192
UNREAD_FOLDERS = frozenset({"node_modules", "__pycache__", "venv"})


@dataclass(frozen=True, slots=True)
class CorpusLimits:
    """What one search reads at most. What is beyond is counted as skipped, never silently."""

    files: int = 2_000
    depth: int = 40
    file_bytes: int = 2_000_000
    total_bytes: int = 32_000_000


@dataclass(frozen=True, slots=True)
class SourceText:
    """A text file. `path` is relative with slashes, `digest` the SHA-256 of its bytes."""

    path: str
    text: str
    digest: str


@dataclass(slots=True)
class Corpus:
    """What was read. `skipped` counts files that were not: too large, not text, not readable.

    `whole` is false when there are more files than the limits allow.
    """

    texts: list[SourceText] = field(default_factory=list)
    skipped: int = 0
    whole: bool = True


def read_corpus(workspace: Path, limits: CorpusLimits, below: str | None = None) -> Corpus:
    """The text files of a folder, sorted by path. `below` is one file or folder of it, relative.

    Hidden files and folders are left out: they hold keys and tool state more often than knowledge.
    """
    corpus, total = Corpus(), 0
    for path, folder, name in _files(workspace.resolve(), _parts(below), limits.depth):
        if len(corpus.texts) + corpus.skipped >= limits.files or total >= limits.total_bytes:
            corpus.whole = False
            break
        content = _read(folder, name, min(limits.file_bytes, limits.total_bytes - total))
        if content is None:
            corpus.skipped += 1
            continue
        total += len(content)
        corpus.texts.append(SourceText(path, _decoded(content), hashlib.sha256(content).hexdigest()))
    return corpus


def _parts(below: str | None) -> tuple[str, ...]:
    return () if below is None else PurePosixPath(below).parts


def _files(root: Path, wanted: tuple[str, ...], deepest: int) -> Iterator[tuple[str, int, str]]:
    """Path, descriptor of its folder, name. Walking by descriptors: a folder swapped for a link is not followed."""
    if not root.is_dir():  # an agent that never had a file
        return
    for folder, folders, names, descriptor in os.fwalk(root, follow_symlinks=False):
        here = PurePosixPath(os.path.relpath(folder, root))
        depth = len(here.parts)
        below = folders if depth < deepest else []
        folders[:] = sorted(name for name in below if _is_read(name) and _on_the_way(depth, name, wanted))
        for name in sorted(names):
            path = here / name
            if _is_read(name) and path.parts[: len(wanted)] == wanted:
                yield str(path), descriptor, name


def _on_the_way(depth: int, name: str, wanted: tuple[str, ...]) -> bool:
    return depth >= len(wanted) or wanted[depth] == name


def _is_read(name: str) -> bool:
    """Names that do not print would break the `path:line: text` form."""
    return name.isprintable() and not name.startswith(".") and name not in UNREAD_FOLDERS


def _read(folder: int, name: str, limit: int) -> bytes | None:
    """The bytes of a regular text file of at most `limit` bytes; None for anything else."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is opened already
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        content = file.read(limit + 1)
    return None if len(content) > limit or b"\0" in content[:SNIFFED_BYTES] else content


def _decoded(content: bytes) -> str:
    return content.decode("utf-8-sig", errors="replace")
