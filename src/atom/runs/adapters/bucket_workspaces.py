"""Workspaces in an S3-compatible bucket, for several hosts; each process works on a copy of its own.

Opening a workspace fetches what changed since this process last looked. Saving sends what changed here, after each
call that may write and before the journal has its result: what the journal says was written is in the bucket. Where
two hosts change the same file, the last save stays; a file that this host did not change is never sent. What a process
wrote and did not save before it died is lost with its copy: such a call has no recorded end, and a person decides.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import obstore
import psutil
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import ObjectStore

from atom.infra.buckets import Bucket, open_bucket
from atom.runs.errors import WorkspaceTooLargeError, WorkspaceUnavailableError
from atom.runs.uploads import upload_path, write_upload
from atom.settings import WorkspaceSettings
from atom.tools.errors import ToolError
from atom.tools.workspace import Workspace, split_path
from atom.tools.workspace_walk import walk

NO_OBJECT = (NotFoundError, FileNotFoundError)
AT_ONCE = 8
LIST_CHUNK = 500
SECONDS = 120.0  # for one object; a large one goes in parts
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known:
    """A file as it was when it was last the same here and in the bucket."""

    etag: str | None
    size: int
    mtime_ns: int


@dataclass(slots=True)
class Copy:
    """This process's copy of one workspace. `users`: runs and readers that have it open."""

    folder: Path
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    known: dict[str, Known] = field(default_factory=dict)


