"""`atom run`: a task for an agent, watched live."""

from pathlib import Path
from typing import Annotated

import typer

from atom.cli.follow import exit_like, follow_run, tell_id
from atom.cli.options import AgentArgument, Json, Priority
from atom.cli.output import Output
from atom.cli.progress import bar
from atom.cli.prompt import Attachment, attachments, read_schema, read_task
from atom.cli.target import connect
from atom.client import BlockingAtom
from atom.kit.ids import new_id

BIG_FILE = 1_000_000  # below it an upload to this machine is over before a bar is seen


def run(
    agent: AgentArgument,
    task: Annotated[str, typer.Argument(metavar="TASK", help="What to do; - reads it from standard input.")],
    *,
    file: Annotated[
        list[Path] | None, typer.Option("--file", metavar="FILE", help="A file for the agent; may be repeated.")
    ] = None,
    conversation: Annotated[
        str | None, typer.Option("--conversation", metavar="ID", help="Go on with this conversation.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Model for this run only.")] = None,
    priority: Annotated[
        Priority, typer.Option("--priority", help="How urgent it is, beside other runs that wait.")
    ] = Priority.NORMAL,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Ask the model anew where the response cache has an answer.")
    ] = False,
    schema: Annotated[
        Path | None, typer.Option("--schema", metavar="FILE", help="A JSON schema that the answer has to fit.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the run's id and return at once.")] = False,
    as_json: Json = False,
) -> None:
    """Give an agent a task and watch it work.

    Exits 0 when the run completed or waits for a person, 1 when it failed or was cancelled.
    Ctrl-C leaves the run going.
    """
    text = read_task(task)
    files, shape = attachments(file or []), read_schema(schema)
    out = Output.open(as_json)
    with connect() as atom:
        paths = [_upload(atom, out, agent, item) for item in files]
        started = atom.call(
            atom.client.runs.start(
                agent,
                text,
                files=paths,
                conversation_id=conversation,
                model=model,
                priority=None if priority is Priority.NORMAL else priority.value,
                no_cache=no_cache,
                response_schema=shape,
                key=str(new_id()),
            )
        )
        if no_wait:
            tell_id(out, started)
            return
        exit_like(follow_run(atom, out, started.id))


def _upload(atom: BlockingAtom, out: Output, agent: str, item: Attachment) -> str:
    with item.path.open("rb") as file:
        if item.size < BIG_FILE:
            return atom.call(atom.client.agents.upload(agent, item.name, file)).path
        with bar(out.notes, f"Sending {item.name}") as advance:
            return atom.call(
                atom.client.agents.upload(agent, item.name, file, progress=lambda sent: advance(sent, item.size))
            ).path
