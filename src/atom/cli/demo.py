"""The demonstration of `atom up --demo`: an agent, its documents, and one real task on them."""

import asyncio
import shutil
from pathlib import Path
from uuid import UUID

import atom
from atom.cli.follow import print_end
from atom.cli.live import LiveRun
from atom.cli.output import Output
from atom.cli.progress import Spinner
from atom.cli.target import read_token
from atom.client import AtomClient
from atom.client.models import Event, Run
from atom.errors import AtomError, NotFoundError
from atom.wiring import Atom

AGENT = "guide"
TOOLS = ["list_files", "read_file", "search_text", "current_time", "calculate"]
INSTRUCTIONS = (
    "You are the guide to this Atom. You answer operators' questions about running it from the documents in docs/, and"
    " from nothing else. Search first, read the lines around what you find, then answer in a few sentences with the"
    " exact command or setting."
)
QUESTION = "Which command switches to the backup LLM provider?"


class DocumentsMissingError(NotFoundError):
    code = "documents_missing"


async def show(running: Atom, url: str) -> bool:
    """Ask the question and show the run live. True when it completed. Cancelled, it leaves the run going."""
    out = Output.open(as_json=False)
    try:
        async with AtomClient(url, read_token(running.settings.home)) as client:
            agent_id = await ensure_guide(client)
            async with running.parts.workspaces.opened(agent_id) as folder:
                await asyncio.to_thread(copy_documents, folder)
                await running.parts.workspaces.save(agent_id)
            out.line(f'\n$ atom run {AGENT} "{QUESTION}"')
            started = await client.runs.start(AGENT, QUESTION)
            return (await _watch(client, out, started.id)).status == "completed"
    except AtomError as error:
        out.note(f"The demonstration failed: {error} ({error.code})", "red")
        return False


async def _watch(client: AtomClient, out: Output, run_id: str) -> Run:
    """As `atom run` does, on the loop that serves: it ends when this Atom does."""
    view = LiveRun(out, Spinner(out.notes))
    try:
        async for item in client.runs.follow(run_id, on_drop=view.dropped):
            view.show(item)
            if isinstance(item, Event) and item.type == "run.waiting":
                break
    finally:
        view.end()
    run = await client.runs.get(run_id)
    print_end(out, run, shown=view)
    return run


async def ensure_guide(client: AtomClient) -> UUID:
    try:
        found = await client.agents.get(AGENT)
    except NotFoundError:
        found = await client.agents.create(AGENT, instructions=INSTRUCTIONS, tools=TOOLS)
    return UUID(found.id)


def copy_documents(workspace: Path) -> None:
    """This version's documents, over those of an earlier one."""
    shutil.copytree(documents(), workspace / "docs" / "operate", dirs_exist_ok=True)


def documents() -> Path:
    """docs/operate of the installed package, or of the checkout it runs from."""
    package = Path(atom.__file__).parent
    for folder in (package / "_docs" / "operate", package.parent.parent / "docs" / "operate"):
        if folder.is_dir():
            return folder
    raise DocumentsMissingError("The documents of this Atom are not installed.", hint="Install the package again.")