@dataclass(slots=True)
class BucketWorkspaces:
    """`place` names the bucket for messages; `copies` is a folder of this process alone."""

    bucket: ObjectStore
    place: str
    copies: Path
    settings: WorkspaceSettings
    max_bytes: int
    _copies: dict[UUID, Copy] = field(default_factory=dict, init=False)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE), init=False)

    @asynccontextmanager
    async def opened(self, agent_id: UUID) -> AsyncIterator[Path]:
        copy = self._copy(agent_id)
        async with copy.lock:
            await self._fetch(agent_id, copy)
            copy.users += 1
        try:
            yield copy.folder
        finally:
            copy.users -= 1

    async def save(self, agent_id: UUID) -> None:
        copy = self._copy(agent_id)
        async with copy.lock:
            present = await asyncio.to_thread(_present, copy.folder)
            self._check(present)
            changed = [path for path, (size, mtime) in present.items() if not _same(copy.known.get(path), size, mtime)]
            await self._each(changed, lambda path: self._send(agent_id, copy, path, present[path]))
            for path in [path for path in copy.known if path not in present]:
                await self._ask(obstore.delete_async(self.bucket, _key(agent_id, path)))
                del copy.known[path]

    async def has_file(self, agent_id: UUID, relative: str) -> bool:
        try:
            await self._ask(obstore.head_async(self.bucket, _key(agent_id, "/".join(split_path(relative)))))
        except (ToolError, *NO_OBJECT):
            return False
        return True

    async def store(self, agent_id: UUID, name: str, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        relative = upload_path(name)
        partial = self.copies / f"upload-{os.urandom(8).hex()}"
        try:
            size = await write_upload(partial, chunks, self.max_bytes)
            await self._ask(obstore.put_async(self.bucket, _key(agent_id, relative), partial))
        finally:
            partial.unlink(missing_ok=True)
        return relative, size

    def _copy(self, agent_id: UUID) -> Copy:
        if agent_id not in self._copies:
            folder = self.copies / str(agent_id)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._copies[agent_id] = Copy(folder)
        return self._copies[agent_id]

    async def _fetch(self, agent_id: UUID, copy: Copy) -> None:
        """Make the copy what the bucket has. What others of this process have open and not saved yet stays."""
        remote = await self._list(agent_id)
        present = await asyncio.to_thread(_present, copy.folder)
        same = {path for path, (size, mtime) in present.items() if _same(copy.known.get(path), size, mtime)}
        mine = set(present) - same if copy.users else set()
        current = {path for path in same if path in remote and copy.known[path].etag == remote[path]}
        wanted = [path for path in remote if path not in mine and path not in current]
        await self._each(wanted, lambda path: self._receive(agent_id, copy, path))
        for path in present:
            if path not in remote and path not in mine:
                await asyncio.to_thread(Workspace(copy.folder).delete, path)
                copy.known.pop(path, None)

    async def _list(self, agent_id: UUID) -> dict[str, str | None]:
        """Path -> etag of what may be a file of a workspace; a name that could lead out of it is none."""
        prefix = f"{agent_id}/"
        found: dict[str, str | None] = {}
        size = 0

        async def read() -> None:
            nonlocal size
            async for chunk in obstore.list(self.bucket, prefix=prefix, chunk_size=LIST_CHUNK):
                for item in chunk:
                    path = item["path"].removeprefix(prefix)
                    size += item["size"]
                    if _is_plain(path):
                        found[path] = item["e_tag"]
                if len(found) > self.settings.max_files or size > self.settings.max_bytes:
                    raise self._too_large(len(found), size)

        await self._ask(read())
        return found

    async def _receive(self, agent_id: UUID, copy: Copy, path: str) -> None:
        partial = self.copies / f"download-{os.urandom(8).hex()}"
        try:
            reply = await self._ask(obstore.get_async(self.bucket, _key(agent_id, path)))
            with partial.open("xb") as file:
                async for chunk in reply.stream(min_chunk_size=1024 * 1024):
                    await asyncio.to_thread(file.write, chunk)
            status = partial.stat()
            await asyncio.to_thread(Workspace(copy.folder).adopt, path, partial)
            copy.known[path] = Known(reply.meta["e_tag"], status.st_size, status.st_mtime_ns)
        except NO_OBJECT:  # deleted since it was listed
            return
        except BaseError as error:
            raise self._unavailable(error) from error
        finally:
            partial.unlink(missing_ok=True)

    async def _send(self, agent_id: UUID, copy: Copy, path: str, status: tuple[int, int]) -> None:
        """From a file that nobody can turn into a link meanwhile. One that is gone already is not sent."""
        try:
            with Workspace(copy.folder).opened(path) as file:
                result = await self._ask(obstore.put_async(self.bucket, _key(agent_id, path), file))
        except ToolError:
            return
        copy.known[path] = Known(result["e_tag"], *status)

    async def _each(self, paths: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
        async def one(path: str) -> None:
            async with self._room:
                await work(path)

        try:
            async with asyncio.TaskGroup() as group:
                for path in paths:
                    group.create_task(one(path))
        except ExceptionGroup as errors:  # one of them says it all
            raise errors.exceptions[0] from errors

    async def _ask(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(SECONDS):
                return await call
        except NO_OBJECT:
            raise
        except (BaseError, TimeoutError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> WorkspaceUnavailableError:
        return WorkspaceUnavailableError(
            f"The workspaces' bucket {self.place} does not answer as it should ({type(error).__name__}).",
            hint="ATOM_WORKSPACES__URL and its credentials say which; the log of the bucket says why.",
        )

    def _check(self, present: dict[str, tuple[int, int]]) -> None:
        size = sum(size for size, _ in present.values())
        if len(present) > self.settings.max_files or size > self.settings.max_bytes:
            raise self._too_large(len(present), size)

    def _too_large(self, files: int, size: int) -> WorkspaceTooLargeError:
        return WorkspaceTooLargeError(
            f"The workspace has {files} files and {size} bytes; at most {self.settings.max_files} and"
            f" {self.settings.max_bytes}.",
            hint="Delete some, or raise ATOM_WORKSPACES__MAX_FILES or ATOM_WORKSPACES__MAX_BYTES.",
        )


def bucket_workspaces(settings: WorkspaceSettings, home: Path, max_upload: int) -> BucketWorkspaces:
    """On the bucket that the settings name. Opens no connection yet."""
    bucket = Bucket(
        settings.url, settings.endpoint, settings.region, settings.access_key_id, settings.secret_access_key
    )
    copies = own_folder(home / "cache" / "workspaces")
    return BucketWorkspaces(open_bucket(bucket), settings.url, copies, settings, max_upload)


def own_folder(root: Path) -> Path:
    """A new folder of this process; those of processes that are gone are removed."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in root.iterdir():
        pid = old.name.partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=root))


def _present(folder: Path) -> dict[str, tuple[int, int]]:
    """Path -> size, mtime in ns of every regular file. Blocks."""
    found: dict[str, tuple[int, int]] = {}
    for file in walk(Workspace(folder)).files:
        status = (folder / file.path).lstat()
        found[file.path] = (status.st_size, status.st_mtime_ns)
    return found


def _same(known: Known | None, size: int, mtime_ns: int) -> bool:
    return known is not None and (known.size, known.mtime_ns) == (size, mtime_ns)


def _key(agent_id: UUID, path: str) -> str:
    return f"{agent_id}/{path}"


def _is_plain(path: str) -> bool:
    try:
        return "/".join(split_path(path)) == path
    except ToolError:
        return False
