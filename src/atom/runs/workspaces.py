"""The agents' folders on this machine's disk."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from atom.runs.errors import WorkspaceUnavailableError
from atom.runs.uploads import upload_path, write_upload


@dataclass(frozen=True, slots=True)
class LocalWorkspaces:
    """`root` holds a folder for each agent, named by its id: what is written there is saved."""

    root: Path
    max_bytes: int

    @asynccontextmanager
    async def opened(self, agent_id: UUID) -> AsyncIterator[Path]:
        yield self._folder(agent_id)

    async def save(self, agent_id: UUID) -> None:
        """The tools write durably."""

    async def has_file(self, agent_id: UUID, relative: str) -> bool:
        folder = self._folder(agent_id).resolve()
        try:
            target = (folder / relative).resolve()
            return target.is_relative_to(folder) and target.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, without a UTF-8 form, a loop of links
            return False

    async def store(self, agent_id: UUID, name: str, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Nothing is left of an upload that is refused or cut off."""
        relative = upload_path(name)
        target = self._folder(agent_id) / relative
        partial = target.with_name(target.name + ".part")
        try:
            await asyncio.to_thread(target.parent.mkdir, parents=True)
            size = await write_upload(partial, chunks, self.max_bytes)
            await asyncio.to_thread(partial.rename, target)
        except OSError as error:
            await asyncio.to_thread(shutil.rmtree, target.parent, True)
            raise WorkspaceUnavailableError(f"The file cannot be stored: {error.strerror}.") from error
        except BaseException:
            shutil.rmtree(target.parent, ignore_errors=True)
            raise
        return relative, size

    def _folder(self, agent_id: UUID) -> Path:
        """Made when it is first needed."""
        path = self.root / str(agent_id)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise WorkspaceUnavailableError(f"The agent's workspace cannot be made: {error.strerror}.") from error
        return path
