"""What a run leaves in its workspace: files that its calls wrote, by size and digest."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.kit.text import clean
from atom.runs import store
from atom.runs.errors import ArtefactChangedError, ArtefactNotFoundError, RunNotFoundError
from atom.runs.models import Artefact
from atom.runs.ports import Workspaces
from atom.tools.errors import ToolError
from atom.tools.workspace import Workspace

CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Written:
    """A file as a call left it. `path` is relative to the workspace, `sha256` in hex."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ArtefactService:
    workspaces: Workspaces

    async def page(self, session: AsyncSession, run_id: UUID, *, after: str | None, limit: int) -> Sequence[Artefact]:
        """By path. Raises RunNotFoundError."""
        if await store.get(session, run_id) is None:
            raise RunNotFoundError(str(run_id))
        return await store.artefacts(session, run_id, after=clean(after) if after else None, limit=limit)

    async def find(self, session: AsyncSession, run_id: UUID, path: str) -> tuple[Artefact, UUID]:
        """The artefact and its run's agent. Raises RunNotFoundError, ArtefactNotFoundError."""
        run = await store.get(session, run_id)
        if run is None:
            raise RunNotFoundError(str(run_id))
        found = await store.artefact(session, run_id, path) if clean(path) == path else None
        if found is None:
            raise ArtefactNotFoundError(
                f"Run {run_id} left no file {path!r}.", hint="`atom runs artefacts` lists them."
            )
        return found, run.agent_id

    async def read(self, artefact: Artefact, agent_id: UUID) -> AsyncIterator[bytes]:
        """The bytes that the run left. Raises ArtefactChangedError when they are not there any more."""
        async with AsyncExitStack() as stack:
            folder = await stack.enter_async_context(self.workspaces.opened(agent_id))
            try:
                file = stack.enter_context(Workspace(folder).opened(artefact.path))
            except ToolError as error:
                raise _changed(artefact) from error
            if await asyncio.to_thread(_digest, file) != artefact.sha256:
                raise _changed(artefact)
            return _chunks(file, stack.pop_all())


def describe(folder: Path, paths: Sequence[str]) -> tuple[Written, ...]:
    """The files as they are now. One that is gone already was no artefact. Blocks."""
    found = []
    for path in dict.fromkeys(paths):
        try:
            with Workspace(folder).opened(path) as file:
                found.append(Written(path, file.seek(0, 2), _digest(file)))
        except ToolError:
            continue
    return tuple(found)


def _digest(file: BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


async def _chunks(file: BufferedReader, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        file.seek(0)
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk


def _changed(artefact: Artefact) -> ArtefactChangedError:
    return ArtefactChangedError(
        f"{artefact.path!r} is not as the run left it: it was changed or deleted since.",
        hint="The list of artefacts has its digest.",
    )
