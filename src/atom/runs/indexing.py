"""The job that prepares an agent's workspace for search, file by file: what is done stays done after a crash."""

import asyncio
from typing import Any
from uuid import UUID

from atom.durable.jobs import JobHandler, Progress
from atom.retrieval.workspace import WorkspaceSearch
from atom.runs.ports import Workspaces

INDEX_JOB = "workspace_index"


def index_handler(search: WorkspaceSearch, workspaces: Workspaces) -> JobHandler:
    async def handle(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        async with workspaces.opened(UUID(params["agent_id"])) as folder:
            latest: list[tuple[int, int]] = []
            index = asyncio.ensure_future(search.index(folder, lambda done, total: latest.append((done, total))))
            try:
                while not index.done():
                    await asyncio.wait({index}, timeout=1.0)
                    if latest:
                        await progress(*latest[-1])
            finally:
                index.cancel()
            report = await index
        return {"files": report.files, "lines": report.lines, "embedded": report.embedded}

    return handle
