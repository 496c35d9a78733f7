"""Where layers lie on this machine. Whatever is killed at whatever point: a folder of `content` is whole, or not there.

content/<hex>     a layer, named by the hash of what is in it
keys/<key>.json   what a set of requirements became; its time is that of the last use
staging/<key>     what a build has in hand, while somebody holds locks/<key>
"""

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from atom.skills.bundle.models import Member
from atom.skills.layers.models import Layer

PREFIX = "sha256:"
LOCK_SECONDS = 0.05  # between two looks at a lock that somebody holds
CHUNK = 1 << 20
FOLDER, FILE, PROGRAM = 0o755, 0o444, 0o555  # every user reads it, and nobody changes a file


@dataclass(frozen=True, slots=True)
class Shelf:
    """`home` is a folder that the users programs run as can pass through."""

    home: Path

    @classmethod
    def open(cls, home: Path) -> "Shelf":
        """Makes what is not there."""
        for name, mode in (("", 0o711), ("content", 0o711), ("keys", 0o700), ("staging", 0o700), ("locks", 0o700)):
            folder = home / name
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(mode)  # whatever the umask
        return cls(home)

    def closed(self) -> Path | None:
        """The folder on the way to the layers that other users cannot pass through."""
        content = (self.home / "content").resolve()
        return next((one for one in (content, *content.parents) if not one.stat().st_mode & stat.S_IXOTH), None)

    def find(self, key: str, now: datetime) -> Layer | None:
        """What the key became, if it is still there; that it was looked for keeps it."""
        record = self._record(key)
        layer = self.read(key)
        if layer is not None:
            with suppress(OSError):
                os.utime(record, (now.timestamp(), now.timestamp()))
        return layer

    def read(self, key: str) -> Layer | None:
        try:
            value = json.loads(self._record(key).read_bytes())
            layer = Layer.read(value, self.content(str(value["digest"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return layer if layer.folder.is_dir() else None

    def content(self, digest: str) -> Path:
        return self.home / "content" / digest.removeprefix(PREFIX)

    def staging(self, key: str) -> Path:
        """An empty folder; what an earlier build left in it is gone. Only for who holds the key."""
        folder = self.home / "staging" / key
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def publish(self, files: Path, digest: str) -> Path:
        """`files` becomes the layer of that hash, unless it is there. Everything of it is on the disk before."""
        os.sync()
        final = self.content(digest)
        if final.is_dir() and digest_of(final) != digest:
            self._set_aside(final)
        try:
            files.rename(final)
        except OSError:
            os.utime(final)  # it is there: a sweep takes it for used from now on
        _sync(final.parent)
        return final

    def record(self, key: str, layer: Layer) -> None:
        path = self._record(key)
        partial = path.with_suffix(".new")
        partial.write_text(json.dumps(layer.plain()), encoding="utf-8")
        partial.replace(path)

    def is_whole(self, layer: Layer) -> bool:
        return digest_of(layer.folder) == layer.digest

    @asynccontextmanager
    async def holding(self, key: str, seconds: float) -> AsyncIterator[None]:
        """Nobody else builds this key meanwhile; a process that is killed holds nothing. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while (lock := self._lock(key)) is None:  # noqa: ASYNC110 - it is a lock between processes
                await asyncio.sleep(LOCK_SECONDS)
        try:
            yield
        finally:
            os.close(lock)

    def sweep(self, now: datetime, unused: timedelta, keep: frozenset[str]) -> list[str]:
        """Remove layers that no key was looked up for so long, and what dead builds left. The digests that are gone."""
        for record in sorted((self.home / "keys").glob("*.json")):
            with self._held(record.stem) as held:
                layer = self.read(record.stem) if held else None
                if held and _age(record, now) > unused and (layer is None or layer.digest not in keep):
                    record.unlink(missing_ok=True)
        for folder in sorted((self.home / "staging").iterdir()):
            with self._held(folder.name) as held:
                if held:
                    shutil.rmtree(folder, ignore_errors=True)
        for lock in sorted((self.home / "locks").iterdir()):
            with self._held(lock.name) as held:
                if held and not self._record(lock.name).exists():
                    lock.unlink(missing_ok=True)
        return self._remove_unnamed(now, unused, keep)

    def _remove_unnamed(self, now: datetime, unused: timedelta, keep: frozenset[str]) -> list[str]:
        named = {layer.digest for path in (self.home / "keys").glob("*.json") if (layer := self.read(path.stem))}
        gone = []
        for folder in sorted((self.home / "content").iterdir()):
            digest = PREFIX + folder.name
            if digest not in named | keep and _age(folder, now) > unused:
                self._set_aside(folder)
                gone.append(digest)
        return gone

    def _set_aside(self, folder: Path) -> None:
        """Out of the way in one step, then removed: no half of it stays under its name."""
        aside = self.home / "staging" / f"{folder.name}.gone"
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _record(self, key: str) -> Path:
        return self.home / "keys" / f"{key}.json"

    @contextmanager
    def _held(self, key: str) -> Iterator[bool]:
        lock = self._lock(key)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)

    def _lock(self, key: str) -> int | None:
        """None: somebody holds it, or a sweep has just removed the file that was locked."""
        path = self.home / "locks" / key
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_held = path.stat().st_ino == os.fstat(lock).st_ino
        except (BlockingIOError, FileNotFoundError):
            is_held = False
        if is_held:
            return lock
        os.close(lock)
        return None


def write(folder: Path, files: Mapping[str, Member]) -> list[str]:
    """Names were checked by whoever read them. Paths where a file of other bytes lies already, which stays."""
    others = []
    for path, member in files.items():
        target = folder / path
        for parent in reversed(target.relative_to(folder).parents):
            made = folder / parent
            if not made.is_dir():
                made.mkdir()
                made.chmod(FOLDER)
        if target.is_file():
            others += [path] if target.read_bytes() != member.data else []
            continue
        with target.open("xb") as file:
            file.write(member.data)
        target.chmod(PROGRAM if member.executable else FILE)
    return others


def digest_of(folder: Path) -> str:
    """`sha256:<hex>` over the sorted paths, executable bits and hashes of the files; a link or device spoils it."""
    total = hashlib.sha256(b"atom skill layer 1\n")
    for path, is_file in sorted(_entries(str(folder), "")):
        name = os.fsencode(path)
        if not is_file:
            total.update(b"%d:%b is no file" % (len(name), name))
            continue
        with (folder / path).open("rb") as file:
            executable = bool(os.fstat(file.fileno()).st_mode & stat.S_IXUSR)
            content = hashlib.file_digest(file, "sha256").digest()
        total.update(b"%d:%b %d " % (len(name), name, executable) + content)
    return PREFIX + total.hexdigest()


def _entries(folder: str, above: str) -> Iterator[tuple[str, bool]]:
    """Relative paths of all that is no folder, and whether it is a plain file."""
    with os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path, f"{above}{entry.name}/")
            else:
                yield f"{above}{entry.name}", entry.is_file(follow_symlinks=False)


def _age(path: Path, now: datetime) -> timedelta:
    try:
        return timedelta(seconds=now.timestamp() - path.stat().st_mtime)
    except FileNotFoundError:
        return timedelta(0)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
