"""The agents' folders on disk, and how files get into them from outside."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from atom.errors import UnavailableError
from atom.kit.ids import new_id
from atom.runs.errors import UploadInvalidError, UploadTooLargeError

UPLOADS = "uploads"
UNSAFE = re.compile(r"[^\w.,@+ -]")
MAX_NAME = 120  # bytes
MAX_SUFFIX = 20


class WorkspaceUnavailableError(UnavailableError):
    code = "workspace_unavailable"


@dataclass(frozen=True, slots=True)
class Workspaces:
    """`root` holds a folder for each agent, named by its id."""

    root: Path
    max_bytes: int

    def folder(self, agent_id: UUID) -> Path:
        """The agent's folder, made when it is first needed."""
        path = self.root / str(agent_id)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise WorkspaceUnavailableError(f"The agent's workspace cannot be made: {error.strerror}.") from error
        return path

    def has_file(self, agent_id: UUID, relative: str) -> bool:
        """Whether `relative` is a regular file inside the agent's folder."""
        folder = self.folder(agent_id).resolve()
        try:
            target = (folder / relative).resolve()
            return target.is_relative_to(folder) and target.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, without a UTF-8 form, a loop of links
            return False

    async def store(self, agent_id: UUID, name: str, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Save an upload under a folder of its own. Returns the path in the workspace and the size in bytes.

        Nothing is left of an upload that is refused or cut off.
        """
        relative = Path(UPLOADS) / new_id().hex[-12:] / safe_name(name)
        target = self.folder(agent_id) / relative
        partial = target.with_name(target.name + ".part")
        try:
            await asyncio.to_thread(target.parent.mkdir, parents=True)
            size = await self._write(partial, chunks)
            await asyncio.to_thread(partial.rename, target)
        except OSError as error:
            await asyncio.to_thread(shutil.rmtree, target.parent, True)
            raise WorkspaceUnavailableError(f"The file cannot be stored: {error.strerror}.") from error
        except BaseException:
            shutil.rmtree(target.parent, ignore_errors=True)
            raise
        return relative.as_posix(), size

    async def _write(self, target: Path, chunks: AsyncIterator[bytes]) -> int:
        size = 0
        with await asyncio.to_thread(target.open, "xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > self.max_bytes:
                    raise UploadTooLargeError(
                        f"file: larger than {self.max_bytes} bytes.",
                        hint="ATOM_WEB__MAX_UPLOAD_BYTES raises it.",
                        field="file",
                    )
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(file.flush)
            await asyncio.to_thread(os.fsync, file.fileno())
        return size


def safe_name(name: str) -> str:
    """A file name and nothing else: the client's folders are dropped, odd characters become `_`."""
    base = UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip(" .")
    if not base:
        raise UploadInvalidError("file: the upload has no file name.", field="file")
    if len(base.encode()) <= MAX_NAME:
        return base
    stem, dot, suffix = base.rpartition(".")
    return _cut(stem if dot else base, MAX_NAME - MAX_SUFFIX) + (_cut(dot + suffix, MAX_SUFFIX) if dot else "")


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes: that is how file systems count."""
    return text.encode()[:limit].decode("utf-8", "ignore")
