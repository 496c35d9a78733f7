"""What is in a workspace: a bounded walk that follows no link, and the glob patterns that choose from it."""

import fnmatch
import os
import stat
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from atom.tools.errors import ToolError
from atom.tools.workspace import MAX_DEPTH, MAX_PATH_CHARS, Workspace, explain

MAX_VISITED = 20_000


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file: its path inside the workspace and its size."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Walk:
    """`skipped` entries: links, devices, names that are not text. `complete` is false when a bound was reached."""

    files: tuple[FoundFile, ...]
    skipped: int
    complete: bool


def walk(workspace: Workspace, *, limit: int = MAX_VISITED) -> Walk:
    """Regular files, shallow folders first, after looking at no more than `limit` entries. Blocks."""
    files: list[FoundFile] = []
    pending: deque[tuple[str, ...]] = deque([()])
    visited = skipped = 0
    complete = True
    while pending and visited < limit:
        folder = pending.popleft()
        entries = _entries(workspace, folder, limit - visited)
        visited += len(entries)
        for name, mode, size in entries:
            if not _is_text(name):
                skipped += 1
            elif stat.S_ISREG(mode):
                files.append(FoundFile("/".join((*folder, name)), size))
            elif not stat.S_ISDIR(mode):
                skipped += 1
            elif len(folder) + 1 < MAX_DEPTH:
                pending.append((*folder, name))
            else:
                complete = False
    return Walk(tuple(sorted(files, key=lambda file: file.path)), skipped, complete and visited < limit)


def _entries(workspace: Workspace, folder: tuple[str, ...], limit: int) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    try:
        with workspace.folder(folder) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                if len(found) == limit:
                    break
                status = _status(entry)
                if status is not None:
                    found.append((entry.name, status.st_mode, status.st_size))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return found  # gone, replaced or closed to us since it was listed
    except OSError as error:
        raise explain(error, "/".join(folder)) from error
    return sorted(found)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_text(name: str) -> bool:
    """Names that are not UTF-8, or that would break a line, cannot be said to a model."""
    return not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) <= 0xDFFF for char in name)


def matches(pattern: str, path: str) -> bool:
    """Whether a glob chooses a path: `*` stays inside a name, `**` spans folders, no slash means in any folder."""
    parts = tuple(part for part in pattern.split("/") if part not in {"", "."})
    return _match(parts if "/" in pattern else ("**", *parts), tuple(path.split("/")))


def check_pattern(pattern: str) -> None:
    if len(pattern) > MAX_PATH_CHARS or pattern.count("/") > MAX_DEPTH or ".." in pattern.split("/"):
        raise ToolError(
            "pattern: is too long, too deep, or contains '..'.", hint="Examples: '*.md', 'docs/*.txt', 'src/**/*.py'."
        )


def _match(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Position by position, so that many `**` cost a product and not a power."""
    reachable = {0}
    for part in pattern:
        if part == "**":
            reachable = set(range(min(reachable, default=len(path) + 1), len(path) + 1))
        else:
            reachable = {at + 1 for at in reachable if at < len(path) and _name_matches(part, path[at])}
    return len(path) in reachable


@lru_cache(maxsize=4096)
def _name_matches(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)
