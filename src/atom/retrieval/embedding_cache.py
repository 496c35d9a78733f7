"""Embeddings of files on disk, by the content they were made of. Losing it costs time, never an answer."""

import hashlib
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from atom.retrieval.lines import RULES
from atom.retrieval.vectors import Vectors

FORMAT = 1
TOUCH_SECONDS = 3_600  # how exactly "least recently used" is known
EVICT_TO = 0.8
ABANDONED_SECONDS = 600  # a temporary file this old belongs to a process that died
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class EmbeddingCache:
    """One folder for a model and a version of the rules that split files. Several processes may share it.

    A file holds one JSON line (format, dimensions, rows, SHA-256 of the rest) and the rows. It appears by renaming, so
    a reader sees all of it or nothing; one that does not fit its own checksum is removed and made again. Calls block.
    """

    folder: Path
    dimensions: int
    max_bytes: int = 256_000_000

    @classmethod
    def beside(cls, root: Path, model: str, dimensions: int, max_bytes: int = 256_000_000) -> "EmbeddingCache":
        return cls(root / f"{model}-{RULES}", dimensions, max_bytes)

    def load(self, key: str) -> Vectors | None:
        """The rows stored under a key: all lines of that file, or the first ones if the work was interrupted."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            if time.time() - path.stat().st_mtime > TOUCH_SECONDS:
                os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("retrieval.embedding_cache_unreadable", path=str(path), reason=error.strerror)
            return None
        vectors = _parse(content, self.dimensions)
        if vectors is None:
            log.warning("retrieval.embedding_cache_corrupt", path=str(path))
            path.unlink(missing_ok=True)
        return vectors

    def save(self, key: str, vectors: Vectors) -> None:
        """Keeps the rows and makes room for them. A full or read-only disk is logged; the search goes on without."""
        head = {
            "format": FORMAT,
            "dimensions": vectors.dimensions,
            "rows": len(vectors),
            "sha256": hashlib.sha256(vectors.data).hexdigest(),
        }
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary.write_bytes(json.dumps(head).encode() + b"\n" + vectors.data)
            temporary.replace(path)
            self._evict()
        except OSError as error:
            log.warning("retrieval.embedding_cache_unwritable", path=str(path), reason=error.strerror)
            _remove(temporary)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.vec"

    def _evict(self) -> None:
        """Removes what was used longest ago until the folder is well under its bound."""
        held = sorted(_held(self.folder), reverse=True)
        total = sum(size for _, size, _ in held)
        if total <= self.max_bytes:
            return
        while held and total > self.max_bytes * EVICT_TO:
            _, size, path = held.pop()
            _remove(path)
            total -= size


def _held(folder: Path) -> list[tuple[float, int, Path]]:
    """Age, size and path of each entry; what another process removes meanwhile is gone, and that is fine."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not entry.name.endswith(".tmp"):
                found.append((status.st_mtime, status.st_size, Path(entry.path)))
            elif time.time() - status.st_mtime > ABANDONED_SECONDS:
                _remove(Path(entry.path))
    return found


def _remove(path: Path) -> None:
    """Best effort: the folder may be read-only, and another process may be quicker."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("retrieval.embedding_cache_unwritable", path=str(path), reason=error.strerror)


def _parse(content: bytes, dimensions: int) -> Vectors | None:
    line, _, data = content.partition(b"\n")
    try:
        head = json.loads(line)
        vectors = Vectors(data, dimensions)
    except ValueError:
        return None
    expected = {"format": FORMAT, "dimensions": dimensions, "rows": len(vectors)}
    if not isinstance(head, dict) or any(head.get(name) != value for name, value in expected.items()):
        return None
    return vectors if head.get("sha256") == hashlib.sha256(data).hexdigest() else None
